package spool

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dcmgate/internal/synth"
)

// jobModel is the specification of jobs in its simplest form.
type jobModel struct {
	now  time.Time
	jobs map[JobKey]*modelJob
}

type modelJob struct {
	state    JobState
	class    uint8
	due      time.Time
	attempts int
}

// claimable lists what may be claimed of a destination, in order.
func (m *jobModel) claimable(destination string) []JobKey {
	var keys []JobKey
	for k, j := range m.jobs {
		if k.Destination == destination && j.state == JobPending && !j.due.After(m.now) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b JobKey) int {
		return cmp.Or(cmp.Compare(m.jobs[a].class, m.jobs[b].class), cmp.Compare(a.ID, b.ID))
	})
	return keys
}

func (m *jobModel) counts(destination string) (c JobCounts) {
	for k, j := range m.jobs {
		if k.Destination != destination {
			continue
		}
		switch j.state {
		case JobPending:
			c.Pending++
		case JobActive:
			c.Active++
		case JobParked:
			c.Parked++
		case JobDelivered:
			c.Delivered++
		case JobDropped:
			c.Dropped++
		}
	}
	return c
}

func (m *jobModel) in(destination string, states ...JobState) []JobKey {
	var keys []JobKey
	for k, j := range m.jobs {
		if k.Destination == destination && slices.Contains(states, j.state) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b JobKey) int { return cmp.Compare(a.ID, b.ID) })
	return keys
}

// modelRun drives a spool and the model through the same random steps.
type modelRun struct {
	t     *testing.T
	dir   string
	o     Options
	clock *clock
	rng   *rand.Rand
	s     *Spool
	m     jobModel
	tpl   *synth.Template
	n     int
}

var modelDestinations = []string{"a", "ab", "云"}

func TestJobsAgainstModel(t *testing.T) {
	seeds := 4
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			c := newClock()
			o := small()
			o.Now = c.now
			o.window = 1 + 3*seed
			r := &modelRun{t: t, dir: t.TempDir(), o: o, clock: c, rng: rand.New(rand.NewPCG(uint64(seed), 7)), tpl: synth.NewTemplate(1000, uint64(seed))}
			r.m = jobModel{now: c.now(), jobs: map[JobKey]*modelJob{}}
			r.s = openSpool(t, r.dir, o)
			for range 400 {
				r.step()
			}
			r.restart()
			r.compare()
			verifyClean(t, r.s)
		})
	}
}

func (r *modelRun) step() {
	destination := modelDestinations[r.rng.IntN(len(modelDestinations))]
	switch n := r.rng.IntN(100); {
	case n < 30:
		r.store()
	case n < 55:
		r.claim(destination)
	case n < 85:
		r.complete(destination)
	case n < 90:
		r.clock.advance(time.Duration(r.rng.IntN(2000)) * time.Millisecond)
		r.m.now = r.clock.now()
	case n < 94:
		r.administer(destination)
	case n < 96:
		r.restart()
	default:
		r.compare()
	}
}

func (r *modelRun) store() {
	var specs []JobSpec
	for _, d := range modelDestinations {
		if r.rng.IntN(2) == 0 {
			specs = append(specs, JobSpec{d, Priority(r.rng.IntN(3))})
		}
	}
	r.n++
	receipt := mustSend(r.t, r.s, r.tpl.Object(r.n/10, 1, r.n), specs...)
	for _, spec := range specs {
		r.m.jobs[JobKey{receipt.Instance.ID, spec.Destination}] = &modelJob{state: JobPending, class: spec.Priority.class()}
	}
}

func (r *modelRun) claim(destination string) {
	limit := r.rng.IntN(5)
	want := r.m.claimable(destination)
	want = want[:min(limit, len(want))]
	// Outcomes are asynchronous; what they make claimable shows at the latest once they are durable.
	flush(r.t, r.s)
	jobs := mustClaim(r.t, r.s, destination, limit)
	var got []JobKey
	for i := range jobs {
		got = append(got, jobs[i].Key())
		if m := r.m.jobs[jobs[i].Key()]; m != nil && m.attempts != jobs[i].Attempts {
			r.t.Fatalf("%v: %d attempts, want %d", got[i], jobs[i].Attempts, m.attempts)
		}
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("claimed %v\nwant    %v", got, want)
	}
	for _, k := range got {
		r.m.jobs[k].state = JobActive
	}
}

func (r *modelRun) complete(destination string) {
	active := r.m.in(destination, JobActive)
	if len(active) == 0 {
		return
	}
	k := active[r.rng.IntN(len(active))]
	j := r.m.jobs[k]
	released := j.due // handing back changes nothing
	j.due = time.Time{}
	var o Outcome
	switch r.rng.IntN(5) {
	case 0:
		o = Park(k, "code", "reason")
		j.state, j.attempts = JobParked, j.attempts+1
	case 1, 2:
		j.due = r.m.now.Add(time.Duration(r.rng.IntN(3000)) * time.Millisecond)
		o = Retry(k, j.due, "code", "reason")
		j.state, j.attempts = JobPending, j.attempts+1
	case 3:
		o = Release(k)
		j.state, j.due = JobPending, released
	default:
		o = Delivered(k, 0)
		j.state = JobDelivered
	}
	if err := r.s.Complete(o); err != nil {
		r.t.Fatal(err)
	}
}

func (r *modelRun) administer(destination string) {
	f := JobFilter{Destination: destination, State: []JobState{JobPending, JobParked, JobDropped, JobDelivered}[r.rng.IntN(4)]}
	flush(r.t, r.s)
	keys := r.m.in(destination, f.State)
	want, n, err := 0, 0, error(nil)
	if r.rng.IntN(2) == 0 {
		n, _, err = r.s.Redrive(context.Background(), f, "again")
		for _, k := range keys {
			j := r.m.jobs[k]
			if f.State == JobPending && j.due.IsZero() {
				continue
			}
			j.state, j.due = JobPending, time.Time{}
			want++
		}
	} else {
		n, err = r.s.Drop(context.Background(), f, "enough")
		for _, k := range keys {
			if j := r.m.jobs[k]; j.state == JobPending || j.state == JobParked {
				j.state, j.due = JobDropped, time.Time{}
				want++
			}
		}
	}
	if err != nil || n != want {
		r.t.Fatalf("%v: changed %d, %v; want %d", f, n, err, want)
	}
}

func (r *modelRun) restart() {
	if err := r.s.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.s = openSpool(r.t, r.dir, r.o)
	for _, j := range r.m.jobs {
		if j.state == JobActive {
			j.state = JobPending
		}
	}
}

func (r *modelRun) compare() {
	flush(r.t, r.s)
	counts := r.s.Counts()
	for _, d := range modelDestinations {
		if want := r.m.counts(d); counts[d] != want {
			r.t.Fatalf("%s: %+v, want %+v", d, counts[d], want)
		}
		for _, state := range []JobState{JobPending, JobActive, JobParked, JobDelivered, JobDropped} {
			got := map[JobKey]bool{}
			for cursor, more := "", true; more; more = cursor != "" {
				jobs, next, err := r.s.Jobs(JobFilter{Destination: d, State: state}, cursor, 7)
				if err != nil {
					r.t.Fatal(err)
				}
				for i := range jobs {
					got[jobs[i].Key()] = true
				}
				cursor = next
			}
			want := map[JobKey]bool{}
			for _, k := range r.m.in(d, state) {
				want[k] = true
			}
			if !maps.Equal(got, want) {
				r.t.Fatalf("%s %v: listed %d, want %d", d, state, len(got), len(want))
			}
		}
	}
}
