package pdu

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

// userInformation reads the sub-items. Bytes behind the last field a sub-item
// defines are ignored: the item's own length finds the next one all the same, so
// a peer that pads to an even length is understood.
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
// standard: a name is not worth losing an association over.
func (d *decoder) versionName() string {
	return d.uid("Implementation-version-name", d.len())
}
