package main

import (
	"testing"
	"time"
)

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 1234: "1.23 kB", 99_950: "100 kB", 999_600: "1.00 MB", 12_345_678: "12.3 MB",
		4_294_967_296: "4.29 GB", 5e15: "5000 TB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 peer": count(1, "peer"), "0 peers": count(0, "peer"), "2 queries": count(int64(2), "query"),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestAgeText(t *testing.T) {
	now := time.Unix(1e9, 0)
	for want, ago := range map[string]time.Duration{
		"0s": -time.Second, "59s": 59 * time.Second, "1m": 119 * time.Second, "47h": 47*time.Hour + time.Minute, "2d": 50 * time.Hour,
	} {
		if got := ageText(now, now.Add(-ago)); got != want {
			t.Errorf("%v: got %s, want %s", ago, got, want)
		}
	}
	if got := ageText(now, time.Time{}); got != "-" {
		t.Errorf("never: got %s", got)
	}
}
