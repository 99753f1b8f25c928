package views

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Forms of dates and times in rows (YYYY-MM-DD HH24:Mi:ss of the standard).
const (
	dateForm     = "2006-01-02"
	dateTimeForm = "2006-01-02 15:04:05"
)

// clean makes text fit for a database: valid UTF-8 without control characters, which PostgreSQL refuses in part.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.TrimSpace(s)
}

// text is nil where there is none.
func text(s string) any {
	if s = clean(s); s == "" {
		return nil
	}
	return s
}

// personName writes a name for people: the ideographic group if there is one. The parts of a name in Han characters
// follow each other without a space.
func personName(value string) string {
	n := dicom.ParsePersonName(value)
	name := n.Ideographic
	if name == "" {
		name = n.Alphabetic
	}
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '^' })
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r != '^' && r != ' ' && !unicode.Is(unicode.Han, r) }) {
		return strings.TrimSpace(strings.Join(parts, " "))
	}
	return strings.Join(parts, "")
}

// sex maps (0010,0040) to M, F or O.
func sex(value string) string {
	switch v := strings.ToUpper(clean(value)); v {
	case "":
		return ""
	case "M", "F":
		return v
	}
	return "O"
}

// age writes (0010,1010), nnnD, nnnW, nnnM or nnnY (PS3.5 6.2), as the standard does: 10天, 10月, 10岁. Where it is not
// there it is reckoned from birth and examination.
func age(value, birth, study string) string {
	value = strings.ToUpper(clean(value))
	if len(value) >= 2 && len(value) <= 4 {
		n, err := strconv.Atoi(value[:len(value)-1])
		if unit := value[len(value)-1]; err == nil && n >= 0 {
			switch unit {
			case 'D':
				return strconv.Itoa(n) + "天"
			case 'W':
				return ageOfDays(7 * n)
			case 'M':
				return strconv.Itoa(n) + "月"
			case 'Y':
				return strconv.Itoa(n) + "岁"
			}
		}
	}
	born, okB := parseDate(birth)
	seen, okS := parseDate(study)
	if !okB || !okS || seen.Before(born) {
		return ""
	}
	months := 12*(seen.Year()-born.Year()) + int(seen.Month()) - int(born.Month())
	if seen.Day() < born.Day() {
		months--
	}
	switch {
	case months < 1:
		return strconv.Itoa(int(seen.Sub(born)/(24*time.Hour))) + "天"
	case months < 12:
		return strconv.Itoa(months) + "月"
	case months/12 > 999:
		return ""
	}
	return strconv.Itoa(months/12) + "岁"
}

// ageOfDays keeps three digits.
func ageOfDays(days int) string {
	if days <= 999 {
		return strconv.Itoa(days) + "天"
	}
	return strconv.Itoa(days*12/365) + "月"
}

// firstYear is the first that every server's dates know.
const firstYear = 1000

// parseDate reads a DA, or YYYY.MM.DD as before 1993 and YYYY-MM-DD as rules may write (PS3.5 6.2).
func parseDate(s string) (time.Time, bool) {
	s = clean(s)
	for _, form := range [...]string{"20060102", "2006.01.02", dateForm} {
		if t, err := time.Parse(form, s); err == nil && t.Year() >= firstYear {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseClock reads a TM: HH, HHMM, HHMMSS or HHMMSS.FFFFFF, with colons as before 1993. A leap second counts as the one
// before it.
func parseClock(s string) (time.Duration, bool) {
	s = strings.ReplaceAll(clean(s), ":", "")
	whole, _, _ := strings.Cut(s, ".")
	if len(whole) == 6 && whole[4:] == "60" {
		whole = whole[:4] + "59"
	}
	for _, form := range [...]string{"150405", "1504", "15"} {
		if len(whole) != len(form) {
			continue
		}
		if t, err := time.Parse(form, whole); err == nil {
			return t.Sub(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)), true
		}
	}
	return 0, false
}

// moment joins a date and a time of day, which are in the object's own zone (0008,0201) if it names one, and gives what
// the clock at loc shows (PS3.3 C.12.1).
func moment(m *spool.Metadata, date, clock dicom.Tag, loc *time.Location) (time.Time, bool) {
	day, ok := parseDate(m.Text(date))
	at, okT := parseClock(m.Text(clock))
	if !ok || !okT {
		return time.Time{}, false
	}
	return inZone(day.Add(at), m.Text(dicom.TagTimezoneOffsetFromUTC), loc), true
}

// inZone takes a time on the clock of offset, ±HHMM, to the clock of loc. Without an offset both are the same.
func inZone(t time.Time, offset string, loc *time.Location) time.Time {
	at, err := time.Parse("-0700", clean(offset))
	if err != nil {
		return t
	}
	_, seconds := at.Zone()
	there := t.Add(-time.Duration(seconds) * time.Second).In(loc)
	if there.Year() < firstYear {
		return t
	}
	return there
}

// acquired reads when an image was acquired: (0008,002A), or date and time apart.
func acquired(m *spool.Metadata, loc *time.Location) (time.Time, bool) {
	s, offset := clean(m.Text(dicom.TagAcquisitionDateTime)), m.Text(dicom.TagTimezoneOffsetFromUTC)
	if i := strings.IndexAny(s, "+-"); i > 0 {
		s, offset = s[:i], s[i:]
	}
	if len(s) >= 10 { // to the hour at least
		day, okD := parseDate(s[:8])
		at, okT := parseClock(s[8:])
		if okD && okT {
			return inZone(day.Add(at), offset, loc), true
		}
	}
	return moment(m, dicom.TagAcquisitionDate, dicom.TagAcquisitionTime, loc)
}

// dated and timed are what stands in a row: nil where nothing is known.
func dated(t time.Time, ok bool) any {
	if !ok {
		return nil
	}
	return t.Format(dateForm)
}

func timed(t time.Time, ok bool) any {
	if !ok {
		return nil
	}
	return t.Format(dateTimeForm)
}
