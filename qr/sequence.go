package qr

import (
	"slices"

	"dcmgate/dicom"
)

const (
	tagTypeOfPatientID         dicom.Tag = 0x00100022
	tagOtherPatientIDsSequence dicom.Tag = 0x00101002
)

// sequences are those that can be asked for, with the attributes that their items have. The index holds no sequences of
// instances; this one is made of Other Patient IDs (0010,1000), whose place it took in the standard.
var sequences = map[dicom.Tag][]dicom.Tag{
	tagOtherPatientIDsSequence: {dicom.TagPatientID, tagTypeOfPatientID},
}

// newItemMatcher makes the matcher of a sequence key (PS3.4 C.2.2.2.6): all keys of its one item have to match in one and
// the same item of the sequence. A key that is not supported is not among them.
func newItemMatcher(item []Attribute, fuzzy bool) (func(items [][]Attribute) bool, error) {
	type key struct {
		tag   dicom.Tag
		match matcher
	}
	var keys []key
	for i := range item {
		if item[i].isUniversal() {
			continue
		}
		match, err := newMatcher(&item[i], fuzzy)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key{item[i].Tag, match})
	}
	return func(items [][]Attribute) bool {
		return slices.ContainsFunc(items, func(have []Attribute) bool {
			return !slices.ContainsFunc(keys, func(k key) bool { return !k.match(valuesIn(have, k.tag)) })
		})
	}, nil
}

// valuesIn finds the values of an attribute in an item.
func valuesIn(item []Attribute, tag dicom.Tag) []string {
	for i := range item {
		if item[i].Tag == tag {
			return item[i].Values
		}
	}
	return nil
}

// addSequence takes a sequence key up.
func (q *query) addSequence(a *Attribute, level Level, x extensions) error {
	have := sequences[a.Tag]
	if len(a.Items) > 1 {
		return mismatch(a.Tag, dicom.TagName(a.Tag)+" takes one item")
	}
	var item []Attribute
	for _, items := range a.Items {
		for _, key := range items {
			if slices.Contains(have, key.Tag) {
				key.VR = dicom.TagVR(key.Tag)
				item = append(item, key)
			} else {
				q.partly = true
			}
		}
	}
	q.asked = append(q.asked, Attribute{Tag: a.Tag, VR: "SQ", Items: [][]Attribute{item}})
	if universal := (&Attribute{Items: [][]Attribute{item}}).isUniversal(); universal {
		return nil
	}
	match, err := newItemMatcher(item, x.fuzzy)
	if err != nil {
		return mismatch(a.Tag, dicom.TagName(a.Tag)+" holds a value that is none of its VR")
	}
	q.keyNames = append(q.keyNames, dicom.TagName(a.Tag))
	q.tests = append(q.tests, test{level: level, tag: a.Tag, match: func(s subject) bool { return match(s.items(a.Tag)) }})
	return nil
}

// items are those of a sequence.
func (e *entity) items(tag dicom.Tag) (items [][]Attribute) {
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

// answerItems are the items of a sequence with the attributes that were asked for, all if none were.
func (e *entity) answerItems(asked Attribute) [][]Attribute {
	items := e.items(asked.Tag)
	if len(asked.Items) == 0 || len(asked.Items[0]) == 0 {
		return items
	}
	for i := range items {
		items[i] = slices.DeleteFunc(items[i], func(a Attribute) bool {
			return !slices.ContainsFunc(asked.Items[0], func(k Attribute) bool { return k.Tag == a.Tag })
		})
	}
	return items
}
