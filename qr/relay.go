package qr

import (
	"slices"
	"strings"

	"dcmgate/dicom"
)

// remote is the answer of an upstream as the subject of tests.
type remote struct{ *Identifier }

func (r remote) values(tag dicom.Tag) []string {
	if a := r.Find(tag); a != nil {
		return a.Values
	}
	return nil
}

func (r remote) items(tag dicom.Tag) [][]Attribute {
	if a := r.Find(tag); a != nil {
		return a.Items
	}
	return nil
}

// has tells whether there is anything to be tested.
func (r remote) has(tag dicom.Tag) bool { return first(r.values(tag)) != "" || len(r.items(tag)) > 0 }

// key is by what matches of a level are told apart.
func (l Level) key(s subject) string {
	if l == LevelPatient {
		return patientKey(s)
	}
	return first(s.values(uniqueKeys[l]))
}

// relay is a match of an upstream as the caller gets it, and the key of its level; ok is false if it is not what was asked
// for. Keys that an upstream answers without a value, or not at all, are taken to have been matched by it.
func (q *query) relay(m Match) (id *Identifier, key string, ok bool) {
	r := remote{m.Identifier}
	if !q.identify(r) {
		return nil, "", false
	}
	for i := range q.tests {
		if t := &q.tests[i]; r.has(t.tag) && !t.match(r) {
			return nil, "", false
		}
	}
	id = &Identifier{Attributes: make([]Attribute, 0, len(q.keys)+2)}
	for i := range q.keys {
		if a, ok := r.answer(&q.keys[i]); ok {
			id.Attributes = append(id.Attributes, a)
		}
	}
	id.set(Attribute{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{q.level.String()}})
	return id, q.level.key(r), true
}

// identify completes the unique keys of an answer by those that were asked for; false if that of the level is missing.
func (q *query) identify(r remote) bool {
	for _, l := range q.model.levels[:len(q.model.above(q.level))+1] {
		tag := uniqueKeys[l]
		if !r.has(tag) {
			i := slices.IndexFunc(q.keys, func(a Attribute) bool { return a.Tag == tag })
			if i < 0 || len(q.keys[i].Values) != 1 || q.keys[i].VR != "UI" && strings.ContainsAny(q.keys[i].Values[0], "*?") {
				continue
			}
			r.set(Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: q.keys[i].Values})
		}
		if dicom.TagVR(tag) == "UI" && (len(r.values(tag)) != 1 || !usableUID(r.values(tag)[0])) {
			return false
		}
	}
	return r.has(uniqueKeys[q.level]) || q.level == LevelPatient && r.has(dicom.TagPatientName)
}

// usableUID is laxer than PS3.5 9.1: what can be asked for again.
func usableUID(uid string) bool {
	return uid != "" && len(uid) <= 128 && !strings.ContainsFunc(uid, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`\*?`, r) })
}

// answer is what the caller gets of an attribute that it has asked for; ok is false for nothing.
func (r remote) answer(asked *Attribute) (a Attribute, ok bool) {
	vr := dicom.TagVR(asked.Tag)
	switch asked.Tag {
	case dicom.TagQueryRetrieveLevel, dicom.TagTimezoneOffsetFromUTC, tagRetrieveAETitle:
		return a, false
	case tagInstanceAvailability:
		return Attribute{Tag: asked.Tag, VR: vr, Values: []string{availability(r.values(asked.Tag))}}, true
	}
	got := r.Find(asked.Tag)
	if got == nil {
		_, ok := supported[asked.Tag]
		return Attribute{Tag: asked.Tag, VR: vr}, ok
	}
	a = *got
	if vr != "" && vr != "UN" {
		a.VR = vr
	}
	return a, (a.VR == "SQ") == (got.VR == "SQ")
}

// availability says what an upstream has without more than the gateway can promise: it takes a move to get it (PS3.3
// C.4.23.1.1).
func availability(theirs []string) string {
	switch s := first(theirs); s {
	case "OFFLINE", "UNAVAILABLE":
		return s
	}
	return "NEARLINE"
}
