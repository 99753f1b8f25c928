package qr

import (
	"errors"
	"slices"

	"dcmgate/dicom"
)

const (
	tagTypeOfPatientID         dicom.Tag = 0x00100022
	tagOtherPatientIDsSequence dicom.Tag = 0x00101002
)

// maxItems bounds the items of a sequence in an answer.
const maxItems = 256

// itemKey is a key of an item: it has to match the attribute of the same tag.
type itemKey struct {
	tag   dicom.Tag
	match func(*Attribute) bool
}

// newItemMatcher makes the matcher of a sequence key (PS3.4 C.2.2.2.6): all keys of its one item have to match in one and
// the same item of the sequence, at every depth.
func newItemMatcher(item []Attribute, fuzzy bool) (func(items [][]Attribute) bool, error) {
	var keys []itemKey
	for i := range item {
		a := &item[i]
		switch {
		case a.isUniversal():
		case a.VR == "SQ":
			match, err := newItemMatcher(a.Items[0], fuzzy)
			if err != nil {
				return nil, err
			}
			keys = append(keys, itemKey{a.Tag, func(have *Attribute) bool { return match(have.Items) }})
		default:
			match, err := newMatcher(a, fuzzy)
			if err != nil {
				return nil, err
			}
			keys = append(keys, itemKey{a.Tag, func(have *Attribute) bool { return match(have.Values) }})
		}
	}
	return func(items [][]Attribute) bool {
		return slices.ContainsFunc(items, func(have []Attribute) bool {
			return !slices.ContainsFunc(keys, func(k itemKey) bool {
				a := attributeIn(have, k.tag)
				return a == nil || !k.match(a)
			})
		})
	}, nil
}

// attributeIn finds an attribute in an item; nil if it has none.
func attributeIn(item []Attribute, tag dicom.Tag) *Attribute {
	for i := range item {
		if item[i].Tag == tag {
			return &item[i]
		}
	}
	return nil
}

// valuesIn finds the values of an attribute in an item.
func valuesIn(item []Attribute, tag dicom.Tag) []string {
	if a := attributeIn(item, tag); a != nil {
		return a.Values
	}
	return nil
}

// itemKeys are the keys of a sequence key with the VRs that the dictionary has. Attributes that it does not know are not
// among them; partly tells that there were some. Errors are *refusal.
func itemKeys(a *Attribute) (item []Attribute, partly bool, err error) {
	if len(a.Items) > 1 {
		return nil, false, mismatch(a.Tag, dicom.TagName(a.Tag)+" takes one item")
	}
	for _, items := range a.Items {
		for _, key := range items {
			vr := dicom.TagVR(key.Tag)
			if vr == "" || (vr == "SQ") != (key.VR == "SQ") {
				partly = true
				continue
			}
			if key.VR = vr; vr == "SQ" {
				nested, lacks, err := itemKeys(&key)
				if err != nil {
					return nil, false, err
				}
				partly = partly || lacks
				key.Items = [][]Attribute{nested}
			}
			item = append(item, key)
		}
	}
	return item, partly, nil
}

// addSequence takes a sequence key up.
func (q *query) addSequence(a *Attribute, s support, x extensions) error {
	item, partly, err := itemKeys(a)
	if err != nil {
		return err
	}
	q.partly = q.partly || partly
	key := Attribute{Tag: a.Tag, VR: "SQ", Items: [][]Attribute{item}}
	q.asked = append(q.asked, key)
	if s.stored {
		q.look = append(q.look, a.Tag)
	}
	if key.isUniversal() {
		return nil
	}
	match, err := newItemMatcher(item, x.fuzzy)
	if wrong, ok := errors.AsType[*keyError](err); ok {
		return mismatch(a.Tag, dicom.TagName(wrong.tag)+" is "+wrong.reason)
	}
	q.keyNames = append(q.keyNames, dicom.TagName(a.Tag))
	q.tests = append(q.tests, test{level: s.level, tag: a.Tag, cost: s.cost(a.Tag), match: func(s subject) bool { return match(s.items(a.Tag)) }})
	return nil
}

// items are those of a sequence. Other Patient IDs Sequence took the place of Other Patient IDs (0010,1000) in the
// standard; an instance that has the latter alone is as if it had the former.
func (e *entity) items(tag dicom.Tag) (items [][]Attribute) {
	switch tag {
	case tagAnatomicRegionsInStudyCodeSequence:
		return e.regions()
	case tagAlternateRepresentationSequence:
		return nil // the gateway holds an instance in one encoding
	}
	if a := e.stored(tag); a != nil {
		return a.Items
	}
	if tag != tagOtherPatientIDsSequence {
		return nil
	}
	for _, id := range e.values(dicom.TagOtherPatientIDs) {
		if id != "" {
			items = append(items, []Attribute{
				{Tag: dicom.TagPatientID, VR: "LO", Values: []string{id}},
				{Tag: tagTypeOfPatientID, VR: "CS", Values: []string{"TEXT"}},
			})
		}
	}
	return items
}

// answerItems are the items of a sequence with the attributes that were asked for, all if none were. What an item does not
// have has zero length.
func answerItems(items [][]Attribute, asked Attribute) (out [][]Attribute) {
	items = items[:min(len(items), maxItems)]
	if len(asked.Items) == 0 || len(asked.Items[0]) == 0 {
		return items
	}
	for _, item := range items {
		var answer []Attribute
		for _, key := range asked.Items[0] {
			a := attributeIn(item, key.Tag)
			switch {
			case a == nil:
				answer = append(answer, Attribute{Tag: key.Tag, VR: key.VR})
			case key.VR == "SQ":
				answer = append(answer, Attribute{Tag: key.Tag, VR: "SQ", Items: answerItems(a.Items, key)})
			default:
				answer = append(answer, *a)
			}
		}
		out = append(out, answer)
	}
	return out
}
