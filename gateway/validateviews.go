package gateway

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a small machine may have none

	"dcmgate/dicom"
	"dcmgate/views"
)

// localView is the database without a server, which is published to unless the configuration says otherwise.
var localView = View{Name: "local", DSN: Secret{"sqlite:views.db"}}

func (v *validator) views(raws []rawView) []View {
	if raws == nil {
		return []View{localView}
	}
	list := []View{}
	seen := make(map[string]int)
	for i := range raws {
		raw := &raws[i]
		view := View{
			Name:   parsed(v, raw.Name, parseName),
			AsText: oneOf(v, raw.Dates, "native", "text") == "text",
		}
		view.DSN = v.dataSource(raw.DSN)
		if first, ok := seen[view.Name]; ok && view.Name != "" {
			v.fail(raw.Name.at, "name %s is already views[%d]", view.Name, first)
		}
		seen[view.Name] = i
		list = append(list, view)
	}
	return list
}

// dataSource takes a data source name. That of SQLite holds no secret and may stand in the file.
func (v *validator) dataSource(raw value) Secret {
	if raw.Text == "" {
		v.fail(raw.at, "a data source is needed: postgres://..., mysql://... or sqlite:PATH, or file:PATH of a file that holds it")
		return Secret{}
	}
	if s := (Secret{raw.Text}); s.Inline() {
		if _, err := views.ParseSource(raw.Text, "."); err != nil {
			v.fail(raw.at, "%v", err)
		}
		if strings.HasPrefix(raw.Text, "sqlite:") {
			return s
		}
	}
	return v.secret(raw)
}

func (v *validator) rows(raw *rawRows) Rows {
	r := Rows{
		CompleteAfter: v.duration(raw.CompleteAfter, time.Second, 7*24*time.Hour),
		Hold:          oneOf(v, raw.Missing, "publish", "hold") == "hold",
		SwapCounts:    v.truth(raw.SwapCounts),
		TimeZone:      parsed(v, raw.TimeZone, parseTimeZone),
		Modalities:    map[string]string{},
		Export:        v.text(raw.Files.Export, 900),
		FileAddress:   v.text(raw.Files.Address, 900),
		Links:         v.truth(raw.Files.Links),
	}
	if r.Export != "" && !filepath.IsAbs(r.Export) {
		v.fail(raw.Files.Export.at, "%q is not an absolute path, which FilePathName has to be", r.Export)
	}
	if r.FileAddress != "" && (r.Export == "") != strings.Contains(r.FileAddress, "{") {
		v.fail(raw.Files.Address.at, "without export it is a template with {instance} or {id}; with export it is what stands for the folder, without {")
	}
	if oneOf(v, raw.UnknownModality, "keep", "OT") == "OT" {
		r.UnknownModality = "OT"
	}
	for _, m := range raw.Modalities {
		from, to, ok := strings.Cut(m.Text, "=")
		if !ok || from == "" || to == "" || len(to) > 16 {
			v.fail(m.at, "%q is not of the form DR=DX", m.Text)
		}
		r.Modalities[from] = to
	}
	for i := range raw.Campuses {
		r.Campuses = append(r.Campuses, v.campus(&raw.Campuses[i]))
	}
	for i := range raw.Fill {
		r.Fill = append(r.Fill, v.rowRule(&raw.Fill[i]))
	}
	return r
}

func parseTimeZone(s string) (*time.Location, error) {
	if s == "local" {
		return time.Local, nil
	}
	return time.LoadLocation(s)
}

func (v *validator) campus(raw *rawCampus) views.Campus {
	c := views.Campus{
		AETitles:    parsedList(v, raw.AETitles, parseAETitle),
		Institution: views.Institution{Code: v.institutionCode(raw.Code), Name: v.text(raw.Name, 256)},
	}
	if len(c.AETitles) == 0 || c.Institution == (views.Institution{}) {
		v.fail(raw.at, "ae_titles, and a code or name, are needed")
	}
	return c
}

// institutionCode takes a unified social credit code.
func (v *validator) institutionCode(raw value) string {
	code := v.text(raw, 64)
	if code != "" && len(code) != 18 {
		v.fail(raw.at, "%q has %d characters; a unified social credit code has 18", code, len(code))
	}
	return code
}

func (v *validator) rowRule(raw *rawRule) RowRule {
	r := RowRule{LookupFile: v.text(raw.Lookup, 4096)}
	r.Column, r.Always, r.Value = raw.Column.Text, v.truth(raw.Always), v.text(raw.Value, 1024)
	if columns := views.Columns(); !slices.Contains(columns, r.Column) {
		v.fail(raw.Column.at, "%q is not one of %s", r.Column, strings.Join(columns, ", "))
	}
	r.From = parsedList(v, raw.From, func(s string) (dicom.Tag, error) { return views.ElementNamed(s) })
	if raw.Match.Text != "" {
		var err error
		if r.Match, err = regexp.Compile(raw.Match.Text); err != nil {
			v.fail(raw.Match.at, "%v", err)
		}
	}
	switch {
	case len(r.From) == 0 && raw.Value.Text == "":
		v.fail(raw.at, "from or value is needed")
	case len(r.From) == 0 && (raw.Match.Text != "" || r.LookupFile != ""):
		v.fail(raw.at, "match and lookup need from")
	case len(r.From) > 0 && raw.Value.Text != "" && raw.Match.Text == "":
		v.fail(raw.Value.at, "with from, a value needs a match whose groups it is made of")
	}
	return r
}
