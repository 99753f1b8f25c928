package forwarder

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the machine may have none
)

func TestCalendar(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		when, err := time.ParseInLocation("2006-01-02 15:04", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	office := []string{"08:00-18:00 mon-fri 20MB/s"}
	night := []string{"22:00-06:00 fri paused", "100Mbit/s"}
	tests := []struct {
		name   string
		lines  []string
		now    string
		rate   Rate
		change string
	}{
		{"no lines", nil, "2026-03-02 12:00", Unlimited, ""},
		{"always", []string{"5MB/s"}, "2026-03-02 12:00", 5_000_000, ""},
		{"monday before eight", office, "2026-03-02 07:59", Unlimited, "2026-03-02 08:00"},
		{"monday at eight", office, "2026-03-02 08:00", 20_000_000, "2026-03-02 18:00"},
		{"monday at six", office, "2026-03-02 18:00", Unlimited, "2026-03-03 08:00"},
		{"friday evening", office, "2026-03-06 18:30", Unlimited, "2026-03-09 08:00"},
		{"the end is outside", []string{"00:00-24:00 sun 1MB/s"}, "2026-03-02 00:00", Unlimited, "2026-03-08 00:00"},
		{"friday night", night, "2026-03-06 23:00", Paused, "2026-03-07 06:00"},
		{"its saturday part", night, "2026-03-07 05:59", Paused, "2026-03-07 06:00"},
		{"not saturday night", night, "2026-03-07 23:00", 12_500_000, "2026-03-13 22:00"},
		{"the first line counts", []string{"12:00-13:00 1MB/s", "08:00-18:00 2MB/s"}, "2026-03-02 12:30", 1_000_000, "2026-03-02 13:00"},
		{"then the second", []string{"12:00-13:00 1MB/s", "08:00-18:00 2MB/s"}, "2026-03-02 13:00", 2_000_000, "2026-03-02 18:00"},
		{"days around the weekend", []string{"sat-mon,wed 1MB/s"}, "2026-03-04 12:00", 1_000_000, "2026-03-05 00:00"},
		{"summer time begins: eight stays eight", office, "2026-03-29 12:00", Unlimited, "2026-03-30 08:00"},
		{"a period over the lost hour", []string{"01:00-04:00 sun paused"}, "2026-03-29 03:30", Paused, "2026-03-29 04:00"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, err := ParseCalendar(test.lines)
			if err != nil {
				t.Fatal(err)
			}
			rate, change := c.At(at(test.now))
			var want time.Time
			if test.change != "" {
				want = at(test.change)
			}
			if rate != test.rate || !change.Equal(want) {
				t.Errorf("at %s: %v until %v, want %v until %v", test.now, rate, change, test.rate, want)
			}
		})
	}
}

func TestCalendarRejects(t *testing.T) {
	for line, want := range map[string]string{
		"":                           "is empty",
		"08:00-18:00":                "needs a unit",
		"08:00-18:00 20":             "needs a unit",
		"8-18 20MB/s":                "days are written",
		"08:00 20MB/s":               "hours are written",
		"08:00-25:00 20MB/s":         "time of day",
		"24:00-06:00 20MB/s":         "a period begins",
		"08:00-18:00 mon-xyz 20MB/s": "days are written",
		"mon 08:00-18:00 20MB/s":     "do not know",
		"1kB/s":                      "below",
		"-5MB/s":                     "not a number",
		"NaNMB/s":                    "not a number",
		"1e30GB/s":                   "not a number",
	} {
		_, err := ParseCalendar([]string{line})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", line, err, want)
		}
	}
}

func TestRateReadsWhatItWrites(t *testing.T) {
	for _, r := range []Rate{Unlimited, Paused, 64_000, 20_000_000, 12_345_678, 1_500_000} {
		got, err := ParseRate(r.String())
		if err != nil || got != r {
			t.Errorf("%d is written %q and read %d, %v", r, r, got, err)
		}
	}
}

func FuzzParseCalendar(f *testing.F) {
	f.Add("08:00-18:00 mon-fri 20MB/s")
	f.Add("22:00-06:00 fri paused")
	now := time.Date(2026, 10, 25, 2, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line string) {
		c, err := ParseCalendar([]string{line})
		if err != nil {
			return
		}
		rate, change := c.At(now)
		if rate < 0 || !change.IsZero() && !change.After(now) {
			t.Errorf("%q gives %v until %v", line, rate, change)
		}
	})
}
