package pdu

import "fmt"

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

func (e *encoder) userIdentity(u *UserIdentity) {
	e.item(itemUserIdentity, func() {
		e.uint8(byte(u.Type))
		e.flag(u.PositiveResponseRequested)
		e.sized(u.Primary)
		e.sized(u.Secondary)
	})
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
