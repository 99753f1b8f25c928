package qr

import (
	"slices"
	"strings"

	"dcmgate/dicom"
)

// newRetrieval holds the identifier of a C-MOVE request to the rules of a model (PS3.4 C.4.2.1.4.1, C.4.2.2.1) and makes a
// query for instances of it. Beside the level there are unique keys alone: one value for each level above, and at the level
// itself one value or a list of UIDs. Attributes without a value are let pass. Errors are *refusal.
func newRetrieval(m model, id *Identifier) (q *query, level Level, err error) {
	if level, err = levelOf(m, id); err != nil {
		return nil, 0, err
	}
	keys := m.levels[:len(m.above(level))+1]
	if err := onlyUniqueKeys(id, keys, level); err != nil {
		return nil, level, err
	}
	q = &query{model: m, level: LevelImage, charset: id.CharacterSet}
	for _, l := range keys {
		a := id.Find(uniqueKeys[l])
		if err := checkUniqueKey(a, l, level); err != nil {
			return nil, level, err
		}
		if err := q.add(a, extensions{}, false); err != nil {
			return nil, level, err
		}
		q.keys = append(q.keys, *a)
	}
	q.narrow(id, extensions{})
	return q, level, nil
}

func onlyUniqueKeys(id *Identifier, levels []Level, level Level) error {
	for i := range id.Attributes {
		a := &id.Attributes[i]
		if a.Tag == dicom.TagQueryRetrieveLevel || a.Tag == dicom.TagTimezoneOffsetFromUTC || a.isUniversal() {
			continue
		}
		if !slices.ContainsFunc(levels, func(l Level) bool { return uniqueKeys[l] == a.Tag }) {
			return mismatch(a.Tag, "no unique key of a retrieval at level "+level.String())
		}
	}
	return nil
}

// checkUniqueKey demands a value of the key of level l in a retrieval at a level.
func checkUniqueKey(a *Attribute, l, level Level) error {
	tag := uniqueKeys[l]
	uid := dicom.TagVR(tag) == "UI"
	switch {
	case a == nil || a.isUniversal():
		return mismatch(tag, dicom.TagName(tag)+" is needed at level "+level.String())
	case len(a.Values) != 1 && !(uid && l == level):
		return mismatch(tag, dicom.TagName(tag)+" takes one value")
	case !uid && strings.ContainsAny(a.Values[0], "*?"):
		return mismatch(tag, dicom.TagName(tag)+" takes no wildcards")
	}
	return nil
}
