package pdu

// AsyncOperationsWindow is the sub-item of PS3.7 D.3.3.3. 0 is no limit. Both
// sides count from the association requestor, so in an answer too Invoked is
// what the requestor may invoke.
type AsyncOperationsWindow struct {
	Invoked   uint16 // operations and notifications the requestor may invoke
	Performed uint16 // operations and notifications the requestor may perform
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
