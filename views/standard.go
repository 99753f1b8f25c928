package views

import (
	_ "embed"
	"encoding/json"
)

// The lists of columns of sections 4.2.3 and 4.2.5 and code table 8, as they were extracted from the standard.
var (
	//go:embed standard.json
	standardJSON []byte
	//go:embed modalities.json
	modalitiesJSON []byte
)

// Column is one column of a view as the standard lists it.
type Column struct {
	Name     string `json:"name"`
	Title    string `json:"title_zh"`
	Type     string `json:"type"`     // string, integer, number, date or datetime
	Length   int    `json:"length"`   // characters or digits; 0 of dates
	Required string `json:"required"` // required, or recommended
	Note     string `json:"note_zh"`
}

// View is one of the standard's views.
type View struct {
	Name    string   `json:"view"`
	Title   string   `json:"title_zh"`
	Section string   `json:"section"`
	Columns []Column `json:"columns"`
}

// The views that are published.
var (
	StudyInfo = standardView("V_StudyInfo") // 4.2.3: one row for each study
	DocImage  = standardView("V_DocImage")  // 4.2.5: one row for each DICOM file
	// 4.2.5: one row for each image that is not DICOM. The standard gives this view no name (errata 50).
	DocImageF = standardView("V_DocImage_F")
)

func standardView(name string) View {
	var all []View
	if err := json.Unmarshal(standardJSON, &all); err != nil {
		panic("views: standard.json: " + err.Error())
	}
	for _, v := range all {
		if v.Name == name {
			return v
		}
	}
	panic("views: standard.json lacks " + name)
}

// modalities are the codes of table 8.
var modalities = func() map[string]bool {
	var table struct {
		Entries []struct{ Code string }
	}
	if err := json.Unmarshal(modalitiesJSON, &table); err != nil {
		panic("views: modalities.json: " + err.Error())
	}
	codes := map[string]bool{}
	for _, e := range table.Entries {
		codes[e.Code] = true
	}
	return codes
}()
