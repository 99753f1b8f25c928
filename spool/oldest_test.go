package spool

import (
	"testing"
	"time"

	"dcmgate/internal/synth"
)

// TestOldestJobs follows the oldest job of each state through windows that hold a few jobs only.
func TestOldestJobs(t *testing.T) {
	c := newClock()
	o := small()
	o.Now, o.window = c.now, 4
	dir := t.TempDir()
	s := openSpool(t, dir, o)
	template := synth.NewTemplate(2000, 1)
	start := c.now()
	const n = 40
	for i := range n {
		class := PriorityLow // the older, the lower: the oldest are at the end of the queue
		if i >= n/2 {
			class = PriorityHigh
		}
		mustSend(t, s, template.Object(1, 1, i+1), JobSpec{Destination: "cloud", Priority: class})
		c.advance(time.Minute)
	}
	flush(t, s)
	awaiting := time.Duration(-1)
	check := func(what string, pending, active, parked time.Duration) {
		t.Helper()
		got := s.OldestJobs()["cloud"]
		for _, row := range []struct {
			state string
			got   time.Time
			want  time.Duration // since start; negative: none
		}{{"pending", got.Pending, pending}, {"active", got.Active, active}, {"parked", got.Parked, parked}, {"awaiting", got.Awaiting, awaiting}} {
			if none := row.want < 0; none != row.got.IsZero() || !none && row.got.Sub(start).Round(time.Minute) != row.want {
				t.Errorf("%s: the oldest %s job is of %v, want %v after the start", what, row.state, row.got.Sub(start), row.want)
			}
		}
	}
	check("before", 0, -1, -1)
	jobs := mustClaim(t, s, "cloud", 3) // of high priority
	check("claimed", 0, 20*time.Minute, -1)
	for i, j := range jobs {
		outcome := Delivered(j.Key(), 0)
		if i > 0 {
			outcome = Park(j.Key(), "0122", "not supported")
		}
		if err := s.Complete(outcome); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, s)
	check("parked", 0, -1, 21*time.Minute)
	if _, _, err := s.Redrive(t.Context(), JobFilter{State: JobParked}, "mended"); err != nil {
		t.Fatal(err)
	}
	check("retried", 0, -1, -1)
	for { // everything fails and waits, the oldest for longest
		jobs := mustClaim(t, s, "cloud", 3)
		if len(jobs) == 0 {
			break
		}
		for _, j := range jobs {
			wait := time.Hour - j.Instance.Received.Sub(start)
			if err := s.Complete(Retry(j.Key(), c.now().Add(time.Hour+wait), "A700", "out of resources")); err != nil {
				t.Fatal(err)
			}
		}
	}
	flush(t, s)
	check("waiting", 0, -1, -1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, o)
	check("after a start", 0, -1, -1)
	c.advance(3 * time.Hour)
	for i, j := range mustClaim(t, s, "cloud", n) { // the older, the later they are asked for
		if err := s.Complete(Await(j.Key(), 0, c.now().Add(time.Duration(n-i)*time.Minute))); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, s)
	awaiting = 0
	check("delivered", -1, -1, -1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, o)
	check("after another start", -1, -1, -1)
	if _, err := s.Drop(t.Context(), JobFilter{Destination: "cloud", State: JobAwaiting}, "not needed"); err != nil {
		t.Fatal(err)
	}
	if left := s.OldestJobs(); len(left) != 0 {
		t.Errorf("%v after everything was dropped", left)
	}
}
