package views

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Rule fills a column that the images leave empty.
type Rule struct {
	Column string
	Always bool              // also where it is not empty
	From   []dicom.Tag       // elements whose texts, joined, are the value; none: Value is
	Match  *regexp.Regexp    // of what From gives; without a match the rule does not apply
	Value  string            // a constant, or with Match what is made of the groups ($1); "" is the whole match
	Lookup map[string]string // what is written in place of a value; what is not in it has no rule
}

// Columns lists the columns of both views that rules may fill.
func Columns() []string {
	var names []string
	for _, v := range []View{StudyInfo, DocImage} {
		for _, c := range v.Columns {
			if c.Type != "integer" && c.Name != "FilePathName" && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// ElementNamed finds an element that the spool keeps of each instance by its keyword of PS3.6, such as StudyID.
func ElementNamed(keyword string) (dicom.Tag, error) {
	tag, ok := dicom.TagByKeyword(keyword)
	if !ok {
		return 0, fmt.Errorf("%q is not a keyword of PS3.6, such as StudyID", keyword)
	}
	if !indexed(tag) {
		return 0, fmt.Errorf("%s is not among the elements that are kept of each instance", keyword)
	}
	return tag, nil
}

// Limits of a lookup file.
const (
	maxLookupBytes = 16 << 20
	maxLookupLines = 200_000
)

// ReadLookup reads a file of lines KEY,VALUE in UTF-8; lines that are empty or begin with # do not count.
func ReadLookup(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > maxLookupBytes {
		return nil, errors.Join(err, fmt.Errorf("%s: larger than %d bytes, or not a file", path, maxLookupBytes))
	}
	table := map[string]string{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\uFEFF"))
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, ",")
		if !ok {
			return nil, fmt.Errorf("%s:%d: not KEY,VALUE", path, n)
		}
		if table[strings.TrimSpace(key)] = strings.TrimSpace(value); len(table) > maxLookupLines {
			return nil, fmt.Errorf("%s: more than %d lines", path, maxLookupLines)
		}
	}
	return table, lines.Err()
}

// fill applies the rules for a column to its value.
func (s *Settings) fill(c Column, value any, in *spool.Instance) any {
	for i := range s.Rules {
		r := &s.Rules[i]
		if r.Column != c.Name || value != nil && !r.Always {
			continue
		}
		if v := typed(c, r.apply(&in.Metadata)); v != nil {
			return v
		}
	}
	return value
}

// apply gives what a rule makes of an instance, "" if it does not apply.
func (r *Rule) apply(m *spool.Metadata) string {
	value := r.Value
	if len(r.From) > 0 {
		value = ""
		for _, tag := range r.From {
			value += clean(m.Text(tag))
		}
		if r.Match != nil {
			at := r.Match.FindStringSubmatchIndex(value)
			if at == nil {
				return ""
			}
			template := r.Value
			if template == "" {
				template = "$0"
			}
			value = string(r.Match.ExpandString(nil, template, value, at))
		}
	}
	if r.Lookup != nil {
		return r.Lookup[value]
	}
	return value
}

// typed makes a column's value of text; nil if it is none.
func typed(c Column, s string) any {
	switch c.Type {
	case "date":
		return dated(parseDate(s))
	case "datetime":
		day, clock, ok := strings.Cut(s, " ")
		if !ok && len(s) > 8 { // as elements joined give it
			day, clock = s[:8], s[8:]
		}
		date, okD := parseDate(day)
		at, okT := parseClock(clock)
		return timed(date.Add(at), okD && okT)
	}
	return text(s)
}
