package spool

import (
	"testing"
	"time"

	"dcmgate/dicom"
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

// An older version is not sent again by hand once its destination has a later one, or is being sent it, unless that is asked
// for; where the later one is yet to be sent, both go in their order.
func TestRedrivingAnOlderVersion(t *testing.T) {
	deliver := func(o func(JobKey) Outcome) func(*testing.T, *Spool, InstanceID) {
		return func(t *testing.T, s *Spool, id InstanceID) {
			if got := mustClaim(t, s, "cloud", 10); len(got) != 1 || got[0].Instance.ID != id {
				t.Fatalf("claimed %+v", got)
			}
			if err := s.Complete(o(JobKey{id, "cloud"})); err != nil {
				t.Fatal(err)
			}
		}
	}
	delivered := deliver(func(k JobKey) Outcome { return Delivered(k, 0) })
	for name, row := range map[string]struct {
		newer  func(*testing.T, *Spool, InstanceID)
		filter JobFilter
		want   [2]int // redriven, superseded
		then   int    // jobs that can be claimed: the older one first
	}{
		"delivered":               {delivered, JobFilter{Destination: "cloud"}, [2]int{0, 1}, 0},
		"delivered, all the same": {delivered, JobFilter{Destination: "cloud", Superseded: true}, [2]int{1, 0}, 1},
		"by its study":            {delivered, JobFilter{StudyInstanceUID: dicom.UID(ward[0].study), State: JobParked}, [2]int{1, 1}, 0},
		"elsewhere":               {delivered, JobFilter{Destination: "pacs"}, [2]int{1, 0}, 0},
		"awaiting":                {deliver(func(k JobKey) Outcome { return Await(k, 0, time.Now().Add(time.Hour)) }), JobFilter{Destination: "cloud"}, [2]int{0, 1}, 0},
		"parked":                  {deliver(func(k JobKey) Outcome { return Park(k, "refused", "") }), JobFilter{Destination: "cloud"}, [2]int{2, 0}, 1},
		"pending":                 {func(*testing.T, *Spool, InstanceID) {}, JobFilter{Destination: "cloud"}, [2]int{1, 0}, 1},
		"in delivery": {func(t *testing.T, s *Spool, id InstanceID) {
			if got := mustClaim(t, s, "cloud", 10); len(got) != 1 || got[0].Instance.ID != id {
				t.Fatalf("claimed %+v", got)
			}
		}, JobFilter{Destination: "cloud"}, [2]int{0, 1}, 0},
		"the later one once more": {delivered, JobFilter{Destination: "cloud", State: JobDelivered}, [2]int{1, 0}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := openSpool(t, t.TempDir(), small())
			older, newer := ward[0], ward[0]
			newer.accession = "changed"
			first := mustSend(t, s, older.object(t), to("cloud", "pacs")...).Instance.ID
			flush(t, s)
			for _, destination := range []string{"cloud", "pacs"} {
				mustClaim(t, s, destination, 1)
				if err := s.Complete(Park(JobKey{first, destination}, "refused", "")); err != nil {
					t.Fatal(err)
				}
			}
			second := mustSend(t, s, newer.object(t), to("cloud")...).Instance.ID
			flush(t, s)
			row.newer(t, s, second)
			flush(t, s)
			before := s.Counts()["cloud"]
			changed, superseded, err := s.Redrive(t.Context(), row.filter, "by hand")
			if got := [2]int{changed, superseded}; err != nil || got != row.want {
				t.Errorf("redriven and superseded %v, want %v; %v", got, row.want, err)
			}
			if after := s.Counts()["cloud"]; changed == 0 && after != before {
				t.Errorf("counts %+v, before %+v", after, before)
			}
			got := mustClaim(t, s, "cloud", 10)
			if len(got) != row.then {
				t.Fatalf("claimed %+v, want %d", got, row.then)
			}
			if want := first; row.then > 0 && row.filter.State == 0 && got[0].Instance.ID != want {
				t.Errorf("claimed %v first, want %v", got[0].Instance.ID, want)
			}
		})
	}
}
