package qr

import (
	"slices"

	"dcmgate/dicom"
)

// The character sets of answers where the caller's own does not serve.
const (
	charsetUTF8  = "ISO_IR 192"
	charsetPlain = "ISO_IR 100" // for callers that name none: it holds the default repertoire, and everybody knows it
)

// answer is the identifier of a match (PS3.4 C.4.1.1.3.2): what was asked for, of what is supported, with zero length
// where there is no value.
// whole is false if the bound of data sets to look into is reached, so that values are missing: unlike with a key that has
// to match, that does not end the query.
func (e *entity) answer() (id *Identifier, whole bool) {
	q := e.search.query
	e.search.answering, e.search.short = true, false
	defer func() { e.search.answering = false }()
	id = &Identifier{Attributes: make([]Attribute, 0, len(q.asked)+2)}
	for _, a := range q.asked {
		switch {
		case a.VR == "SQ":
			id.Attributes = append(id.Attributes, Attribute{Tag: a.Tag, VR: "SQ", Items: answerItems(e.items(a.Tag), a)})
		case a.Tag != tagRetrieveAETitle:
			id.Attributes = append(id.Attributes, Attribute{Tag: a.Tag, VR: a.VR, Values: e.values(a.Tag)})
		}
	}
	id.Attributes = append(id.Attributes,
		Attribute{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{q.level.String()}},
		Attribute{Tag: tagRetrieveAETitle, VR: "AE", Values: e.values(tagRetrieveAETitle)})
	slices.SortFunc(id.Attributes, func(a, b Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
	id.CharacterSet = answerCharset(q.charset, id)
	return id, !e.search.short
}

// answerCharset chooses what a caller can read: what it asks in if that has all characters, else UTF-8.
func answerCharset(asked string, id *Identifier) string {
	switch {
	case asked != "" && id.readable(asked):
		return asked
	case asked == "" && id.readable(""):
		return charsetPlain
	}
	return charsetUTF8
}
