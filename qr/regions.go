package qr

import (
	"slices"
	"strings"

	"dcmgate/dicom"
)

// Where an instance says which regions of the body it shows: at its top level, or, if it has many frames, for all or each of
// them in Frame Anatomy Sequence (PS3.3 C.7.6.16.2.8).
const (
	tagAnatomicRegionSequence           dicom.Tag = 0x00082218
	tagFrameAnatomySequence             dicom.Tag = 0x00209071
	tagSharedFunctionalGroupsSequence   dicom.Tag = 0x52009229
	tagPerFrameFunctionalGroupsSequence dicom.Tag = 0x52009230
)

// The attributes that an item of a code may have as a key (PS3.4 table C.6-2a) lie between these.
const (
	tagCodeValue              dicom.Tag = 0x00080100
	tagCodingSchemeDesignator dicom.Tag = 0x00080102
	tagCodingSchemeVersion    dicom.Tag = 0x00080103
	tagLongCodeValue          dicom.Tag = 0x00080119
	tagURNCodeValue           dicom.Tag = 0x00080120
	tagEquivalentCodeSequence dicom.Tag = 0x00080121
)

// regions are the items of Anatomic Regions in Study Code Sequence: the codes of the regions that the instances of a study
// show (PS3.4 table C.3-1), each once, in the order of the index. Every instance is looked into, since one of a series tells
// nothing about the others. The search remembers those of the study that it is at.
func (e *entity) regions() [][]Attribute {
	s := e.search
	if s.regionsOf == e.study.StudyInstanceUID {
		return s.regions
	}
	s.regionsOf, s.regions = e.study.StudyInstanceUID, nil
	known := map[string]bool{}
	for in, err := range s.index.Latest(s.ctx, e.study.StudyInstanceUID, "") {
		if err != nil {
			s.err = err
			return nil
		}
		for _, item := range regionsIn(s.readHeader(&in)) {
			if code := codeOf(item); !known[code] && len(known) < maxItems {
				known[code] = true
				s.regions = append(s.regions, item)
			}
		}
		if s.err != nil || s.short || len(known) == maxItems {
			break
		}
	}
	if s.short { // a part of them would pass for all; the next answer for the study has to say so, too
		s.regionsOf, s.regions = "", nil
	}
	return s.regions
}

// regionsIn are the codes of the regions that a data set names.
func regionsIn(elements []dicom.DataElement) (codes [][]Attribute) {
	for _, found := range wanted(regionElements(elements), []dicom.Tag{tagAnatomicRegionSequence}) {
		for _, item := range found.Items {
			item = slices.DeleteFunc(item, func(a Attribute) bool { return a.Tag < tagCodeValue || a.Tag > tagEquivalentCodeSequence })
			if len(item) > 0 {
				codes = append(codes, item)
			}
		}
	}
	return codes
}

// regionElements are the Anatomic Region Sequences of a data set, those of frames included, and what tells the character set.
func regionElements(elements []dicom.DataElement) (out []dicom.DataElement) {
	for i := range elements {
		switch e := &elements[i]; e.Tag {
		case dicom.TagSpecificCharacterSet, tagAnatomicRegionSequence:
			out = append(out, *e)
		case tagSharedFunctionalGroupsSequence, tagPerFrameFunctionalGroupsSequence, tagFrameAnatomySequence:
			for _, item := range e.Items {
				out = append(out, regionElements(item)...)
			}
		}
	}
	return out
}

// codeOf is what a code is told apart by: its value, in whichever attribute, and its scheme.
func codeOf(item []Attribute) string {
	var parts []string
	for _, tag := range [...]dicom.Tag{tagCodeValue, tagLongCodeValue, tagURNCodeValue, tagCodingSchemeDesignator, tagCodingSchemeVersion} {
		parts = append(parts, first(valuesIn(item, tag)))
	}
	return strings.Join(parts, "\x00")
}
