package commitment

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/internal/walltime"
	"dcmgate/pdu"
	"dcmgate/spool"
)

func openSpool(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1, PoolBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var template = synth.NewTemplate(4000, 1)

// store puts an object into the spool.
func store(t *testing.T, s *spool.Spool, o synth.Object, destinations ...string) Reference {
	t.Helper()
	w, err := s.Begin(spool.Incoming{SOPClassUID: ct, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: dicom.ExplicitVRLittleEndian})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(o.Data); err != nil {
		t.Fatal(err)
	}
	var jobs []spool.JobSpec
	for _, d := range destinations {
		jobs = append(jobs, spool.JobSpec{Destination: d})
	}
	if _, err := w.Commit(jobs); err != nil {
		t.Fatal(err)
	}
	return Reference{ct, dicom.UID(o.SOPInstanceUID)}
}

// site is a Keeper with its spool and its acceptor, and a modality beside it that can be called.
type site struct {
	*testing.T
	spool   *spool.Spool
	keeper  *Keeper
	address string
	stop    func() // ends Run
	modality
}

// modality takes reports at an address of its own.
type modality struct {
	mu      sync.Mutex
	results []*Result
	refuse  error
	answer  chan struct{} // a token for each answer, if not nil
	mayCall atomic.Bool
	at      string
}

// moves has the modality called at another address from now on.
func (m *modality) moves(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = address
}

func (m *modality) calledAt() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

func (m *modality) take(ctx context.Context, _ *dimse.Request, r *Result) error {
	if m.answer != nil {
		select {
		case <-m.answer:
		case <-ctx.Done(): // whoever ends the association waits for this
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return m.refuse
	}
	m.results = append(m.results, r)
	return nil
}

func (m *modality) taken() []*Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.results)
}

func (m *modality) refusing(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

func newSite(t *testing.T, dir string, change func(*KeeperOptions)) *site {
	t.Helper()
	s := &site{T: t, spool: openSpool(t, dir)}
	s.mayCall.Store(true)
	s.at = serveOn(t, dimse.Mux{dimse.NEventReportRQ: Reports(s.take)}, func(rq *dimse.AssociationRequest) []pdu.RoleSelection {
		return GrantRoles(rq.RQ.RoleSelections, false, true)
	})
	o := KeeperOptions{Store: s.spool, AETitle: "GATE", SameAssociation: 50 * time.Millisecond,
		RetryInitial: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond,
		Dial: func(string) Dial {
			if !s.mayCall.Load() {
				return nil
			}
			return func(ctx context.Context, p dimse.Proposal) (*dimse.Association, error) {
				p.CalledAETitle = "CT1"
				return (&dimse.Dialer{LocalAETitle: "GATE"}).Dial(ctx, s.calledAt(), p)
			}
		}}
	if change != nil {
		change(&o)
	}
	s.keeper = NewKeeper(o)
	s.run()
	s.address = serveOn(t, dimse.Mux{dimse.NActionRQ: s.keeper.Service("CT1")}, func(rq *dimse.AssociationRequest) []pdu.RoleSelection {
		return GrantRoles(rq.RQ.RoleSelections, true, false)
	})
	return s
}

func (s *site) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.keeper.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.Error(err)
		}
	})
	s.Cleanup(func() { s.stop() })
}

// ask asks and, unless it is to stay, releases the association at once.
func (s *site) ask(uid dicom.UID, stay bool, refs ...Reference) (*dimse.Association, error) {
	s.Helper()
	a := dial(s.T, s.address, func(p *dimse.Proposal) {
		if stay {
			p.Service = Reports(s.take)
		}
	})
	err := Ask(s.Context(), a, &Request{TransactionUID: uid, References: refs})
	if !stay {
		if err := a.Release(s.Context()); err != nil {
			s.Error(err)
		}
	}
	return a, err
}

func (s *site) mustAsk(uid dicom.UID, stay bool, refs ...Reference) *dimse.Association {
	s.Helper()
	a, err := s.ask(uid, stay, refs...)
	if err != nil {
		s.Fatal(err)
	}
	return a
}

func (s *site) eventually(what string, ok func() bool) {
	s.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("never: %s", what)
		}
	}
}

// reported waits for as many results and returns them.
func (s *site) reported(n int) []*Result {
	s.Helper()
	s.eventually("results", func() bool { return len(s.taken()) >= n })
	return s.taken()
}

// over waits until nothing waits to be reported, in the keeper and in the spool.
func (s *site) over() {
	s.Helper()
	s.eventually("the keeper is done", func() bool { return s.keeper.countWaiting() == 0 })
	if n := s.kept(); n != 0 {
		s.Errorf("%d enquiries are left in the spool", n)
	}
}

func (s *site) kept() (n int) {
	for _, err := range s.spool.Enquiries(context.Background()) {
		if err != nil {
			s.Fatal(err)
		}
		n++
	}
	return n
}

func TestReportsOverTheSameAssociationWhileItLasts(t *testing.T) {
	s := newSite(t, t.TempDir(), func(o *KeeperOptions) { o.Dial = nil })
	stored := store(t, s.spool, template.Object(1, 1, 1), "cloud")
	a := s.mustAsk("2.25.1", true, stored, Reference{ct, "1.2.3"})
	want := &Result{TransactionUID: "2.25.1", RetrieveAETitle: "GATE", Committed: []Reference{stored},
		Failed: []Failure{{Reference{ct, "1.2.3"}, 0x0112}}}
	if got := s.reported(1)[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("reported %+v, want %+v", got, want)
	}
	s.over()
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReportsOverItsOwnAssociationToWhoReleasesAtOnce(t *testing.T) {
	s := newSite(t, t.TempDir(), nil)
	stored := store(t, s.spool, template.Object(1, 1, 1))
	for i := range 3 {
		s.mustAsk(dicom.UID([]string{"1.1", "1.2", "1.3"}[i]), false, stored)
	}
	for _, r := range s.reported(3) {
		if len(r.Failed) != 0 || !slices.Equal(r.Committed, []Reference{stored}) {
			t.Errorf("reported %+v", r)
		}
	}
	s.over()
	if list := s.keeper.Status(); len(list) != 0 {
		t.Errorf("status %+v", list)
	}
}

func TestFallsBackToItsOwnAssociation(t *testing.T) {
	s := newSite(t, t.TempDir(), nil)
	stored := store(t, s.spool, template.Object(1, 1, 1))
	a := dial(t, s.address, nil) // without a service: a report is answered 0211H, unrecognized operation
	if err := Ask(t.Context(), a, &Request{TransactionUID: "1.1", References: []Reference{stored}}); err != nil {
		t.Fatal(err)
	}
	s.reported(1)
	s.over()
	if err := a.Err(); err != nil {
		t.Errorf("the association of the request ended: %v", err)
	}
}

func TestVerdicts(t *testing.T) {
	s := newSite(t, t.TempDir(), nil)
	whole := store(t, s.spool, template.Object(1, 1, 1), "cloud")
	damagedRef := store(t, s.spool, template.Object(1, 1, 2), "cloud")
	if err := s.spool.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := s.spool.LookupSOP(damagedRef.SOPInstanceUID)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := s.spool.MarkDamaged(found[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := s.spool.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := store(t, s.spool, template.Object(1, 1, 3)) // perhaps not indexed yet
	for _, test := range []struct {
		name string
		ref  Reference
		want verdict
	}{
		{"stored", whole, here},
		{"just stored", fresh, here},
		{"of another class", Reference{dicom.MRImageStorage, whole.SOPInstanceUID}, conflict},
		{"damaged", damagedRef, damaged},
		{"damaged and of another class", Reference{dicom.MRImageStorage, damagedRef.SOPInstanceUID}, conflict},
		{"never received", Reference{ct, "1.2.3"}, unknown},
		{"UID that begins the same", Reference{ct, whole.SOPInstanceUID[:len(whole.SOPInstanceUID)-1]}, unknown},
	} {
		if got, err := s.keeper.judge(test.ref); err != nil || got != test.want {
			t.Errorf("%s: %s, %v; want %s", test.name, verdictNames[got], err, verdictNames[test.want])
		}
	}
}

// evicting is a spool some of whose instances have been evicted, delivered to everybody or not.
type evicting struct {
	*spool.Spool
	delivered map[spool.InstanceID]bool
}

func (e evicting) Open(id spool.InstanceID) (*spool.Reader, error) {
	if _, gone := e.delivered[id]; gone {
		return nil, spool.ErrEvicted
	}
	return e.Spool.Open(id)
}

func (e evicting) DeliveredEverywhere(id spool.InstanceID) (bool, error) { return e.delivered[id], nil }

func TestEvictedInstancesAreCommittedIfDelivered(t *testing.T) {
	e := evicting{openSpool(t, t.TempDir()), map[spool.InstanceID]bool{}}
	k := NewKeeper(KeeperOptions{Store: e, AETitle: "GATE"})
	delivered, dropped, stored := store(t, e.Spool, template.Object(1, 1, 1)), store(t, e.Spool, template.Object(1, 1, 2)), store(t, e.Spool, template.Object(1, 1, 3))
	for i, ref := range []Reference{delivered, dropped} {
		found, err := e.LookupSOP(ref.SOPInstanceUID)
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		e.delivered[found[0].ID] = i == 0
	}
	if _, err := k.take("CT1", "i1", &Request{TransactionUID: "1.1", References: []Reference{delivered, dropped, stored}}); err != nil {
		t.Fatal(err)
	}
	got, _, err := k.result("CT1", "1.1")
	want := &Result{TransactionUID: "1.1", Committed: []Reference{delivered, stored}, Failed: []Failure{{dropped, 0x0112}}}
	if err != nil || !reflect.DeepEqual(got, want) { // and no Retrieve AE Title, as not all can be retrieved here
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

func TestRepeatedTransactionUID(t *testing.T) {
	s := newSite(t, t.TempDir(), nil)
	s.refusing(&dimse.StatusError{Status: dimse.StatusProcessingFailure, Comment: "not now"})
	stored := store(t, s.spool, template.Object(1, 1, 1))
	s.mustAsk("1.1", false, stored)
	s.mustAsk("1.1", false, stored) // the same request: taken, and reported once
	var status *dimse.StatusError
	if _, err := s.ask("1.1", false, Reference{ct, "1.2.3"}); !errors.As(err, &status) || status.Status != 0x0131 {
		t.Errorf("another request under the same transaction UID: %v; want 0131H", err)
	}
	s.eventually("a refused report", func() bool { l := s.keeper.Status(); return len(l) == 1 && l[0].Problem != "" })
	s.refusing(nil)
	s.reported(1)
	s.over()
	s.mustAsk("1.1", false, Reference{ct, "1.2.3"}) // it is free again
	if got := s.reported(2); len(got) != 2 || len(got[1].Failed) != 1 {
		t.Errorf("reported %+v", got)
	}
	s.over()
}

func TestRetriesUntilThePeerTakesTheResult(t *testing.T) {
	s := newSite(t, t.TempDir(), nil)
	up := s.calledAt()
	s.moves(peertest.Address(t)) // where nobody listens
	stored := store(t, s.spool, template.Object(1, 1, 1))
	s.mustAsk("1.1", false, stored)
	s.eventually("trouble", func() bool { l := s.keeper.Status(); return len(l) == 1 && l[0].Problem != "" && l[0].Waiting == 1 })
	s.moves(up)
	s.reported(1)
	s.over()
}

func TestOneRefusedResultDoesNotHoldUpOthers(t *testing.T) {
	s := newSite(t, t.TempDir(), nil)
	stored := store(t, s.spool, template.Object(1, 1, 1))
	s.moves(serveOn(t, dimse.Mux{dimse.NEventReportRQ: Reports(func(ctx context.Context, rq *dimse.Request, r *Result) error {
		if r.TransactionUID == "1.1" {
			_ = rq.Association.Abort() // breaks down over it, whenever it comes
		}
		return s.take(ctx, rq, r)
	})}, func(rq *dimse.AssociationRequest) []pdu.RoleSelection {
		return GrantRoles(rq.RQ.RoleSelections, false, true)
	}))
	for _, uid := range []dicom.UID{"1.1", "1.2", "1.3"} {
		s.mustAsk(uid, false, stored)
	}
	s.eventually("the others are reported", func() bool {
		n := 0
		for _, r := range s.taken() {
			if r.TransactionUID != "1.1" {
				n++
			}
		}
		return n == 2
	})
	s.eventually("one waits", func() bool { l := s.keeper.Status(); return len(l) == 1 && l[0].Waiting == 1 })
}

func TestReportsAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := newSite(t, dir, nil)
	s.refusing(errors.New("not now"))
	stored := store(t, s.spool, template.Object(1, 1, 1))
	s.mustAsk("1.1", false, stored)
	s.stop()
	if err := s.spool.Close(); err != nil {
		t.Fatal(err)
	}
	again := newSite(t, dir, nil)
	if got := again.reported(1)[0]; got.TransactionUID != "1.1" || !slices.Equal(got.Committed, []Reference{stored}) {
		t.Errorf("reported %+v", got)
	}
	again.over()
}

func TestGivesUp(t *testing.T) {
	t.Run("without an address", func(t *testing.T) {
		s := newSite(t, t.TempDir(), nil)
		s.mayCall.Store(false)
		s.mustAsk("1.1", false, Reference{ct, "1.2.3"})
		s.over()
	})
	t.Run("after its time", func(t *testing.T) {
		s := newSite(t, t.TempDir(), func(o *KeeperOptions) { o.MaxAge = 200 * time.Millisecond })
		s.refusing(errors.New("never"))
		s.mustAsk("1.1", false, Reference{ct, "1.2.3"})
		s.over()
		if len(s.taken()) != 0 {
			t.Error("a result was taken that was refused")
		}
	})
	t.Run("without an address after a restart", func(t *testing.T) {
		dir := t.TempDir()
		before := openSpool(t, dir)
		if err := before.KeepEnquiry(spool.Enquiry{Peer: "CT1", TransactionUID: "1.1", Received: time.Now(), Request: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		s := newSite(t, dir, func(o *KeeperOptions) { o.Dial = nil })
		s.eventually("struck out", func() bool { return s.kept() == 0 })
	})
}

func TestBoundsOfWhatWaits(t *testing.T) {
	k := NewKeeper(KeeperOptions{Store: openSpool(t, t.TempDir())})
	for i := range maxWaitingPerPeer {
		k.enter(&transaction{ticket: ticket{"CT1", dicom.UID(rune('0' + i))}})
	}
	r := &Request{TransactionUID: "1.1", References: []Reference{{ct, "1.2.3"}}}
	var status *dimse.StatusError
	if _, err := k.take("CT1", "i1", r); !errors.As(err, &status) || status.Status != dimse.StatusResourceLimitation {
		t.Errorf("one too many of a peer: %v; want 0213H", err)
	}
	if _, err := k.take("CT2", "i1", r); err != nil {
		t.Errorf("of another peer: %v", err)
	}
	k.bytes = maxWaitingBytes
	if _, err := k.take("CT3", "i1", r); !errors.As(err, &status) || status.Status != dimse.StatusResourceLimitation {
		t.Errorf("too many bytes: %v; want 0213H", err)
	}
}

func TestWaitsGrow(t *testing.T) {
	k := NewKeeper(KeeperOptions{RetryInitial: 5 * time.Second, RetryMax: time.Minute})
	for failures, want := range []time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 4: 40 * time.Second, 5: time.Minute, 1000: time.Minute} {
		if want > 0 && k.wait(failures) != want {
			t.Errorf("after %d failures %v, want %v", failures, k.wait(failures), want)
		}
	}
}

// Many requests over one association are reported one after another; what the association does not live to see is reported
// over another.
func TestManyRequestsOverOneAssociation(t *testing.T) {
	s := newSite(t, t.TempDir(), nil)
	s.answer = make(chan struct{})
	stored := store(t, s.spool, template.Object(1, 1, 1))
	a := dial(t, s.address, func(p *dimse.Proposal) { p.Service = Reports(s.take) })
	const requests = 20
	for i := range requests {
		if err := Ask(t.Context(), a, &Request{TransactionUID: dicom.UID("1." + string(rune('a'+i))), References: []Reference{stored}}); err != nil {
			t.Fatal(err)
		}
	}
	for range requests / 2 {
		s.answer <- struct{}{}
	}
	s.eventually("half of the results", func() bool { return len(s.taken()) == requests/2 })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	close(s.answer)
	seen := map[dicom.UID]bool{}
	s.eventually("the other half", func() bool {
		for _, r := range s.taken() {
			seen[r.TransactionUID] = true
		}
		return len(seen) == requests
	})
	s.over()
}

// A result is not given up as too old by a clock that has just jumped ahead.
func TestResultsOutliveAClockThatJumps(t *testing.T) {
	for _, row := range []struct {
		set     time.Duration
		expired int
	}{{0, 1}, {365 * 24 * time.Hour, 0}} {
		k := NewKeeper(KeeperOptions{})
		clock, passed := time.Now(), time.Duration(0)
		k.clock = walltime.New(func() time.Time { return clock }, func() time.Duration { return passed })
		clock, passed = clock.Add(row.set+time.Minute), passed+time.Minute
		l := &line{peer: "CT1", waiting: []*transaction{{ticket: ticket{"CT1", "1.2"}, received: time.Now().Add(-8 * 24 * time.Hour)}}}
		if _, expired, _ := k.next(l); len(expired) != row.expired {
			t.Errorf("clock set by %v: %d given up, want %d", row.set, len(expired), row.expired)
		}
	}
}
