// Package spooltest is what every implementation of the spool has to pass. The suite knows an implementation by what the
// gateway's other packages use of it, so that another one (another index, payloads elsewhere) can be held to the same
// promises.
package spooltest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

// Implementation is a spool under test. Store streams data into it and commits it with jobs; Read returns the data set.
// The other methods are those of spool.Spool.
type Implementation interface {
	Store(in spool.Incoming, data []byte, jobs []spool.JobSpec) (spool.Receipt, error)
	Read(id spool.InstanceID) ([]byte, error)

	Instance(id spool.InstanceID) (spool.Instance, error)
	Lookup(study, series, sop dicom.UID) ([]spool.Instance, error)
	LookupSOP(sop dicom.UID) ([]spool.Instance, error)
	Claim(destination string, limit int) ([]spool.Job, error)
	Ready(destination string) <-chan struct{}
	Complete(outcomes ...spool.Outcome) error
	Flush(ctx context.Context) error
	Jobs(f spool.JobFilter, cursor string, limit int) ([]spool.Job, string, error)
	Redrive(ctx context.Context, f spool.JobFilter, reason string) (changed, superseded int, err error)
	Drop(ctx context.Context, f spool.JobFilter, reason string) (int, error)
	Counts() map[string]spool.JobCounts
	DeliveredEverywhere(id spool.InstanceID) (bool, error)
	KeepEnquiry(e spool.Enquiry) error
	ForgetEnquiry(peer string, transaction dicom.UID) error
	Enquiry(peer string, transaction dicom.UID) (spool.Enquiry, error)
	Enquiries(ctx context.Context) iter.Seq2[spool.Enquiry, error]
	Awaiting(destination string, until time.Time, limit int) ([]spool.Job, error)
	BeginCommitment(t spool.Transaction) error
	WithdrawCommitment(uid dicom.UID, at time.Time)
	ConcludeCommitment(uid dicom.UID, results []spool.Commitment) error
	Transaction(uid dicom.UID) (spool.Transaction, []spool.Job, error)
	Changes(after uint64, limit int) ([]spool.Change, error)
	Studies(ctx context.Context, f spool.StudyFilter) iter.Seq2[spool.Study, error]
	SeriesOf(ctx context.Context, study dicom.UID) iter.Seq2[spool.Series, error]
	Latest(ctx context.Context, study, series dicom.UID) iter.Seq2[spool.Instance, error]
}

// Factory makes implementations. Open opens the one kept at dir, which is empty at first; opening it a second time ends
// the first as a killed process would, but for what was acknowledged or flushed.
type Factory func(t *testing.T, dir string) Implementation

// Run runs the suite.
func Run(t *testing.T, open Factory) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"stores bytes as they came", storesBytes},
		{"tells duplicates from versions", tellsDuplicates},
		{"stores one of many equal ones", storesOneOfMany},
		{"claims by priority, then age", claimsInOrder},
		{"claims a job once", claimsOnce},
		{"retries when due", retriesWhenDue},
		{"keeps what it acknowledged", keepsAcknowledged},
		{"parks, redrives and drops", parksAndDrops},
		{"asks for commitment when it is time", awaitsCommitment},
		{"commits, refuses and sends again", concludesCommitment},
		{"counts changes without gaps", countsChanges},
		{"finds studies, series and instances", findsStudies},
		{"tells what was delivered", tellsDelivered},
		{"keeps enquiries", keepsEnquiries},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, dir: t.TempDir(), open: open, template: synth.NewTemplate(4000, 1)}
			s.Implementation = open(t, s.dir)
			test.run(s)
		})
	}
}

// suite is one test with its implementation.
type suite struct {
	*testing.T
	Implementation
	dir      string
	open     Factory
	template *synth.Template
}

func (s *suite) reopen() { s.Implementation = s.open(s.T, s.dir) }

func (s *suite) object(n int) synth.Object { return s.template.Object(1, n/10, n) }

func incoming(o synth.Object) spool.Incoming {
	return spool.Incoming{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID),
		TransferSyntaxUID: synth.ExplicitVRLittleEndian, CallingAETitle: "CT1", CalledAETitle: "DCMGATE"}
}

func (s *suite) store(o synth.Object, jobs ...spool.JobSpec) spool.Receipt {
	s.Helper()
	r, err := s.Store(incoming(o), o.Data, jobs)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *suite) claim(destination string, limit int) []spool.Job {
	s.Helper()
	jobs, err := s.Claim(destination, limit)
	if err != nil {
		s.Fatal(err)
	}
	return jobs
}

func (s *suite) complete(outcomes ...spool.Outcome) {
	s.Helper()
	if err := s.Complete(outcomes...); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) flush() {
	s.Helper()
	if err := s.Flush(context.Background()); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) wantCounts(destination string, want spool.JobCounts) {
	s.Helper()
	if got := s.Counts()[destination]; got != want {
		s.Errorf("%s: %+v, want %+v", destination, got, want)
	}
}

func to(destination string) spool.JobSpec { return spool.JobSpec{Destination: destination} }

func storesBytes(s *suite) {
	o := s.object(1)
	r := s.store(o)
	for range 2 {
		data, err := s.Read(r.Instance.ID)
		if err != nil || !bytes.Equal(data, o.Data) {
			s.Fatalf("%d bytes, %v", len(data), err)
		}
		in, err := s.Instance(r.Instance.ID)
		if err != nil || in.Digest != sha256.Sum256(o.Data) || string(in.StudyInstanceUID) != o.StudyInstanceUID {
			s.Fatalf("%+v, %v", in, err)
		}
		found, err := s.Lookup(dicom.UID(o.StudyInstanceUID), dicom.UID(o.SeriesInstanceUID), dicom.UID(o.SOPInstanceUID))
		if err != nil || len(found) != 1 || found[0].ID != in.ID {
			s.Fatalf("%v, %v", found, err)
		}
		if found, err = s.LookupSOP(dicom.UID(o.SOPInstanceUID)); err != nil || len(found) != 1 || found[0].ID != in.ID {
			s.Fatalf("by SOP Instance UID alone: %v, %v", found, err)
		}
		s.reopen()
	}
	if _, err := s.Instance(1); err == nil {
		s.Error("an instance that nobody sent")
	}
}

func tellsDuplicates(s *suite) {
	o := s.object(1)
	first := s.store(o, to("a"))
	changed := o
	changed.Data = append(bytes.Clone(o.Data[:len(o.Data)-1]), o.Data[len(o.Data)-1]^1)
	for i, step := range []struct {
		object synth.Object
		want   spool.StoreOutcome
	}{{o, spool.Duplicate}, {changed, spool.NewVersion}, {changed, spool.Duplicate}, {o, spool.Duplicate}} {
		if r := s.store(step.object, to("a")); r.Outcome != step.want {
			s.Errorf("step %d: %v, want %v", i, r.Outcome, step.want)
		}
		s.reopen()
	}
	if data, err := s.Read(first.Instance.ID); err != nil || !bytes.Equal(data, o.Data) {
		s.Error("the first version is not what it was")
	}
	s.wantCounts("a", spool.JobCounts{Pending: 2})
	// What came later is not sent before what came first.
	if jobs := s.claim("a", 10); len(jobs) != 1 || jobs[0].Instance.ID != first.Instance.ID {
		s.Errorf("claimed %v, want the first version alone", jobs)
	}
}

func storesOneOfMany(s *suite) {
	o := s.object(1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[spool.StoreOutcome]int{}
	for range 8 {
		wg.Go(func() {
			r, err := s.Store(incoming(o), o.Data, []spool.JobSpec{to("a")})
			if err != nil {
				s.Error(err)
			}
			mu.Lock()
			outcomes[r.Outcome]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if outcomes[spool.Stored] != 1 || outcomes[spool.Duplicate] != 7 {
		s.Errorf("%v", outcomes)
	}
	s.wantCounts("a", spool.JobCounts{Pending: 1})
}

func claimsInOrder(s *suite) {
	var want [3][]spool.InstanceID
	order := [3]spool.Priority{spool.PriorityHigh, spool.PriorityMedium, spool.PriorityLow}
	for n := range 12 {
		i := n % 3
		r := s.store(s.object(n), spool.JobSpec{Destination: "a", Priority: order[i]})
		want[i] = append(want[i], r.Instance.ID)
	}
	for _, reopened := range []bool{false, true} {
		if reopened {
			s.reopen()
		}
		got := append(s.claim("a", 5), s.claim("a", 100)...)
		all := append(append(want[0], want[1]...), want[2]...)
		if len(got) != len(all) {
			s.Fatalf("%d jobs", len(got))
		}
		for i := range got {
			if got[i].Instance.ID != all[i] {
				s.Errorf("reopened %v, %d: %v, want %v", reopened, i, got[i].Instance.ID, all[i])
			}
		}
	}
}

func claimsOnce(s *suite) {
	const n = 60
	for i := range n {
		s.store(s.object(i), to("a"))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	claimed := map[spool.InstanceID]int{}
	for range 6 {
		wg.Go(func() {
			for {
				jobs, err := s.Claim("a", 3)
				if err != nil {
					s.Error(err)
				}
				if len(jobs) == 0 {
					return
				}
				mu.Lock()
				for i := range jobs {
					claimed[jobs[i].Instance.ID]++
				}
				mu.Unlock()
				if err := s.Complete(spool.Delivered(jobs[0].Key(), 0)); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for id, times := range claimed {
		if times != 1 {
			s.Errorf("%v was claimed %d times", id, times)
		}
	}
	if len(claimed) != n {
		s.Errorf("%d claimed", len(claimed))
	}
}

func retriesWhenDue(s *suite) {
	s.store(s.object(1), to("a"))
	job := s.claim("a", 1)[0]
	s.complete(spool.Retry(job.Key(), time.Now().Add(300*time.Millisecond), "network", "refused"))
	deadline := time.After(10 * time.Second)
	for {
		if jobs := s.claim("a", 1); len(jobs) == 1 {
			if jobs[0].Attempts != 1 || jobs[0].LastError != "refused" || time.Now().Before(jobs[0].NotBefore) {
				s.Errorf("%+v", jobs[0])
			}
			return
		}
		select {
		case <-s.Ready("a"):
		case <-deadline:
			s.Fatal("never due")
		}
	}
}

func keepsAcknowledged(s *suite) {
	for round := range 3 {
		for n := range 10 {
			s.store(s.object(10*round+n), to("a"), to("b"))
		}
		jobs := s.claim("b", 4)
		for i := range jobs[:3] { // the fourth claim dies with the process
			s.complete(spool.Delivered(jobs[i].Key(), 0))
		}
		s.flush()
		s.reopen()
		s.wantCounts("a", spool.JobCounts{Pending: int64(10 * (round + 1))})
		s.wantCounts("b", spool.JobCounts{Pending: int64(7 * (round + 1)), Delivered: int64(3 * (round + 1))})
	}
}

func parksAndDrops(s *suite) {
	for n := range 6 {
		s.store(s.object(n), to("a"))
	}
	for _, j := range s.claim("a", 4) {
		s.complete(spool.Park(j.Key(), "A900", fmt.Sprint("no ", j.Attempts)))
	}
	s.flush()
	s.wantCounts("a", spool.JobCounts{Pending: 2, Parked: 4})
	parked, next, err := s.Jobs(spool.JobFilter{Destination: "a", State: spool.JobParked}, "", 10)
	if err != nil || next != "" || len(parked) != 4 || parked[0].Code != "A900" {
		s.Fatalf("%d, %q, %v", len(parked), next, err)
	}
	if n, err := s.Drop(context.Background(), spool.JobFilter{ID: parked[0].Instance.ID, State: spool.JobParked}, "no"); n != 1 || err != nil {
		s.Errorf("dropped %d, %v", n, err)
	}
	if n, _, err := s.Redrive(context.Background(), spool.JobFilter{Destination: "a"}, "yes"); n != 3 || err != nil {
		s.Errorf("redriven %d, %v", n, err)
	}
	s.wantCounts("a", spool.JobCounts{Pending: 5, Dropped: 1})
	if jobs := s.claim("a", 10); len(jobs) != 5 {
		s.Errorf("%d claimed", len(jobs))
	}
}

func countsChanges(s *suite) {
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for n := range 20 {
				o := s.object(100*w + n)
				if _, err := s.Store(incoming(o), o.Data, nil); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.flush()
	var last uint64
	for {
		changes, err := s.Changes(last, 7)
		if err != nil {
			s.Fatal(err)
		}
		if len(changes) == 0 {
			break
		}
		for _, c := range changes {
			if last++; c.Sequence != last {
				s.Fatalf("%d, want %d", c.Sequence, last)
			}
		}
	}
	if last != 60 {
		s.Errorf("%d changes", last)
	}
}

func findsStudies(s *suite) {
	const series, each = 3, 10 // of one study
	var first spool.Receipt
	for n := range series * each {
		r := s.store(s.object(n))
		if n == 0 {
			first = r
		}
	}
	for _, state := range []string{"at once", "indexed", "reopened"} {
		instances := 0
		for study, err := range s.Studies(s.Context(), spool.StudyFilter{}) {
			if err != nil {
				s.Fatal(err)
			}
			if study.Series != series || study.Instances != series*each || study.Newest.StudyInstanceUID != study.StudyInstanceUID {
				s.Errorf("%s: study of %d series and %d instances, newest %v", state, study.Series, study.Instances, study.Newest.ID)
			}
			for found, err := range s.SeriesOf(s.Context(), study.StudyInstanceUID) {
				if err != nil || found.Instances != each {
					s.Fatalf("%s: series of %d instances, %v", state, found.Instances, err)
				}
				for in, err := range s.Latest(s.Context(), study.StudyInstanceUID, found.SeriesInstanceUID) {
					if err != nil || in.StudyInstanceUID != study.StudyInstanceUID {
						s.Errorf("%s: %v, %v", state, in.ID, err)
					}
					instances++
				}
			}
		}
		if instances != series*each {
			s.Errorf("%s: %d instances", state, instances)
		}
		found := 0
		for study, err := range s.Studies(s.Context(), spool.StudyFilter{UIDs: []dicom.UID{first.Instance.StudyInstanceUID}}) {
			if found++; err != nil || study.StudyInstanceUID != first.Instance.StudyInstanceUID {
				s.Errorf("%s: %v", state, err)
			}
		}
		if found != 1 {
			s.Errorf("%s: %d studies of one UID", state, found)
		}
		if s.flush(); state == "indexed" {
			s.reopen()
		}
	}
}
