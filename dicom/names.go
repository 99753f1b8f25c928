package dicom

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"

	"github.com/grailbio/go-dicom/dicomtag"
)

// attributesText holds the rows of PS3.6 table 6-1 that go-dicom's dictionary
// of 2017 lacks or has otherwise: tag, first VR and keyword in a line.
//
//go:embed attributes.txt
var attributesText string

// retiredPrefix stands before the keyword of a retired attribute in go-dicom's
// dictionary, not in PS3.6.
const retiredPrefix = "RETIRED_"

type attribute struct {
	vr, keyword string
}

// dictionary is what we know beyond go-dicom's.
type dictionary struct {
	attributes map[Tag]attribute
	tags       map[string]Tag
}

var ownDictionary = sync.OnceValue(func() dictionary {
	d := dictionary{attributes: map[Tag]attribute{}, tags: map[string]Tag{}}
	for line := range strings.Lines(attributesText) {
		field := strings.Fields(line)
		number, err := strconv.ParseUint(field[0], 16, 32)
		if err != nil {
			panic("dicom: attributes.txt: " + err.Error())
		}
		d.attributes[Tag(number)] = attribute{vr: field[1], keyword: field[2]}
		d.tags[field[2]] = Tag(number)
	}
	return d
})

// attributeOf looks a tag up; of one that nobody knows the parts are empty.
func attributeOf(tag Tag) attribute {
	tag = canonicalTag(tag)
	if a, ok := ownDictionary().attributes[tag]; ok {
		return a
	}
	switch {
	case tag.Private() && tag.Element() >= 0x0010 && tag.Element() <= 0x00FF:
		return attribute{"LO", "PrivateCreator"} // PS3.5 7.8.1
	case tag.Private():
		return attribute{}
	case tag.Element() == 0 && tag.Group() > groupFileMeta:
		return attribute{"UL", "GroupLength"} // PS3.5 7.2
	}
	info, err := dicomtag.Find(dicomtag.Tag{Group: tag.Group(), Element: tag.Element()})
	if err != nil || info.VR == "NA" {
		return attribute{keyword: info.Name}
	}
	return attribute{info.VR, strings.TrimPrefix(info.Name, retiredPrefix)}
}

// canonicalTag maps the repeating groups of curves (50xx) and overlays (60xx) to
// the first of them, which is the one the dictionary has (PS3.5 7.6).
func canonicalTag(tag Tag) Tag {
	if base := tag.Group() & 0xFF00; (base == 0x5000 || base == 0x6000) && !tag.Private() {
		return NewTag(base, tag.Element())
	}
	return tag
}

// TagName returns the keyword of PS3.6 for a tag, such as "PatientName", and ""
// for a tag that has none, as private ones do.
func TagName(tag Tag) string { return attributeOf(tag).keyword }

// TagVR returns the value representation that PS3.6 gives an element, "" if it
// does not know the element. Where several are possible it is one of them, in
// general the first.
func TagVR(tag Tag) string { return attributeOf(tag).vr }

// found keeps what TagByKeyword has searched for in go-dicom's dictionary, keyword to tag; it has no more than that.
var found sync.Map

// TagByKeyword finds the tag of a keyword of PS3.6, such as "PatientName".
func TagByKeyword(keyword string) (Tag, bool) {
	if tag, ok := ownDictionary().tags[keyword]; ok {
		return tag, true
	}
	if tag, ok := found.Load(keyword); ok {
		return tag.(Tag), true
	}
	for _, name := range []string{keyword, retiredPrefix + keyword} {
		if info, err := dicomtag.FindByName(name); err == nil && TagName(NewTag(info.Tag.Group, info.Tag.Element)) == keyword {
			tag := NewTag(info.Tag.Group, info.Tag.Element)
			found.Store(keyword, tag)
			return tag, true
		}
	}
	return 0, false
}
