package views

import (
	"cmp"
	"slices"
	"time"

	"dcmgate/dicom"
)

// Settings say how rows are made. The zero value publishes what the images hold.
type Settings struct {
	Institution     Institution
	Campuses        []Campus
	Quiet           time.Duration     // a study that nothing was added to for so long is complete
	Hold            bool              // keep rows back that lack a required column
	SwapCounts      bool              // Instancecount for the images, imagecount for the series (errata 45)
	Location        *time.Location    // of dates and times in rows; nil: the machine's
	Modalities      map[string]string // written in place of a modality
	UnknownModality string            // written in place of what code table 8 lacks; "": as it is (errata 79)
	Rules           []Rule
}

// Institution is what HospCode and HostName say.
type Institution struct{ Code, Name string }

// Campus is a part of the institution, told by the AE titles that its images come from (errata 26).
type Campus struct {
	AETitles []string
	Institution
}

// InstitutionOf finds the campus of a calling AE title.
func (s *Settings) InstitutionOf(aeTitle string) Institution {
	for _, c := range s.Campuses {
		if slices.Contains(c.AETitles, aeTitle) {
			return Institution{cmp.Or(c.Code, s.Institution.Code), cmp.Or(c.Name, s.Institution.Name)}
		}
	}
	return s.Institution
}

func (s *Settings) location() *time.Location {
	if s.Location == nil {
		return time.Local
	}
	return s.Location
}

// auxiliary are modalities of what accompanies images. A study has one of them only if it has no other.
var auxiliary = map[string]bool{
	"SR": true, "PR": true, "KO": true, "DOC": true, "SEG": true, "REG": true, "RWV": true, "FID": true, "AU": true, "HC": true,
	"PLAN": true, "ASMT": true, "OT": true, "RTPLAN": true, "RTSTRUCT": true, "RTDOSE": true, "RTRECORD": true,
}

// ModalityOf chooses the code for a study or image and translates it. A hybrid examination (PT with CT) is named after
// the tracer.
func (s *Settings) ModalityOf(codes []string) string {
	rank := func(code string) int {
		switch {
		case code == "":
			return 3
		case auxiliary[code]:
			return 2
		case code == "PT" || code == "NM":
			return 0
		}
		return 1
	}
	if len(codes) == 0 {
		return ""
	}
	code := slices.MinFunc(codes, func(a, b string) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b)) })
	if to, ok := s.Modalities[code]; ok {
		return to
	}
	if code != "" && !modalities[code] && s.UnknownModality != "" {
		return s.UnknownModality
	}
	return code
}

// indexed tells whether an element is among those that the spool keeps of an instance.
func indexed(tag dicom.Tag) bool { return slices.Contains(dicom.DefaultTags(), tag) }
