package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"dcmgate/gateway"
	"dcmgate/views"
)

// appliance is a gateway with some of everything.
func appliance(now time.Time, destinations int) gateway.Status {
	s := gateway.Status{
		Running: true, Version: "1.2.3", AETitle: "GATE", Started: now.Add(-3 * time.Hour),
		Associations: gateway.AssociationStatus{In: 3, Out: 2},
		Spool:        gateway.SpoolStatus{Healthy: true, Pressure: "slow", Instances: 1234567, Bytes: 80e9, EvictableBytes: 60e9, FreeBytes: 20e9},
		Received:     gateway.ReceivedStatus{Instances: 4321, Refused: 2},
		Activity:     gateway.ActivityStatus{Delivered: 4000, Rejected: 7, Queries: 5, Requests: 9, RequestsFailed: 1},
		Upstreams:    []gateway.UpstreamStatus{{Name: "pacs", State: "not working, asked again after the next probe", Breaker: "open", LastError: "did not answer in time", LastErrorAt: now.Add(-time.Minute), Bound: 2}},
		Views:        []views.Status{{Name: "local", State: views.StateRunning, Behind: 3}},
		Commitments:  []gateway.CommitmentStatus{{Peer: "CT1", Waiting: 2, Oldest: now.Add(-5 * time.Hour)}},
		Incidents:    []gateway.Incident{{Kind: gateway.IncidentRejected, Subject: "CT9 10.0.0.9", What: "not in peers\x1b[2J\r\n", Count: 7, At: now.Add(-3 * time.Minute)}},
	}
	for i := range destinations {
		s.Destinations = append(s.Destinations, gateway.DestinationStatus{
			Name: fmt.Sprintf("cloud%d", i), State: "sending", Pending: int64(12 * i), Active: 8, Oldest: now.Add(-90 * time.Second), Delivered: 4000, BytesPerSecond: 12e6,
		})
	}
	return s
}

func watched(destinations int) *trends {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.Local)
	var t trends
	s := appliance(now, destinations)
	for i := range 2 * trendLength {
		t.add(sample{now.Add(time.Duration(i-2*trendLength+1) * 2 * time.Second), s})
		s.Destinations = append([]gateway.DestinationStatus{}, s.Destinations...)
		s.Received.Instances += int64(i)
		s.Activity.ReceivedBytes += int64(i) * 500_000
		if destinations > 0 {
			s.Destinations[0].Delivered += int64(i % 5)
		}
	}
	return &t
}

func TestScreenFitsEveryTerminal(t *testing.T) {
	for _, size := range []struct{ columns, lines, destinations int }{{80, 24, 2}, {80, 24, 40}, {200, 60, 3}, {20, 5, 2}, {80, 0, 40}, {1, 1, 1}, {80, 24, 0}} {
		got := screen(watched(size.destinations), size.columns, size.lines)
		if len(got) == 0 || size.lines > 0 && len(got) > size.lines {
			t.Errorf("%+v: %d lines", size, len(got))
		}
		for _, line := range got {
			if n := utf8.RuneCountInString(line.text); n > size.columns && size.columns > 1 || strings.ContainsAny(line.text, "\x1b\r\n") {
				t.Errorf("%+v: %d columns: %q", size, n, line.text)
			}
		}
	}
}

// TestScreen compares the usual terminal with testdata/screen.txt.
func TestScreen(t *testing.T) {
	var b strings.Builder
	for _, line := range screen(watched(12), 80, 24) {
		b.WriteString(strings.TrimRight(line.text, " ") + "\n")
	}
	const golden = "testdata/screen.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestTrends(t *testing.T) {
	start := time.Now()
	at := func(seconds int, started time.Time, n int64) sample {
		return sample{start.Add(time.Duration(seconds) * time.Second), gateway.Status{Running: true, Started: started, Received: gateway.ReceivedStatus{Instances: n}}}
	}
	var tr trends
	tr.add(at(0, start, 10))
	if tr.now("received") != 0 {
		t.Error("a rate of one sample")
	}
	tr.add(at(2, start, 30))
	if got := tr.now("received"); got != 10 {
		t.Errorf("%v/s", got)
	}
	tr.add(at(4, start, 30))
	if got := tr.spark("received", 80); got != "█▁" {
		t.Errorf("%q", got)
	}
	tr.add(at(6, start.Add(5*time.Second), 1))
	if got := tr.spark("received", 80); got != "" {
		t.Errorf("%q after another start", got)
	}
}
