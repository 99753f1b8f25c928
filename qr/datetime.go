package qr

import (
	"strconv"
	"strings"
	"time"
)

// span is a stretch of time, both ends included: what a value of DA, TM or DT says to its own precision, or a range of
// them. Dates and times alone are reckoned from the begin of the calendar and of the day.
type span struct {
	from, to time.Time
	openFrom bool
	openTo   bool
	zone     bool // from and to are instants, not local times
}

// holds tells whether a stored moment is within the span. Moments with and without a time zone compare by what the clock shows.
func (s span) holds(moment span) bool {
	at := moment.from
	if s.zone != moment.zone {
		at, s.from, s.to = wall(at), wall(s.from), wall(s.to)
	}
	return (s.openFrom || !at.Before(s.from)) && (s.openTo || !at.After(s.to))
}

// wall is the time as the clock shows it where it was taken.
func wall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// parseMoment reads one value of DA, TM or DT.
type parseMoment func(string) (span, bool)

// parseSpan reads a single value or a range of PS3.4 C.2.2.2.5: A-B, A- or -B.
func parseSpan(text string, vr string) (span, bool) {
	parse := momentOf(vr)
	if s, ok := parse(text); ok {
		return s, true
	}
	for i := 0; i < len(text); i++ { // of the hyphens the one that leaves a moment on either side
		if text[i] != '-' {
			continue
		}
		from, to := strings.TrimSpace(text[:i]), strings.TrimSpace(text[i+1:])
		a, okA := parse(from)
		b, okB := parse(to)
		a.openFrom, b.openTo = from == "", to == ""
		if (okA || from == "") && (okB || to == "") && from+to != "" {
			return span{from: a.from, to: b.to, openFrom: from == "", openTo: to == "", zone: a.zone || b.zone}, true
		}
	}
	return span{}, false
}

func momentOf(vr string) parseMoment {
	switch vr {
	case "DA":
		return parseDate
	case "TM":
		return parseTime
	}
	return parseDateTime
}

// digits reads a number of exactly n digits within bounds from the begin of text.
func digits(text string, n, low, high int) (value int, rest string, ok bool) {
	if len(text) < n || strings.Trim(text[:n], "0123456789") != "" {
		return 0, text, false
	}
	value, _ = strconv.Atoi(text[:n])
	return value, text[n:], value >= low && value <= high
}

// parseDate reads a DA: YYYYMMDD, or YYYY.MM.DD as before 1993 (PS3.5 table 6.2-1).
func parseDate(text string) (span, bool) {
	if len(text) == 10 && text[4] == '.' && text[7] == '.' {
		text = text[:4] + text[5:7] + text[8:]
	}
	if len(text) != 8 {
		return span{}, false
	}
	s, ok := parseDateTime(text)
	return s, ok
}

// dayZero is the day that a time without a date is reckoned in.
var dayZero = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)

// parseTime reads a TM: HH, HHMM, HHMMSS or HHMMSS.FFFFFF, or with colons as before 1993.
func parseTime(text string) (span, bool) {
	if strings.Count(text, ":") > 0 && len(text) >= 5 && text[2] == ':' {
		text = strings.Replace(text, ":", "", 2)
	}
	from, step, rest, ok := clock(dayZero, text)
	if !ok || rest != "" || text == "" {
		return span{}, false
	}
	return span{from: from, to: from.Add(step - 1)}, true
}

// clock reads the time of a day as far as it goes; step is its precision. A leap second counts as the 60th.
func clock(day time.Time, text string) (at time.Time, step time.Duration, rest string, ok bool) {
	at, rest = day, text
	for _, part := range [...]struct {
		unit time.Duration
		high int
	}{{time.Hour, 23}, {time.Minute, 59}, {time.Second, 60}} {
		if rest == "" || rest[0] < '0' || rest[0] > '9' {
			return at, step, rest, step != 0
		}
		var n int
		if n, rest, ok = digits(rest, 2, 0, part.high); !ok {
			return at, step, rest, false
		}
		at, step = at.Add(time.Duration(n)*part.unit), part.unit
	}
	if !strings.HasPrefix(rest, ".") {
		return at, step, rest, true
	}
	fraction := rest[1:]
	n := len(fraction) - len(strings.TrimLeft(fraction, "0123456789"))
	if n == 0 || n > 6 {
		return at, step, rest, false
	}
	value, _ := strconv.Atoi(fraction[:n])
	for range n {
		step /= 10
	}
	return at.Add(time.Duration(value) * step), step, fraction[n:], true
}

// parseDateTime reads a DT: YYYYMMDDHHMMSS.FFFFFF&ZZXX, of which parts may be missing from the right.
func parseDateTime(text string) (span, bool) {
	year, rest, ok := digits(text, 4, 1, 9999)
	if !ok {
		return span{}, false
	}
	month, day, months, days := 1, 1, 12, 0
	if isDigit(rest) {
		if month, rest, ok = digits(rest, 2, 1, 12); !ok {
			return span{}, false
		}
		months = 1
	}
	if months == 1 && isDigit(rest) {
		if day, rest, ok = digits(rest, 2, 1, 31); !ok {
			return span{}, false
		}
		months, days = 0, 1
	}
	at := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if at.Day() != day {
		return span{}, false
	}
	s := span{from: at, to: at.AddDate(0, months, days).Add(-1)}
	if days == 1 && isDigit(rest) {
		var step time.Duration
		if s.from, step, rest, ok = clock(at, rest); !ok {
			return span{}, false
		}
		s.to = s.from.Add(step - 1)
	}
	if rest == "" {
		return s, true
	}
	return s.shifted(rest)
}

func isDigit(text string) bool { return text != "" && text[0] >= '0' && text[0] <= '9' }

// shifted applies an offset from UTC, &ZZXX.
func (s span) shifted(offset string) (span, bool) {
	if len(offset) != 5 || offset[0] != '+' && offset[0] != '-' {
		return span{}, false
	}
	hours, rest, okH := digits(offset[1:], 2, 0, 14)
	minutes, _, okM := digits(rest, 2, 0, 59)
	if !okH || !okM {
		return span{}, false
	}
	seconds := hours*3600 + minutes*60
	if offset[0] == '-' {
		seconds = -seconds
	}
	there := time.FixedZone("", seconds)
	in := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), there)
	}
	return span{from: in(s.from), to: in(s.to), zone: true}, true
}

// combined joins a span of dates and one of times of day into one of moments (PS3.4 C.2.2.2.5.1, combined date-time
// matching). An end that the times leave open is that of its day.
func combined(dates, times span) span {
	s := dates
	if !dates.openFrom && !times.openFrom {
		s.from = dates.from.Add(times.from.Sub(dayZero))
	}
	if !dates.openTo && !times.openTo {
		day := dates.to.Truncate(24 * time.Hour)
		s.to = day.Add(times.to.Sub(dayZero))
	}
	return s
}
