package forwarder

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Rate is a limit in bytes per second of data sets. Unlimited means no
// limit, Paused that nothing is sent at all.
type Rate int64

// The two rates that are not numbers of bytes.
const (
	Unlimited Rate = math.MaxInt64
	Paused    Rate = 0
)

// minimumRate keeps a limited association alive: a full P-DATA-TF PDU of
// 1 MiB has to pass well inside the peer's timeout.
const minimumRate Rate = 64_000

// String formats the rate the way ParseRate reads it.
func (r Rate) String() string {
	switch {
	case r == Unlimited:
		return "unlimited"
	case r <= Paused:
		return "paused"
	case r%1_000_000 == 0:
		return strconv.FormatInt(int64(r/1_000_000), 10) + "MB/s"
	case r%1_000 == 0:
		return strconv.FormatInt(int64(r/1_000), 10) + "kB/s"
	}
	return strconv.FormatInt(int64(r), 10) + "B/s"
}

// rateUnits holds every unit of rate in lower case, longest suffix first.
// Network people count bits, storage people bytes, both in powers of ten.
var rateUnits = []struct {
	suffix string
	bytes  float64
}{
	{"gbit/s", 1e9 / 8}, {"mbit/s", 1e6 / 8}, {"kbit/s", 1e3 / 8},
	{"gib/s", 1 << 30}, {"mib/s", 1 << 20}, {"kib/s", 1 << 10},
	{"gb/s", 1e9}, {"mb/s", 1e6}, {"kb/s", 1e3}, {"b/s", 1},
}

// ParseRate reads "20MB/s", "100Mbit/s", "unlimited" or "paused" (also "0").
func ParseRate(s string) (Rate, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	switch text {
	case "unlimited":
		return Unlimited, nil
	case "paused", "0":
		return Paused, nil
	}
	for _, u := range rateUnits {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || n < 0 || n*u.bytes >= 1e15 || math.IsNaN(n) {
			return 0, fmt.Errorf("rate %q: %q is not a number this unit can carry", s, number)
		}
		return checkRate(s, Rate(n*u.bytes))
	}
	return 0, fmt.Errorf("rate %q: needs a unit such as MB/s or Mbit/s, or the words unlimited or paused", s)
}

func checkRate(s string, r Rate) (Rate, error) {
	if r > Paused && r < minimumRate {
		return 0, fmt.Errorf("rate %q: below %v the destination would time out in the middle of an instance; use paused to send nothing", s, minimumRate)
	}
	return r, nil
}

// A Calendar gives the rate limit for any moment. The first period that
// covers the moment counts; outside all periods there is no limit. The zero
// Calendar never limits.
type Calendar struct {
	periods []period
}

// period is a stretch of wall clock time that begins on certain weekdays.
type period struct {
	days       [7]bool       // by time.Weekday, of the day on which it begins
	start, end time.Duration // since midnight; end may pass 24 h
	rate       Rate
}

// ParseCalendar reads periods such as
//
//	08:00-18:00 mon-fri 20MB/s
//	22:00-06:00 paused
//	sat,sun 50MB/s
//	100MB/s
//
// Times and days may each be left out, meaning the whole day and every day.
// A period whose end is not after its start ends on the following day.
func ParseCalendar(lines []string) (Calendar, error) {
	var c Calendar
	for _, line := range lines {
		p, err := parsePeriod(line)
		if err != nil {
			return Calendar{}, fmt.Errorf("rate limit %q: %w", line, err)
		}
		c.periods = append(c.periods, p)
	}
	return c, nil
}

func parsePeriod(line string) (period, error) {
	fields := strings.Fields(strings.ToLower(line))
	if len(fields) == 0 {
		return period{}, errors.New("is empty")
	}
	p := period{days: [7]bool{true, true, true, true, true, true, true}, end: 24 * time.Hour}
	var err error
	if p.rate, err = ParseRate(fields[len(fields)-1]); err != nil {
		return period{}, err
	}
	fields = fields[:len(fields)-1]
	if len(fields) > 0 && strings.Contains(fields[0], ":") {
		if p.start, p.end, err = parseHours(fields[0]); err != nil {
			return period{}, err
		}
		fields = fields[1:]
	}
	if len(fields) > 0 {
		if p.days, err = parseDays(fields[0]); err != nil {
			return period{}, err
		}
		fields = fields[1:]
	}
	if len(fields) > 0 {
		return period{}, fmt.Errorf("do not know what to do with %q; write hours, days, rate, for example 08:00-18:00 mon-fri 20MB/s", fields[0])
	}
	return p, nil
}

func parseHours(s string) (start, end time.Duration, err error) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, fmt.Errorf("%q: hours are written 08:00-18:00", s)
	}
	if start, err = parseClock(from); err != nil {
		return 0, 0, err
	}
	if end, err = parseClock(to); err != nil {
		return 0, 0, err
	}
	if start == 24*time.Hour {
		return 0, 0, fmt.Errorf("%q: a period begins between 00:00 and 23:59", s)
	}
	if end <= start {
		end += 24 * time.Hour
	}
	return start, end, nil
}

func parseClock(s string) (time.Duration, error) {
	if s == "24:00" {
		return 24 * time.Hour, nil
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, fmt.Errorf("%q: a time of day is written 08:00, up to 24:00", s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

var dayNames = map[string]time.Weekday{
	"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday,
	"thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
}

// parseDays reads "mon-fri", "sat,sun" or "fri-mon,wed".
func parseDays(s string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, ok := dayNames[from]
		last := first
		if ok && isRange {
			last, ok = dayNames[to]
		}
		if !ok {
			return days, fmt.Errorf("%q: days are written mon, tue, wed, thu, fri, sat, sun, mon-fri", part)
		}
		for d := first; ; d = (d + 1) % 7 {
			days[d] = true
			if d == last {
				break
			}
		}
	}
	return days, nil
}

// At returns the rate at t, by the wall clock of t's location, and the next
// moment at which it may change; zero if it never does.
func (c Calendar) At(t time.Time) (Rate, time.Time) {
	rate, change := Unlimited, time.Time{}
	for i := len(c.periods) - 1; i >= 0; i-- {
		inside, next := c.periods[i].at(t)
		if inside {
			rate = c.periods[i].rate
		}
		if !next.IsZero() && (change.IsZero() || next.Before(change)) {
			change = next
		}
	}
	return rate, change
}

// at reports whether t lies in the period and its next beginning or end
// after t. Days are walked with time.Date, which keeps 08:00 at 08:00 on the
// days on which summer time begins and ends.
func (p period) at(t time.Time) (inside bool, next time.Time) {
	if p == (period{days: [7]bool{true, true, true, true, true, true, true}, end: 24 * time.Hour, rate: p.rate}) {
		return true, time.Time{} // always
	}
	for day := -1; day <= 7; day++ {
		midnight := time.Date(t.Year(), t.Month(), t.Day()+day, 0, 0, 0, 0, t.Location())
		if !p.days[midnight.Weekday()] {
			continue
		}
		start, end := wallClock(midnight, p.start), wallClock(midnight, p.end)
		inside = inside || !t.Before(start) && t.Before(end)
		for _, edge := range [...]time.Time{start, end} {
			if edge.After(t) && (next.IsZero() || edge.Before(next)) {
				next = edge
			}
		}
	}
	return inside, next
}

func wallClock(midnight time.Time, since time.Duration) time.Time {
	minutes := int(since / time.Minute)
	return time.Date(midnight.Year(), midnight.Month(), midnight.Day(), 0, minutes, 0, 0, midnight.Location())
}
