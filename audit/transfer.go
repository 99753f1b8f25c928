package audit

import (
	"slices"
	"strings"

	"dcmgate/dicom"
)

// Kind says what was done with instances.
type Kind int

const (
	Transferred Kind = iota // from one application entity to another (PS3.15 A.5.3.7)
	Exported                // to where this system's rules do not reach (A.5.3.4)
	Imported                // from there (A.5.3.5)
	Accessed                // looked at or changed by somebody (A.5.3.6)
)

// Transfer is what instances have in common that are told of in one message: those of one study that went the same way
// within one session.
type Transfer struct {
	// Session ends with EndSession: an association's ID, or a name of what has no end.
	Session string
	Kind    Kind
	// Action of Transferred is Create for instances that the destination did not have, Read for those it had, Update for
	// other versions of them.
	Action      Action
	Outcome     Outcome
	Source      Participant // of Accessed who did it
	Destination Participant
	Other       Participant // who wanted it, if it was neither
	// Media of what is exported or imported is the URI of where to or where from.
	Media       string
	Study       dicom.UID // "" if it is not known
	Patient     string    // Patient ID, or what stands for it; "" if it is not recorded
	Description string
}

// message tells of so many instances.
func (t *Transfer) message(id CodedValue, classes []Class) *Message {
	e := event(id, t.Action, t.Outcome)
	e.Description = clip(t.Description)
	m := &Message{Event: e, Participants: t.participants()}
	if t.Study != "" {
		study := named(Object{ID: clip(string(t.Study)), Type: objectSystem, Role: roleReport, IDType: idStudy}, "Study")
		if len(classes) > 0 {
			study.Description = &Description{classes}
		}
		m.Objects = append(m.Objects, study)
	}
	if t.Patient != "" {
		m.Objects = append(m.Objects, named(Object{ID: clip(t.Patient), Type: objectPerson, Role: rolePatient, IDType: idPatient}, "Patient"))
	}
	return m
}

func (t *Transfer) participants() (list []ActiveParticipant) {
	add := func(p Participant, roles ...CodedValue) {
		if p.UserID != "" {
			list = append(list, p.as(roles...))
		}
	}
	if t.Kind == Accessed {
		add(t.Source)
	} else {
		add(t.Source, roleSource)
		add(t.Destination, roleDestination)
	}
	add(t.Other)
	switch t.Kind {
	case Exported:
		list = append(list, t.media(roleDestinationMedia))
	case Imported:
		list = append(list, t.media(roleSourceMedia))
	}
	return list
}

func (t *Transfer) media(role CodedValue) ActiveParticipant {
	p := Participant{UserID: t.Media, Address: t.Media}.as(role)
	p.Media = &Media{mediaURI}
	return p
}

// ids are the events by kind.
var ids = [...]CodedValue{Transferred: eventTransferred, Exported: eventExport, Imported: eventImport, Accessed: eventAccessed}

// Event is what finished transfers of the kind are told as.
func (k Kind) Event() CodedValue { return ids[k] }

// finished tells of the whole of it.
func (t *Transfer) finished(counts map[dicom.UID]int) *Message {
	classes := make([]Class, 0, len(counts))
	for uid, n := range counts {
		classes = append(classes, Class{clip(string(uid)), n})
	}
	slices.SortFunc(classes, func(a, b Class) int { return strings.Compare(a.UID, b.UID) })
	return t.message(ids[t.Kind], classes)
}

// begun tells that it has begun (PS3.15 A.5.3.3).
func (t *Transfer) begun() *Message {
	m := t.message(eventBegin, nil)
	m.Event.Action = Execute
	return m
}

// Instances is how many instances a message tells of.
func (m *Message) Instances() (n int) {
	for i := range m.Objects {
		if d := m.Objects[i].Description; d != nil {
			for _, c := range d.Classes {
				n += c.Count
			}
		}
	}
	return n
}

// Studies are the Study Instance UIDs that a message tells of.
func (m *Message) Studies() (uids []string) {
	for i := range m.Objects {
		if m.Objects[i].IDType.Code == idStudy.Code {
			uids = append(uids, m.Objects[i].ID)
		}
	}
	return uids
}
