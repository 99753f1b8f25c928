package spool

import (
	"testing"
	"time"
)

// A version of an instance is not claimed while an older one is claimed, waits to be sent again, or is not indexed yet; it
// is once that is delivered or put aside. Other destinations and instances go on.
func TestVersionsAreClaimedInTheirOrder(t *testing.T) {
	clock, o := newClock(), small()
	o.Now = clock.now
	s := openSpool(t, t.TempDir(), o)
	older, newer := ward[0], ward[0]
	newer.accession = "changed"
	first := mustSend(t, s, older.object(t), to("cloud", "pacs")...).Instance.ID
	flush(t, s)
	if got := mustClaim(t, s, "cloud", 1); len(got) != 1 || got[0].Instance.ID != first {
		t.Fatalf("%+v", got)
	}
	release := holdIndex(t, s)
	second := mustSend(t, s, newer.object(t), to("cloud", "pacs")...).Instance.ID
	newer.accession = "changed again"
	third := mustSend(t, s, newer.object(t), to("cloud")...).Instance.ID
	bystander := mustSend(t, s, ward[1].object(t), to("cloud")...).Instance.ID
	claims := func(want ...InstanceID) {
		t.Helper()
		flush(t, s)
		clock.advance(2 * versionWait)
		var got []InstanceID
		for _, j := range mustClaim(t, s, "cloud", 10) {
			if got = append(got, j.Instance.ID); j.Attempts != 0 && j.Instance.ID != first {
				t.Errorf("%v has %d attempts", j.Instance.ID, j.Attempts)
			}
		}
		if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Fatalf("claimed %v, want %v", got, want)
		}
	}
	complete := func(outcome Outcome) {
		t.Helper()
		if err := s.Complete(outcome); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustClaim(t, s, "cloud", 10); len(got) != 1 || got[0].Instance.ID != bystander {
		t.Fatalf("beside the first: %+v", got)
	}
	release()
	claims() // the first is claimed
	complete(Retry(JobKey{first, "cloud"}, clock.now().Add(time.Hour), "busy", ""))
	claims() // and waits now
	if jobs, _, err := s.Jobs(JobFilter{ID: second, Destination: "cloud"}, "", 1); err != nil || len(jobs) != 1 || jobs[0].Code != codeOlderVersion ||
		jobs[0].NotBefore.Before(clock.now().Add(30*time.Minute)) {
		t.Errorf("%+v, %v", jobs, err)
	}
	if got := mustClaim(t, s, "pacs", 1); len(got) != 1 || got[0].Instance.ID != first {
		t.Errorf("another destination: %+v", got)
	}
	clock.advance(time.Hour)
	claims(first)
	complete(Park(JobKey{first, "cloud"}, "refused", ""))
	claims(second)
	complete(Delivered(JobKey{second, "cloud"}, 0))
	claims(third)
	complete(Delivered(JobKey{third, "cloud"}, 0))
	claims()
}

// Versions of higher priority wait, too, for the one that came first.
func TestVersionsOfHigherPriorityWait(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	d := ward[0]
	mustSend(t, s, d.object(t), JobSpec{Destination: "cloud", Priority: PriorityLow})
	const n = maxVersions - 1
	for i := range n {
		d.accession = string(rune('a'+i%26)) + string(rune('a'+i/26))
		mustSend(t, s, d.object(t), JobSpec{Destination: "cloud", Priority: PriorityHigh})
	}
	flush(t, s)
	if got := mustClaim(t, s, "cloud", 5); len(got) != 1 || got[0].Priority != PriorityLow {
		t.Errorf("%+v", got)
	}
	flush(t, s)
	if c := s.Counts()["cloud"]; c.Pending != n || c.Active != 1 {
		t.Errorf("%+v", c)
	}
}
