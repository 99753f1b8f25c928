package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
)

// awaitAll ends all claimable jobs of a destination as delivered, with commitment to be asked for from at on.
func awaitAll(t *testing.T, s *Spool, destination string, at time.Time) []Job {
	t.Helper()
	jobs := mustClaim(t, s, destination, 1000)
	for i := range jobs {
		if err := s.Complete(Await(jobs[i].Key(), 0, at)); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, s)
	return jobs
}

func evictAfter(committed bool) EvictAfter {
	if committed {
		return EvictCommitted
	}
	return EvictDelivered
}

func begin(t *testing.T, s *Spool, uid dicom.UID, destination string, until time.Time, of ...InstanceID) {
	t.Helper()
	if err := s.BeginCommitment(Transaction{UID: uid, Destination: destination, Asked: s.o.Now(), Until: until, Instances: of}); err != nil {
		t.Fatal(err)
	}
}

func conclude(t *testing.T, s *Spool, uid dicom.UID, result CommitmentResult, of ...InstanceID) {
	t.Helper()
	var results []Commitment
	for _, id := range of {
		results = append(results, Commitment{ID: id, Result: result, Code: "commitment-0112", Reason: "no such instance"})
	}
	if err := s.ConcludeCommitment(uid, results); err != nil {
		t.Fatal(err)
	}
}

func wantCounts(t *testing.T, s *Spool, destination string, want JobCounts) {
	t.Helper()
	if got := s.Counts()[destination]; got != want {
		t.Errorf("%s: %+v, want %+v", destination, got, want)
	}
}

// TestEvictionWaitsForCommitment has instances delivered to a destination that commits itself, and to one that need not.
func TestEvictionWaitsForCommitment(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprint("hold=", hold), func(t *testing.T) {
			o := small()
			o.Retention, o.EvictAfter = time.Hour, evictAfter(hold)
			s, c := evictionSpool(t, o)
			tpl := synth.NewTemplate(20_000, 1)
			var all []InstanceID
			for i := range 4 {
				all = append(all, mustSend(t, s, tpl.Object(1, 1, i), to("cloud", "pacs")...).Instance.ID)
			}
			deliverAll(t, s, "pacs")
			awaitAll(t, s, "cloud", c.now())
			begin(t, s, "2.25.1", "cloud", c.now().Add(time.Hour), all...)
			conclude(t, s, "2.25.1", ResultCommitted, all[0], all[1])
			c.advance(48 * time.Hour)
			evictNow(t, s)
			for i, id := range all {
				_, err := s.Open(id)
				if evicted := errors.Is(err, ErrEvicted); evicted != (!hold || i < 2) {
					t.Errorf("%d: %v", i, err)
				}
			}
			wantCounts(t, s, "cloud", JobCounts{Awaiting: 2, Committed: 2})
			verifyClean(t, s)

			// A report that comes after all of that is taken, and what cannot be sent again is said to be so.
			begin(t, s, "2.25.2", "cloud", c.now().Add(time.Hour), all[2], all[3])
			conclude(t, s, "2.25.2", ResultSendAgain, all[2])
			conclude(t, s, "2.25.2", ResultSendAgain, all[3]) // concluded: changes nothing
			want := JobCounts{Awaiting: 1, Committed: 2, Refused: 1}
			if hold {
				want = JobCounts{Awaiting: 1, Committed: 2, Pending: 1}
			}
			wantCounts(t, s, "cloud", want)
			if st := s.Stats(); st.EvictableBytes != 0 {
				t.Errorf("%+v", st)
			}
			verifyClean(t, s)
		})
	}
}

// TestEvictAfterChanges changes the setting, between two uses of a spool and during one, and looks at the accounts.
func TestEvictAfterChanges(t *testing.T) {
	t.Run("at open", func(t *testing.T) { evictAfterChanges(t, false) })
	t.Run("open", func(t *testing.T) { evictAfterChanges(t, true) })
}

func evictAfterChanges(t *testing.T, whileOpen bool) {
	dir := t.TempDir()
	o := small()
	s := openSpool(t, dir, o)
	tpl := synth.NewTemplate(20_000, 1)
	for i := range 6 {
		mustSend(t, s, tpl.Object(1, 1, i), to("a", "b")...)
	}
	mustClaim(t, s, "b", 1)             // stays open
	awaitAll(t, s, "a", time.Now())     // six
	awaitAll(t, s, "b", time.Now())     // five, which therefore wait for nothing but commitment
	mustSend(t, s, tpl.Object(1, 1, 6)) // had no job
	mustSend(t, s, tpl.Object(1, 1, 7), to("c")...)
	deliverAll(t, s, "c")
	one := s.Stats().Bytes / 8
	for _, row := range []struct {
		after EvictAfter
		want  int64 // instances that may be evicted
	}{{EvictDelivered, 7}, {EvictCommitted, 2}, {EvictUnchanged, 2}, {EvictCommitted, 2}, {EvictDelivered, 7}, {EvictUnchanged, 7}} {
		if whileOpen {
			s.SetEvictAfter(row.after)
			flush(t, s)
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		} else {
			o.EvictAfter = row.after
			s = openSpool(t, dir, o)
		}
		if got := s.Stats().EvictableBytes; got != row.want*one {
			t.Errorf("after %v: %d bytes, want %d", row.after, got, row.want*one)
		}
	}
	verifyClean(t, s)
}

func TestCommitmentByOperators(t *testing.T) {
	o := small()
	s, c := evictionSpool(t, o)
	ctx := context.Background()
	tpl := synth.NewTemplate(2000, 1)
	var all []InstanceID
	for i := range 4 {
		all = append(all, mustSend(t, s, tpl.Object(1, 1, i), to("a")...).Instance.ID)
	}
	awaitAll(t, s, "a", c.now())
	begin(t, s, "2.25.1", "a", c.now().Add(time.Hour), all...)
	if n, _, err := s.Redrive(ctx, JobFilter{ID: all[0], State: JobAwaiting}, "the archive is mended"); n != 1 || err != nil {
		t.Errorf("asked again: %d, %v", n, err)
	}
	if jobs, err := s.Awaiting("a", c.now(), 9); err != nil || len(jobs) != 1 || jobs[0].Instance.ID != all[0] || jobs[0].Asks != 0 {
		t.Errorf("%d due, %v", len(jobs), err)
	}
	conclude(t, s, "2.25.1", ResultRefused, all[1], all[0])
	wantCounts(t, s, "a", JobCounts{Awaiting: 3, Refused: 1})
	if n, err := s.Drop(ctx, JobFilter{Destination: "a", State: JobAwaiting}, "it never commits"); n != 3 || err != nil {
		t.Errorf("given up: %d, %v", n, err)
	}
	wantCounts(t, s, "a", JobCounts{Delivered: 3, Refused: 1})
	if n, err := s.Drop(ctx, JobFilter{Destination: "a"}, "let it be"); n != 1 || err != nil {
		t.Errorf("dropped: %d, %v", n, err)
	}
	if jobs, err := s.Awaiting("a", c.now().Add(100*time.Hour), 9); err != nil || len(jobs) != 0 {
		t.Errorf("%d, %v", len(jobs), err)
	}
	verifyClean(t, s)
}

// TestRestoredKeepsCommitment stores an evicted instance again.
func TestRestoredKeepsCommitment(t *testing.T) {
	dir := t.TempDir()
	o, c := small(), newClock()
	o.Retention, o.Now = time.Hour, c.now
	s := openSpool(t, dir, o)
	obj := synth.NewTemplate(3000, 1).Object(1, 1, 1)
	first := mustSend(t, s, obj, to("a", "b")...)
	awaitAll(t, s, "a", c.now())
	awaitAll(t, s, "b", c.now())
	begin(t, s, "2.25.1", "a", c.now().Add(time.Hour), first.Instance.ID)
	conclude(t, s, "2.25.1", ResultCommitted, first.Instance.ID)
	c.advance(3 * time.Hour)
	evictNow(t, s)
	if again := mustSend(t, s, obj, to("a", "b")...); again.Outcome != Restored {
		t.Fatalf("%v", again.Outcome)
	}
	flush(t, s)
	check := func(when string) {
		t.Helper()
		wantCounts(t, s, "a", JobCounts{Committed: 1})
		wantCounts(t, s, "b", JobCounts{Pending: 1}) // sent again, and asked for again
		verifyClean(t, s)
	}
	check("stored again")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(context.Background(), dir, o, nil); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, o)
	check("rebuilt")
}

// TestRebuildAndCommitment rebuilds with the old index and without.
func TestRebuildAndCommitment(t *testing.T) {
	for _, row := range []struct {
		name   string
		remove bool
		want   JobCounts
	}{
		{"with the old index", false, JobCounts{Awaiting: 1, Committed: 1, Refused: 1}},
		{"from segments alone", true, JobCounts{Pending: 3}}, // sent again, then asked for again
	} {
		t.Run(row.name, func(t *testing.T) {
			dir, o := t.TempDir(), small()
			o.EvictAfter = EvictCommitted
			s := openSpool(t, dir, o)
			tpl := synth.NewTemplate(2000, 1)
			for i := range 3 {
				mustSend(t, s, tpl.Object(1, 1, i), to("a")...)
			}
			jobs := awaitAll(t, s, "a", time.Now())
			begin(t, s, "2.25.1", "a", time.Now(), ids(jobs)...)
			if err := s.ConcludeCommitment("2.25.1", []Commitment{
				{ID: jobs[0].Instance.ID, Result: ResultCommitted}, {ID: jobs[1].Instance.ID, Result: ResultRefused},
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if row.remove {
				if err := os.RemoveAll(filepath.Join(dir, indexDir)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Rebuild(context.Background(), dir, o, nil); err != nil {
				t.Fatal(err)
			}
			o.EvictAfter = EvictUnchanged
			if row.remove { // then nobody knows
				o.EvictAfter = EvictCommitted
			}
			s = openSpool(t, dir, o)
			wantCounts(t, s, "a", row.want)
			if got, held := s.Stats().EvictableBytes, s.Stats().Bytes; row.remove && got != 0 || !row.remove && got != held/3 {
				t.Errorf("%d bytes of %d may be evicted", got, held)
			}
			verifyClean(t, s)
			if jobs, err := s.Awaiting("a", time.Now().Add(time.Hour), 9); err != nil || int64(len(jobs)) != row.want.Awaiting {
				t.Errorf("%d awaited, %v", len(jobs), err)
			}
		})
	}
}

// TestCountersOfVersion1 reads what dcmgate 0.1 wrote.
func TestCountersOfVersion1(t *testing.T) {
	var c destinationTotals
	if err := c.decode(appendUint64s(nil, 1, 2, 3, 4)); err != nil || c != (destinationTotals{pending: 1, parked: 2, delivered: 3, dropped: 4}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, n := range []int{0, 8, 31, 33, 55} {
		if c.decode(make([]byte, n)) == nil {
			t.Errorf("%d bytes accepted", n)
		}
	}
}

func TestTransactionsAreBounded(t *testing.T) {
	s, c := evictionSpool(t, small())
	id := mustSend(t, s, synth.NewTemplate(2000, 1).Object(1, 1, 1), to("a")...).Instance.ID
	awaitAll(t, s, "a", c.now())
	for _, bad := range []Transaction{
		{UID: "", Destination: "a", Instances: []InstanceID{id}},
		{UID: "1.2.", Destination: "a", Instances: []InstanceID{id}},
		{UID: "1.2", Destination: "", Instances: []InstanceID{id}},
		{UID: "1.2", Destination: "a"},
		{UID: "1.2", Destination: "a", Instances: slices.Repeat([]InstanceID{id}, MaxTransaction+1)},
	} {
		if err := s.BeginCommitment(bad); err == nil {
			t.Errorf("%+v accepted", bad.UID)
		}
	}
	begin(t, s, "2.25.1", "a", c.now().Add(30*24*time.Hour), id) // still counts
	begin(t, s, "2.25.2", "a", c.now().Add(time.Hour), id)
	c.advance(8 * 24 * time.Hour)
	begin(t, s, "2.25.3", "a", c.now().Add(time.Hour), id)
	if err := s.purgePass(); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[dicom.UID]error{"2.25.1": nil, "2.25.2": ErrNotFound, "2.25.3": nil, "": ErrNotFound, "x": ErrNotFound} {
		if _, _, err := s.Transaction(uid); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", uid, err, want)
		}
	}
}

// TestAwaitingFindsWhatComesLate changes the due times behind the mark that spares searches.
func TestAwaitingFindsWhatComesLate(t *testing.T) {
	s, c := evictionSpool(t, small())
	tpl := synth.NewTemplate(2000, 1)
	want := func(n int) {
		t.Helper()
		if jobs, err := s.Awaiting("a", c.now(), 9); err != nil || len(jobs) != n {
			t.Errorf("%d jobs, want %d, %v", len(jobs), n, err)
		}
	}
	want(0)
	first := mustSend(t, s, tpl.Object(1, 1, 1), to("a")...).Instance.ID
	awaitAll(t, s, "a", c.now().Add(time.Hour))
	want(0)
	mustSend(t, s, tpl.Object(1, 1, 2), to("a")...)
	awaitAll(t, s, "a", c.now().Add(-time.Hour))
	want(1)
	begin(t, s, "2.25.1", "a", c.now().Add(2*time.Hour), first)
	want(1)
	s.WithdrawCommitment("2.25.1", c.now().Add(-2*time.Hour))
	flush(t, s)
	want(2)
	c.advance(3 * time.Hour)
	want(2)
	if jobs, err := s.Awaiting("", c.now(), 9); err == nil || jobs != nil {
		t.Error("a destination without a name")
	}
}
