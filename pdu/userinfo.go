package pdu

import "fmt"

// UserInformation is the User Information item (PS3.8 9.3.2.3, annex D.1, PS3.7
// annex D.3.3). Sub-items not known here are skipped; of those that may occur
// once the last counts.
type UserInformation struct {
	// MaximumLength is the largest variable field (PDU-length) of a P-DATA-TF
	// PDU its sender is willing to receive (PS3.8 D.1). 0, which also stands for
	// a missing sub-item, is no limit.
	MaximumLength             uint32
	ImplementationClassUID    string // empty: absent
	ImplementationVersionName string // at most 16 characters by PS3.7 D.3.3.2.3; empty: absent

	AsyncOperationsWindow      *AsyncOperationsWindow // nil: absent, one operation at a time
	RoleSelections             []RoleSelection
	ExtendedNegotiations       []ExtendedNegotiation
	CommonExtendedNegotiations []CommonExtendedNegotiation // A-ASSOCIATE-RQ only

	UserIdentity         *UserIdentity // A-ASSOCIATE-RQ only; nil: absent
	UserIdentityResponse []byte        // A-ASSOCIATE-AC only; nil: absent
}

// AsyncOperationsWindow is the sub-item of PS3.7 D.3.3.3. 0 is no limit.
type AsyncOperationsWindow struct {
	Invoked   uint16 // operations and notifications its sender may invoke
	Performed uint16 // operations and notifications its sender may perform
}

// RoleSelection is the SCP/SCU Role Selection sub-item of PS3.7 D.3.3.4.
type RoleSelection struct {
	SOPClassUID string
	SCU, SCP    bool // roles of the association requestor
}

// ExtendedNegotiation is the SOP Class Extended Negotiation sub-item of PS3.7
// D.3.3.5.
type ExtendedNegotiation struct {
	SOPClassUID string
	Information []byte // Service-class-application-information, defined by the service class
}

// CommonExtendedNegotiation is the SOP Class Common Extended Negotiation
// sub-item of PS3.7 D.3.3.6.
type CommonExtendedNegotiation struct {
	SOPClassUID, ServiceClassUID string
	RelatedSOPClassUIDs          []string // Related-general-sop-class-identification
}

// UserIdentity is the User Identity sub-item of PS3.7 D.3.3.7. It holds
// credentials: String gives only what may be logged.
type UserIdentity struct {
	Type                      UserIdentityType
	PositiveResponseRequested bool
	Primary                   []byte // user name (UTF-8), ticket, assertion or token
	Secondary                 []byte // passcode; empty for the other types
}

// UserIdentityType says what the primary field holds (PS3.7 table D.3-14).
type UserIdentityType byte

// User identity types.
const (
	UserIdentityUsername         UserIdentityType = 1
	UserIdentityUsernamePasscode UserIdentityType = 2
	UserIdentityKerberos         UserIdentityType = 3
	UserIdentitySAML             UserIdentityType = 4
	UserIdentityJWT              UserIdentityType = 5
)

var userIdentityTypes = [...]string{
	UserIdentityUsername:         "user name",
	UserIdentityUsernamePasscode: "user name and passcode",
	UserIdentityKerberos:         "Kerberos service ticket",
	UserIdentitySAML:             "SAML assertion",
	UserIdentityJWT:              "JSON web token",
}

// String names the type.
func (t UserIdentityType) String() string {
	if t > 0 && int(t) < len(userIdentityTypes) {
		return userIdentityTypes[t]
	}
	return fmt.Sprintf("user identity type %d", byte(t))
}

// String tells the type only, never a name or secret.
func (u UserIdentity) String() string { return u.Type.String() }

// GoString keeps credentials out of %#v as well.
func (u UserIdentity) GoString() string { return "pdu.UserIdentity(" + u.String() + ")" }

func (e *encoder) userInformation(u *UserInformation) {
	e.item(itemUserInformation, func() {
		e.item(itemMaximumLength, func() { e.uint32(u.MaximumLength) })
		if u.ImplementationClassUID != "" {
			e.uidItem(itemImplementationClass, u.ImplementationClassUID)
		}
		if w := u.AsyncOperationsWindow; w != nil {
			e.item(itemAsyncOperationsWindow, func() { e.uint16(w.Invoked); e.uint16(w.Performed) })
		}
		e.negotiations(u)
		if u.ImplementationVersionName != "" {
			e.item(itemImplementationVersion, func() { e.bytes([]byte(u.ImplementationVersionName)) })
		}
		if u.UserIdentity != nil {
			e.userIdentity(u.UserIdentity)
		}
		if u.UserIdentityResponse != nil {
			e.item(itemUserIdentityResponse, func() { e.sized(u.UserIdentityResponse) })
		}
	})
}

func (e *encoder) negotiations(u *UserInformation) {
	most := max(len(u.RoleSelections), len(u.ExtendedNegotiations), len(u.CommonExtendedNegotiations))
	if most > maxNegotiations {
		e.failf("%d negotiation sub-items of one kind, at most %d are possible", most, maxNegotiations)
		return
	}
	for _, r := range u.RoleSelections {
		e.item(itemRoleSelection, func() {
			e.sizedUID(r.SOPClassUID)
			e.flag(r.SCU)
			e.flag(r.SCP)
		})
	}
	for _, x := range u.ExtendedNegotiations {
		e.item(itemExtended, func() { e.sizedUID(x.SOPClassUID); e.bytes(x.Information) })
	}
	for _, c := range u.CommonExtendedNegotiations {
		e.commonExtended(c)
	}
}

func (e *encoder) commonExtended(c CommonExtendedNegotiation) {
	if len(c.RelatedSOPClassUIDs) > maxRelatedClasses {
		e.failf("%d related general SOP classes, at most %d are possible", len(c.RelatedSOPClassUIDs), maxRelatedClasses)
	}
	e.item(itemCommonExtended, func() { // the second byte is a version here: 0
		e.sizedUID(c.SOPClassUID)
		e.sizedUID(c.ServiceClassUID)
		related := 0
		for _, uid := range c.RelatedSOPClassUIDs {
			related += 2 + len(uid)
		}
		e.length16("Related-general-sop-class-identification-length", related)
		for _, uid := range c.RelatedSOPClassUIDs {
			e.sizedUID(uid)
		}
	})
}

func (e *encoder) userIdentity(u *UserIdentity) {
	e.item(itemUserIdentity, func() {
		e.uint8(byte(u.Type))
		e.flag(u.PositiveResponseRequested)
		e.sized(u.Primary)
		e.sized(u.Secondary)
	})
}

// userInformation reads the sub-items. Bytes behind the last field a sub-item
// defines are ignored: some peers pad sub-items to an even length, and the next
// one is found all the same.
func (d *decoder) userInformation(u *UserInformation) {
	d.items(func(kind byte, item *decoder) {
		switch kind {
		case itemMaximumLength:
			u.MaximumLength = item.uint32("Maximum-length-received")
		case itemImplementationClass:
			u.ImplementationClassUID = item.uid("Implementation-class-uid", item.len())
		case itemImplementationVersion:
			u.ImplementationVersionName = item.versionName()
		case itemAsyncOperationsWindow:
			u.AsyncOperationsWindow = item.asyncOperationsWindow()
		case itemRoleSelection:
			if item.room(len(u.RoleSelections), maxNegotiations) {
				u.RoleSelections = append(u.RoleSelections, item.roleSelection())
			}
		case itemExtended:
			if item.room(len(u.ExtendedNegotiations), maxNegotiations) {
				u.ExtendedNegotiations = append(u.ExtendedNegotiations, item.extended())
			}
		case itemCommonExtended:
			if item.room(len(u.CommonExtendedNegotiations), maxNegotiations) {
				u.CommonExtendedNegotiations = append(u.CommonExtendedNegotiations, item.commonExtended())
			}
		case itemUserIdentity:
			u.UserIdentity = item.userIdentity()
		case itemUserIdentityResponse:
			u.UserIdentityResponse = item.sized("Server-response-length", "Server-response")
		}
	})
}

// versionName is bounded like a UID rather than by the 16 characters of the
// standard, which real peers exceed.
func (d *decoder) versionName() string {
	return d.uid("Implementation-version-name", d.len())
}

func (d *decoder) asyncOperationsWindow() *AsyncOperationsWindow {
	return &AsyncOperationsWindow{
		Invoked:   d.uint16("Maximum-number-operations-invoked"),
		Performed: d.uint16("Maximum-number-operations-performed"),
	}
}

func (d *decoder) roleSelection() RoleSelection {
	return RoleSelection{
		SOPClassUID: d.sizedUID("UID-length", "SOP-class-uid"),
		SCU:         d.uint8("SCU-role") != 0,
		SCP:         d.uint8("SCP-role") != 0,
	}
}

func (d *decoder) extended() ExtendedNegotiation {
	return ExtendedNegotiation{
		SOPClassUID: d.sizedUID("SOP-class-uid-length", "SOP-class-uid"),
		Information: d.clone("Service-class-application-information", d.len()),
	}
}

// commonExtended tolerates the absence of the related classes, which are
// optional in meaning if not in the table.
func (d *decoder) commonExtended() (c CommonExtendedNegotiation) {
	c.SOPClassUID = d.sizedUID("SOP-class-uid-length", "SOP-class-uid")
	c.ServiceClassUID = d.sizedUID("Service-class-uid-length", "Service-class-uid")
	if d.len() == 0 {
		return c
	}
	const field = "Related-general-sop-class-identification"
	list := d.sub(field, d.length16(field+"-length"))
	for list.len() > 0 && list.err == nil && list.room(len(c.RelatedSOPClassUIDs), maxRelatedClasses) {
		c.RelatedSOPClassUIDs = append(c.RelatedSOPClassUIDs,
			list.sizedUID("Related-general-sop-class-uid-length", "Related-general-sop-class-uid"))
	}
	d.adopt(&list)
	return c
}

// userIdentity tolerates a missing secondary field, which only type 2 has a use
// for.
func (d *decoder) userIdentity() *UserIdentity {
	u := &UserIdentity{
		Type:                      UserIdentityType(d.uint8("User-Identity-Type")),
		PositiveResponseRequested: d.uint8("Positive-response-requested") != 0,
		Primary:                   d.sized("Primary-field-length", "Primary-field"),
	}
	u.Secondary = []byte{}
	if d.len() > 0 {
		u.Secondary = d.sized("Secondary-field-length", "Secondary-field")
	}
	return u
}
