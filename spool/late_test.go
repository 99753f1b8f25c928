package spool

import (
	"testing"
	"time"

	"dcmgate/internal/synth"
)

// year2099 is where a clock without a battery, or with a wrong digit, may stand.
var year2099 = time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)

// TestClockSetBack has a clock that was wrong set right, while the spool is open and between two runs: jobs that were to wait
// an hour, or to be asked for their commitment in one, by the wrong clock are due now; jobs that wait by the right one go on
// waiting, for as long as any may wait.
func TestClockSetBack(t *testing.T) {
	for name, restarted := range map[string]bool{"open": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			right := c.ms.Load()
			o := small()
			o.Now = c.now
			o.window = 2 // most of the jobs are in the index only
			s := openSpool(t, dir, o)
			tpl := synth.NewTemplate(3000, 1)
			var ids []InstanceID
			retry := func(at time.Time) {
				t.Helper()
				mustSend(t, s, tpl.Object(1, 1, len(ids)), to("cloud")...)
				jobs := mustClaim(t, s, "cloud", 1)
				if len(jobs) != 1 {
					t.Fatalf("%d jobs", len(jobs))
				}
				ids = append(ids, jobs[0].Instance.ID)
				if err := s.Complete(Retry(jobs[0].Key(), at, "timeout", "no answer")); err != nil {
					t.Fatal(err)
				}
			}
			c.ms.Store(year2099.UnixMilli())
			for range 7 {
				retry(c.now().Add(time.Hour))
			}
			mustSend(t, s, tpl.Object(1, 2, 1), to("archive")...)
			jobs := mustClaim(t, s, "archive", 1)
			if err := s.Complete(Await(jobs[0].Key(), 0, c.now().Add(time.Hour))); err != nil {
				t.Fatal(err)
			}
			c.ms.Store(right)
			retry(c.now().Add(time.Hour))
			flush(t, s)
			if restarted {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openSpool(t, dir, o)
			} else if err := s.hasten(); err != nil {
				t.Fatal(err)
			}
			var got []InstanceID
			waitFor(t, func() bool {
				for _, j := range mustClaim(t, s, "cloud", 100) {
					got = append(got, j.Instance.ID)
				}
				return len(got) == 7
			})
			for i, id := range got {
				if id != ids[i] {
					t.Errorf("claimed %v, want %v", got, ids[:7])
					break
				}
			}
			waitFor(t, func() bool {
				jobs, err := s.Awaiting("archive", c.now(), 10)
				if err != nil {
					t.Fatal(err)
				}
				return len(jobs) == 1
			})
			c.advance(2 * time.Hour)
			if jobs := mustClaim(t, s, "cloud", 100); len(jobs) != 1 || jobs[0].Instance.ID != ids[7] {
				t.Errorf("an hour later: %d jobs", len(jobs))
			}
			flush(t, s)
			verifyClean(t, s)
		})
	}
}

// TestOrderWhateverTheClock starts with a clock that is wrong and is set right later: IDs, the order of delivery and the change
// sequence do not go by it, and what is old by the right clock is evicted.
func TestOrderWhateverTheClock(t *testing.T) {
	for name, wrong := range map[string]time.Time{"1970": time.Unix(3600, 0), "2099": year2099} {
		t.Run(name, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			right := c.ms.Load()
			o := small()
			o.Now, o.Retention = c.now, time.Hour
			c.ms.Store(wrong.UnixMilli())
			s := openSpool(t, dir, o)
			tpl := synth.NewTemplate(3000, 1)
			var ids []InstanceID
			for i := range 6 {
				if i == 3 {
					flush(t, s)
					c.ms.Store(right)
				}
				names := to("cloud")
				if i == 5 {
					names = to("cloud", "held")
				}
				ids = append(ids, mustSend(t, s, tpl.Object(1, 1, i), names...).Instance.ID)
			}
			flush(t, s)
			changes, err := s.Changes(0, 100)
			if err != nil || len(changes) != 6 {
				t.Fatalf("%d changes, %v", len(changes), err)
			}
			jobs := mustClaim(t, s, "cloud", 100)
			for i, id := range ids {
				if i > 0 && id <= ids[i-1] || changes[i].ID != id || changes[i].Sequence != uint64(i+1) || jobs[i].Instance.ID != id {
					t.Fatalf("instance %d: ID %v after %v, change %+v, job of %v", i, id, ids[max(i, 1)-1], changes[i], jobs[i].Instance.ID)
				}
				if err := s.Complete(Delivered(jobs[i].Key(), 0)); err != nil {
					t.Fatal(err)
				}
			}
			flush(t, s)
			c.advance(2 * time.Hour)
			if _, err := s.evictPass(); err != nil {
				t.Fatal(err)
			}
			for i, id := range ids {
				in, err := s.Instance(id)
				if err != nil {
					t.Fatal(err)
				}
				// What came by a clock that was ahead goes for room only.
				if evicted := i < 5 && (i > 2 || wrong.Before(time.UnixMilli(right))); (in.State == InstanceEvicted) != evicted {
					t.Errorf("instance %d: state %v", i, in.State)
				}
			}
			verifyClean(t, s)
		})
	}
}

// TestPressureDoesNotGoByTheClock has the clock set back right after a write met a full disk: what is full for a second is not
// full for a year.
func TestPressureDoesNotGoByTheClock(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	s.pressure.noSpace()
	if l := s.Pressure(); l != LevelFull {
		t.Fatalf("pressure %v", l)
	}
	if refuse := s.pressure.refuse.Load() - s.pressure.moment(); refuse > int64(fullAfterNoSpace) {
		t.Errorf("full for %v", time.Duration(refuse))
	}
	s.pressure.start = s.pressure.start.Add(-2 * fullAfterNoSpace)
	if l := s.Pressure(); l != LevelNone {
		t.Errorf("pressure %v", l)
	}
}
