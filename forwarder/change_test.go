package forwarder

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dicom"
)

// change puts other destinations into force.
func (r *rig) change(destinations ...Destination) {
	r.t.Helper()
	for i := range destinations {
		destinations[i].CalledAETitle = "CLOUD"
		if destinations[i].Address == "" {
			destinations[i].Address = "cloud:104"
		}
	}
	apply, err := r.forwarder.Change(destinations, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	apply()
}

// Whatever is changed while a destination is sent to, it gets everything once,
// and never over more associations than it may have.
func TestChangesInterruptNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := newMemQueue(t), &peer{window: 8, delay: 30 * time.Millisecond, latency: 5 * time.Millisecond}
		q.add("cloud", ctPair, 2000, 100_000)
		r := start(t, q, p, Destination{Associations: 4})
		for i := range 50 {
			time.Sleep(130 * time.Millisecond)
			r.change(Destination{Name: "cloud", Associations: 1 + i%4, Window: 2 + i%7, Linger: time.Duration(i) * time.Second, BatchPerAssociation: 10 + 20*(i%3)})
		}
		r.untilDone(10 * time.Minute)
		for id := uint64(1); id <= 2000; id++ {
			if p.stored[uidOf(id)] != 1 || q.job(id).results != 1 {
				t.Fatalf("instance %d was stored %d times with %d results", id, p.stored[uidOf(id)], q.job(id).results)
			}
		}
		if p.most > 4 {
			t.Errorf("%d associations at once", p.most)
		}
		r.stop()
	})
}

// A rate takes effect on the associations that are open.
func TestAChangedCalendarIsFollowedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, err := ParseCalendar([]string{"100kB/s"})
		if err != nil {
			t.Fatal(err)
		}
		q, p := newMemQueue(t), &peer{window: 8}
		q.add("cloud", ctPair, 60, 500_000)
		r := start(t, q, p, Destination{Calendar: slow, Associations: 1})
		time.Sleep(20 * time.Second)
		delivered := q.count(isDelivered)
		if delivered > 6 {
			t.Errorf("%d instances of 500 kB in 20 s at 100 kB/s", delivered)
		}
		r.change(Destination{Name: "cloud", Associations: 1})
		r.untilDone(30 * time.Second)
		if p.dialed() != 1 {
			t.Errorf("%d associations; the first one could have gone on", p.dialed())
		}
		r.stop()
	})
}

func TestADestinationComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newMemQueue(t)
		a, b := &peer{delay: time.Second}, &peer{}
		r := start(t, q, dialers{"a": a, "b": b}, Destination{Name: "a"})
		q.add("a", ctPair, 100, 10)
		time.Sleep(10 * time.Second)
		r.change(Destination{Name: "b"}) // a is gone
		q.add("b", ctPair, 10, 10)
		r.until(10*time.Second, "delivered to the new one", func() bool { return b.holds() == 10 })
		r.until(10*time.Second, "released by the old one", func() bool { return a.opened() == 0 })
		synctest.Wait() // until what was about it has gone, too
		if n := q.count(isLeased); n > 0 {
			t.Errorf("%d leases of a destination that is gone", n)
		}
		if s := r.forwarder.Status(); len(s) != 1 || s[0].Name != "b" {
			t.Errorf("status %+v", s)
		}
		r.until(10*time.Second, "one breaker shown", func() bool { // a moment after its last association has ended
			n, err := testutil.GatherAndCount(r.registry, "dcmgate_destination_breaker")
			return err == nil && n == 1
		})
		if r.forwarder.Probe("a") {
			t.Error("a can still be probed")
		}
		left := q.count(isOpen)
		if left == 0 {
			t.Fatal("nothing was left for later")
		}
		time.Sleep(time.Minute)
		if q.count(isOpen) != left {
			t.Error("a destination that is gone is sent to")
		}
		r.change(Destination{Name: "b"}, Destination{Name: "a"})
		r.untilDone(10 * time.Minute)
		if most := slices.Max(valuesOf(a.stored)); most != 1 || a.holds() != 100 {
			t.Errorf("%d instances, up to %d times", a.holds(), most)
		}
		r.stop()
	})
}

// Nobody waits for a dead address that has been corrected.
func TestARequestUnderWayIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := &peer{serves: 1, open: 1} // lets everybody wait
		alive := &peer{}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 5, 10)
		both := dialers{"cloud": dead}
		r := start(t, q, both, Destination{DialTimeout: time.Hour})
		r.until(10*time.Second, "dialled", func() bool { return dead.dialed() > 0 })
		both["cloud"] = alive
		r.change(Destination{Name: "cloud", Address: "elsewhere:104"})
		r.until(5*time.Second, "delivered", func() bool { return alive.holds() == 5 })
		if s := r.forwarder.Status(); s[0].Trouble != nil {
			t.Errorf("%+v", s[0].Trouble)
		}
		r.stop()
	})
}

func TestChangeRejectsBadDestinations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := newMemQueue(t), &peer{}
		r := start(t, q, p, Destination{})
		for want, list := range map[string][]Destination{
			"there twice":   {{Name: "x", CalledAETitle: "X", Address: "x:1"}, {Name: "x", CalledAETitle: "X", Address: "x:1"}},
			"no AE title":   {{Name: "x", Address: "x:1"}},
			"needs custody": {{Name: "x", CalledAETitle: "X", Address: "x:1", Commitment: Commitment{Enabled: true}}},
		} {
			if _, err := r.forwarder.Change(list, 0); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		q.add("cloud", ctPair, 3, 10)
		r.untilDone(time.Minute)
		r.stop()
	})
}

func valuesOf(m map[dicom.UID]int) (list []int) {
	for _, n := range m {
		list = append(list, n)
	}
	return list
}
