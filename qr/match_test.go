package qr

import (
	"strings"
	"testing"

	"dcmgate/dicom"
)

// The rules of PS3.4 C.2.2.2, each with what it says of a value.
func TestMatching(t *testing.T) {
	for _, row := range []struct {
		name, vr, key, value string
		want                 bool
	}{
		// C.2.2.2.1 single value matching: exact, with regard to case but for PN.
		{"same", "LO", "P1", "P1", true},
		{"other", "LO", "P1", "P2", false},
		{"case counts", "LO", "p1", "P1", false},
		{"case counts in a code string", "CS", "ct", "CT", false},
		{"not a part", "LO", "P", "P1", false},
		{"no value", "LO", "P1", "", false},
		{"one of several values", "LO", "P2", `P1\P2`, true},
		{"brackets stand for themselves", "LO", "a[b]", "a[b]", true},
		{"brackets are no set", "LO", "a[bc]", "ab", false},
		{"number", "IS", "7", "007", true},
		{"other number", "IS", "7", "8", false},
		{"decimal", "DS", "1.5", "1.50", true},
		{"binary number", "US", "512", "512", true},

		// C.2.2.2.2 list of UID matching.
		{"list", "UI", `1.2\1.3`, "1.3", true},
		{"not in the list", "UI", `1.2\1.3`, "1.4", false},
		{"no begin of a UID", "UI", "1.2", "1.2.3", false},
		{"no wildcards in a UID", "UI", "1.2*", "1.2.3", false},
		{"wildcards in a UID are characters", "UI", "1.?", "1.2", false},

		// C.2.2.2.4 wildcard matching.
		{"any begin", "LO", "*1", "P1", true},
		{"any end", "LO", "P*", "P12", true},
		{"asterisk for nothing", "LO", "P1*", "P1", true},
		{"asterisk within", "SH", "A*Z", "A-B-Z", true},
		{"asterisk goes back", "SH", "*ab", "aab", true},
		{"one character", "LO", "P?", "P1", true},
		{"not none", "LO", "P?", "P", false},
		{"not two", "LO", "P?", "P12", false},
		{"both", "LO", "?1*", "P1X", true},
		{"one character of several bytes", "LO", "?东", "小东", true},
		{"case counts with wildcards", "LO", "p*", "P1", false},

		// C.2.2.2.1 of person names.
		{"name without regard to case", "PN", "wang^xiaodong", "Wang^XiaoDong=王^小东", true},
		{"ideographic group", "PN", "王^小东", "Wang^XiaoDong=王^小东", true},
		{"phonetic group", "PN", "やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう", true},
		{"every group with its own", "PN", "Wang*=王*", "Wang^XiaoDong=王^小东", true},
		{"groups are not exchanged", "PN", "王*=Wang*", "Wang^XiaoDong=王^小东", false},
		{"second group alone", "PN", "=王^小东", "Wang^XiaoDong=王^小东", true},
		{"not the begin of a name", "PN", "Wang", "Wang^XiaoDong", false},
		{"begin of a name", "PN", "Wang*", "Wang^XiaoDong", true},
		{"empty components at the end of the value", "PN", "Wang^Li", "Wang^Li^^", true},
		{"empty components at the end of the key", "PN", "Wang^Li^^^", "Wang^Li", true},
		{"wildcard for a component that is not there", "PN", "Wang^*", "Wang", true},
		{"wildcard for a given name", "PN", "*^Li", "Wang^Li", true},
		{"one ideograph", "PN", "王^?东", "Wang^XiaoDong=王^小东", true},
		{"accents count", "PN", "Muller", "Müller", false},

		// C.2.2.2.5 range matching.
		{"date", "DA", "20240131", "20240131", true},
		{"other date", "DA", "20240131", "20240130", false},
		{"old form", "DA", "20240131", "2024.01.31", true},
		{"first of the range", "DA", "20240101-20240131", "20240101", true},
		{"last of the range", "DA", "20240101-20240131", "20240131", true},
		{"before the range", "DA", "20240101-20240131", "20231231", false},
		{"after the range", "DA", "20240101-20240131", "20240201", false},
		{"from", "DA", "20240101-", "20991231", true},
		{"not from", "DA", "20240101-", "20231231", false},
		{"to", "DA", "-20240131", "19000101", true},
		{"not to", "DA", "-20240131", "20240201", false},
		{"no date to compare", "DA", "20240101-", "unknown", false},
		{"time of a range", "TM", "100000-110000", "103000.5", true},
		{"hours include what is in them", "TM", "10-11", "115959.999999", true},
		{"after the hour", "TM", "10-11", "12", false},
		{"time to", "TM", "-1200", "115900", true},
		{"the same moment", "TM", "1030", "103000", true},
		{"moment within the minute", "TM", "1030", "103015", true},
		{"old form of a time", "TM", "10:30:00", "103000", true},
		{"leap second", "TM", "235960", "235960", true},
		{"date and time", "DT", "20240101120000", "20240101120000.000000", true},
		{"day of a date and time", "DT", "20240101", "20240101235959", true},
		{"range of them", "DT", "20240101-20240103", "202401022359", true},
		{"month of them", "DT", "-202401", "20240131235959.9", true},
		{"same instant in another zone", "DT", "20240101120000+0800", "20240101040000+0000", true},
		{"zone before a range", "DT", "20240101120000-0500-20240101130000-0500", "20240101173000+0000", true},
		{"zone that is not compared", "DT", "20240101120000", "20240101120000+0800", true},
	} {
		a := Attribute{Tag: 1, VR: row.vr, Values: strings.Split(row.key, `\`)}
		match, err := newMatcher(&a, false)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if got := match(splitValues(row.value, row.vr)); got != row.want {
			t.Errorf("%s: %s %q and %q: %v", row.name, row.vr, row.key, row.value, got)
		}
	}
}

// C.2.2.2.1.1: what fuzzy matching is here.
func TestFuzzyMatching(t *testing.T) {
	for _, row := range []struct {
		key, value string
		want       bool
	}{
		{"muller", "Müller^Hans", true},
		{"Hans Muller", "Müller^Hans", true},
		{"HANS", "Müller^Hans", true},
		{"Han", "Müller^Hans", false},
		{"Han*", "Müller^Hans", true},
		{"xiaodong^wang", "Wang^XiaoDong=王^小东", true},
		{"小东 王", "Wang^XiaoDong=王^小东", true},
		{"Wang Li", "Wang^XiaoDong", false},
		{"Jerome", "Buc^Jérôme", true},
		{"O'Brien", "O^Brien", true},
	} {
		a := Attribute{Tag: dicom.TagPatientName, VR: "PN", Values: []string{row.key}}
		match, err := newMatcher(&a, true)
		if err != nil || match([]string{row.value}) != row.want {
			t.Errorf("%q and %q: want %v, %v", row.key, row.value, row.want, err)
		}
	}
}

// C.2.2.2.3: a key without a value matches everything, an asterisk does as well.
func TestUniversalMatching(t *testing.T) {
	for _, row := range []struct {
		values []string
		want   bool
	}{{nil, true}, {[]string{""}, true}, {[]string{"*"}, true}, {[]string{"**"}, true}, {[]string{"*A"}, false}, {[]string{"?"}, false}, {[]string{"", "1.2"}, false}} {
		if got := (&Attribute{VR: "LO", Values: row.values}).isUniversal(); got != row.want {
			t.Errorf("%q: %v", row.values, got)
		}
	}
}

func TestKeysThatCannotBeMatched(t *testing.T) {
	for vr, values := range map[string][]string{
		"DA": {"today", "2024", "20241301", "20240230", "20240101-20240102-20240103", "-", "2024*"},
		"TM": {"25", "10:30:00:00", "1", "103", "noon", "1030-x", "10.5"},
		"DT": {"20", "2024010112:00", "20240101120000+9900"},
		"IS": {"seven", "1*"},
		"OB": {"x"},
	} {
		for _, v := range values {
			if _, err := newMatcher(&Attribute{Tag: 1, VR: vr, Values: []string{v}}, false); err == nil {
				t.Errorf("%s %q is taken", vr, v)
			} else if strings.Contains(err.Error(), v) && v != "x" && v != "-" && v != "1" {
				t.Errorf("%s %q: the error names the value: %v", vr, v, err)
			}
		}
	}
}

// C.2.2.2.5.1: with combined date-time matching a range of dates and one of times are one range of moments.
func TestCombinedDateTime(t *testing.T) {
	for _, row := range []struct {
		dates, times, date, time string
		want                     bool
	}{
		{"20240101-20240103", "1000-1200", "20240102", "0300", true},
		{"20240101-20240103", "1000-1200", "20240101", "0959", false},
		{"20240101-20240103", "1000-1200", "20240101", "1000", true},
		{"20240101-20240103", "1000-1200", "20240103", "120059", true},
		{"20240101-20240103", "1000-1200", "20240103", "1201", false},
		{"20240101-", "1000-", "20240101", "0900", false},
		{"20240101-", "1000-", "20240601", "0100", true},
		{"-20240103", "-1200", "20240103", "1300", false},
		{"-20240103", "-1200", "20230101", "2300", true},
		{"20240101", "1000-1200", "20240101", "1100", true},
	} {
		dates, okD := parseSpan(row.dates, "DA")
		times, okT := parseSpan(row.times, "TM")
		day, _ := parseDate(row.date)
		clock, _ := parseTime(row.time)
		if got := combined(dates, times).holds(combined(day, clock)); !okD || !okT || got != row.want {
			t.Errorf("%s %s and %s %s: %v", row.dates, row.times, row.date, row.time, got)
		}
	}
}

func FuzzMatching(f *testing.F) {
	for _, vr := range []string{"LO", "PN", "DA", "TM", "DT", "UI", "IS"} {
		f.Add(vr, "*a?b*", "aab", true)
		f.Add(vr, "20240101-20240102", "20240101", false)
	}
	f.Fuzz(func(t *testing.T, vr, key, value string, fuzzy bool) {
		if len(key) > maxValue || len(value) > maxValue {
			return
		}
		a := Attribute{Tag: 1, VR: vr, Values: strings.Split(key, `\`)}
		match, err := newMatcher(&a, fuzzy)
		if err != nil {
			return
		}
		match(splitValues(value, vr))
		if vr == "LO" && value != "" && !strings.ContainsAny(value, `*?\`) && value == strings.Trim(value, " \x00") {
			same := Attribute{Tag: 1, VR: vr, Values: []string{value}}
			if m, err := newMatcher(&same, false); err != nil || !m([]string{value}) {
				t.Errorf("%q does not match itself", value)
			}
		}
	})
}
