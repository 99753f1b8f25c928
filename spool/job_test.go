package spool

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
)

func ids(jobs []Job) []InstanceID {
	var out []InstanceID
	for i := range jobs {
		out = append(out, jobs[i].Instance.ID)
	}
	return out
}

func TestClaimOrder(t *testing.T) {
	for _, indexed := range []bool{false, true} {
		t.Run(fmt.Sprint("indexed=", indexed), func(t *testing.T) {
			dir := t.TempDir()
			s := openSpool(t, dir, small())
			tpl := synth.NewTemplate(2000, 1)
			var want []InstanceID
			byPriority := map[Priority][]InstanceID{}
			for i := range 30 {
				p := Priority(i % 3)
				r := mustSend(t, s, tpl.Object(1, 1, i), JobSpec{"cloud", p})
				byPriority[p] = append(byPriority[p], r.Instance.ID)
			}
			for _, p := range []Priority{PriorityHigh, PriorityMedium, PriorityLow} {
				want = append(want, byPriority[p]...)
			}
			if indexed { // and read back from the index alone
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openSpool(t, dir, small())
			}
			var got []InstanceID
			for range 4 {
				got = append(got, ids(mustClaim(t, s, "cloud", 8))...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
			if c := s.Counts()["cloud"]; c != (JobCounts{Active: 30}) {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestOutcomes(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	o := small()
	o.Now = c.now
	s := openSpool(t, dir, o)
	tpl := synth.NewTemplate(2000, 1)
	for i := range 5 {
		mustSend(t, s, tpl.Object(1, 1, i), to("cloud")...)
	}
	jobs := mustClaim(t, s, "cloud", 10)
	later := c.now().Add(time.Minute)
	err := s.Complete(Delivered(jobs[0].Key(), 0xB000), Retry(jobs[1].Key(), later, "network", "connection refused"),
		Park(jobs[2].Key(), "A900", "data set does not match"), Release(jobs[3].Key()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Complete(Delivered(jobs[0].Key(), 0)); err == nil {
		t.Error("completed twice")
	}
	flush(t, s)
	want := JobCounts{Pending: 2, Active: 1, Parked: 1, Delivered: 1}
	if got := s.Counts()["cloud"]; got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if got := mustClaim(t, s, "cloud", 10); len(got) != 1 || got[0].Instance.ID != jobs[3].Instance.ID || got[0].Attempts != 0 {
		t.Errorf("claimed %v", ids(got))
	}
	c.advance(time.Minute)
	got := mustClaim(t, s, "cloud", 10)
	if len(got) != 1 || got[0].Instance.ID != jobs[1].Instance.ID || got[0].Attempts != 1 || got[0].Code != "network" || got[0].LastError != "connection refused" {
		t.Fatalf("claimed %+v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, o)
	want = JobCounts{Pending: 3, Parked: 1, Delivered: 1}
	if got := s.Counts()["cloud"]; got != want {
		t.Errorf("counts after restart %+v, want %+v", got, want)
	}
	all, next, err := s.Jobs(JobFilter{}, "", 10)
	if err != nil || next != "" || len(all) != 5 {
		t.Fatal(len(all), next, err)
	}
	if all[0].State != JobDelivered || all[0].Status != 0xB000 || all[2].State != JobParked || all[2].LastError != "data set does not match" {
		t.Errorf("%+v", all)
	}
	if n := len(mustClaim(t, s, "cloud", 10)); n != 3 {
		t.Errorf("%d claimed after restart", n)
	}
	verifyClean(t, s)
}

func TestReadyIsSignalled(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	ready := s.Ready("cloud")
	wait := func(what string) {
		t.Helper()
		select {
		case <-ready:
		case <-time.After(2 * time.Minute):
			t.Fatal("no signal: " + what)
		}
	}
	o := synth.NewTemplate(2000, 1)
	mustSend(t, s, o.Object(1, 1, 1), to("cloud")...)
	mustSend(t, s, o.Object(1, 1, 2), to("cloud")...)
	wait("stored")
	one := mustClaim(t, s, "cloud", 1)
	wait("claim left one behind")
	two := mustClaim(t, s, "cloud", 1)
	if err := s.Complete(Release(two[0].Key())); err != nil {
		t.Fatal(err)
	}
	wait("released")
	mustClaim(t, s, "cloud", 1)
	if err := s.Complete(Retry(one[0].Key(), time.Now().Add(50*time.Millisecond), "", "")); err != nil {
		t.Fatal(err)
	}
	for len(mustClaim(t, s, "cloud", 1)) == 0 {
		wait("due")
	}
}

func TestRedriveAndDrop(t *testing.T) {
	ctx := context.Background()
	s := openSpool(t, t.TempDir(), small())
	tpl := synth.NewTemplate(2000, 1)
	var first synth.Object
	for i := range 20 {
		o := tpl.Object(i%2, 1, i)
		if i == 0 {
			first = o
		}
		mustSend(t, s, o, to("cloud", "pacs")...)
	}
	for _, j := range mustClaim(t, s, "cloud", 20) {
		if err := s.Complete(Park(j.Key(), "0122", "SOP class not supported")); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, s)
	study := dicom.UID(first.StudyInstanceUID)
	check := func(what string, n, want int, err error) {
		t.Helper()
		if err != nil || n != want {
			t.Fatalf("%s: %d, %v; want %d", what, n, err, want)
		}
	}
	parked, next, err := s.Jobs(JobFilter{State: JobParked, Code: "0122"}, "", 15)
	check("parked", len(parked), 15, err)
	parked, next, err = s.Jobs(JobFilter{State: JobParked}, next, 15)
	check("parked, second page", len(parked), 5, err)
	if next != "" {
		t.Error("a third page")
	}
	n, _, err := s.Redrive(ctx, JobFilter{StudyInstanceUID: study}, "destination was updated")
	check("redrive a study", n, 10, err)
	n, err = s.Drop(ctx, JobFilter{Destination: "cloud", StudyInstanceUID: study}, "not wanted")
	check("drop a study", n, 10, err)
	claimed := mustClaim(t, s, "pacs", 5)
	n, err = s.Drop(ctx, JobFilter{Destination: "pacs"}, "")
	check("drop what is not claimed", n, 15, err)
	if err := s.Complete(Delivered(claimed[0].Key(), 0)); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts()["cloud"]; c != (JobCounts{Parked: 10, Dropped: 10}) {
		t.Errorf("%+v", c)
	}
	dropped, _, err := s.Jobs(JobFilter{State: JobDropped, Destination: "cloud"}, "", 100)
	check("dropped", len(dropped), 10, err)
	if dropped[0].LastError != "not wanted" || dropped[0].Attempts != 1 {
		t.Errorf("%+v", dropped[0])
	}
	n, _, err = s.Redrive(ctx, JobFilter{State: JobDropped, Destination: "cloud"}, "wanted after all")
	check("redrive dropped", n, 10, err)
	if got := mustClaim(t, s, "cloud", 100); len(got) != 10 || got[0].LastError != "wanted after all" {
		t.Errorf("%d claimed", len(got))
	}
	if _, _, err := s.Jobs(JobFilter{}, "!", 1); err == nil {
		t.Error("bad cursor accepted")
	}
	verifyClean(t, s)
}

// TestClaimBeyondTheWindow holds more jobs than a window does: none may get lost or be claimed twice, in order, with
// higher priorities arriving in between.
func TestClaimBeyondTheWindow(t *testing.T) {
	options := small()
	options.window = 50
	s := openSpool(t, t.TempDir(), options)
	tpl := synth.NewTemplate(1000, 1)
	const n = 620
	o := tpl.Object(1, 1, 0)
	for i := range n {
		tpl.Fill(&o, 1, 1, i)
		mustSend(t, s, o, to("cloud")...)
	}
	seen := map[InstanceID]bool{}
	var last InstanceID
	for len(seen) < n {
		if len(seen) == 300 { // one that overtakes
			r := mustSend(t, s, tpl.Object(2, 1, n), JobSpec{"cloud", PriorityHigh})
			got := mustClaim(t, s, "cloud", 1)
			if len(got) != 1 || got[0].Instance.ID != r.Instance.ID {
				t.Fatalf("claimed %v before %v", ids(got), r.Instance.ID)
			}
		}
		jobs := mustClaim(t, s, "cloud", 100)
		if len(jobs) == 0 {
			t.Fatalf("%d of %d", len(seen), n)
		}
		for i := range jobs {
			id := jobs[i].Instance.ID
			if seen[id] || id <= last {
				t.Fatalf("%v after %v, seen %v", id, last, seen[id])
			}
			seen[id], last = true, id
			if i%2 == 0 {
				if err := s.Complete(Delivered(jobs[i].Key(), 0)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if jobs := mustClaim(t, s, "cloud", 10); len(jobs) != 0 {
		t.Errorf("%d more", len(jobs))
	}
}
