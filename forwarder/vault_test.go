package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// vault is an archive that can be asked for commitment.
type vault struct {
	archive
	unsupported bool
	serves      int32 // associations at once; 0 any number
	together    int   // nothing is asked for before so many instances are delivered
	// take does something with the nth request; an error refuses it.
	take func(n int, rq *dimse.Request, r *commitment.Request) error

	requests []*commitment.Request // guarded by archive.mu
	open     atomic.Int32
	overfull atomic.Int32
}

func (v *vault) serve(t testing.TB) (address string) {
	t.Helper()
	v.digests, v.copies = map[dicom.UID][32]byte{}, map[dicom.UID]int{}
	return serveHandler(t, v.associate)
}

func serveHandler(t testing.TB, h dimse.HandlerFunc) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := dimse.NewServer(h, dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return l.Addr().String()
}

func (v *vault) associate(ctx context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	acceptance, err := v.archive.associate(ctx, rq)
	if err != nil {
		return nil, err
	}
	v.count(acceptance)
	acceptance.Service.(dimse.Mux)[dimse.NActionRQ] = commitment.Requests(v.request)
	if v.unsupported {
		acceptance.Results = slices.DeleteFunc(acceptance.Results, func(r pdu.PresentationContextResult) bool {
			return rq.RQ.PresentationContexts[0].AbstractSyntax == string(commitment.SOPClass)
		})
	}
	return acceptance, nil
}

// count counts requests that come while enough associations are open. One that has been released may take a moment to be
// seen closed.
func (v *vault) count(acceptance *dimse.Acceptance) {
	for end := time.Now().Add(time.Minute); v.serves > 0 && v.open.Load() >= v.serves; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			v.overfull.Add(1)
			break
		}
	}
	v.open.Add(1)
	acceptance.Closed = func(dimse.AssociationSummary) { v.open.Add(-1) }
}

func (v *vault) request(_ context.Context, rq *dimse.Request, r *commitment.Request) error {
	v.mu.Lock()
	n := len(v.requests)
	v.requests = append(v.requests, r)
	v.mu.Unlock()
	return v.take(n, rq, r)
}

func (v *vault) made() []*commitment.Request {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.requests)
}

func (v *vault) copiesOf(uid dicom.UID) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.copies[uid]
}

// all is the report that commits everything.
func all(r *commitment.Request) *commitment.Result {
	return &commitment.Result{TransactionUID: r.TransactionUID, Committed: r.References}
}

// except is the report in which some instances fail.
func except(r *commitment.Request, reason dimse.Status, failing func(dicom.UID) bool) *commitment.Result {
	result := &commitment.Result{TransactionUID: r.TransactionUID}
	for _, ref := range r.References {
		if failing(ref.SOPInstanceUID) {
			result.Failed = append(result.Failed, commitment.Failure{Reference: ref, Reason: reason})
		} else {
			result.Committed = append(result.Committed, ref)
		}
	}
	return result
}

// reportOn reports over the association of the request, once that has been answered.
func reportOn(rq *dimse.Request, result *commitment.Result) {
	a := rq.Association
	go func() { _ = commitment.Report(context.Background(), a, result) }() // the association may end first
}

// custodyRig is a forwarder over a spool whose destination is asked for commitment, and a listener for reports.
type custodyRig struct {
	*testing.T
	spool    *spool.Spool
	running  atomic.Pointer[Forwarder]
	custody  Custody
	registry *prometheus.Registry
	log      *logBuffer
	listener string
	sent     []dicom.UID
	stop     func()
}

func startCustody(t *testing.T, n int, v *vault, change func(*Destination)) *custodyRig {
	t.Helper()
	s, digests := fill(t, n, 2000)
	r := &custodyRig{T: t, spool: s, custody: &patientCustody{Spool: s, n: v.together}, log: &logBuffer{}}
	for uid := range digests {
		r.sent = append(r.sent, uid)
	}
	slices.Sort(r.sent)
	d := Destination{
		Name: "cloud", CalledAETitle: "CLOUD", Address: v.serve(t), Policy: quick,
		Commitment: Commitment{Enabled: true, Wait: 20 * time.Millisecond, Linger: 5 * time.Second, Timeout: time.Minute},
	}
	d.Policy.LongProbe = Backoff{Initial: 50 * time.Millisecond, Max: 100 * time.Millisecond}
	if change != nil {
		change(&d)
	}
	r.start(d)
	r.listener = serveHandler(t, func(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
		return &dimse.Acceptance{
			Results: dimse.Negotiate(rq.RQ, func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
				return offered[0], pdu.ContextAccepted
			}),
			RoleSelections: commitment.GrantRoles(rq.RQ.RoleSelections, false, true),
			Service: dimse.Mux{dimse.NEventReportRQ: commitment.Reports(func(ctx context.Context, rq *dimse.Request, result *commitment.Result) error {
				return r.running.Load().TakeReport(ctx, rq, result)
			})},
		}, nil
	})
	return r
}

// patientCustody keeps to itself what awaits commitment until so much of it does: what is asked for at once does not hang on how
// fast it was delivered.
type patientCustody struct {
	*spool.Spool
	n       int
	reached atomic.Bool
}

func (c *patientCustody) Awaiting(destination string, until time.Time, limit int) ([]spool.Job, error) {
	jobs, err := c.Spool.Awaiting(destination, until, max(limit, c.n))
	if !c.reached.Load() && len(jobs) < c.n {
		return nil, err
	}
	c.reached.Store(true)
	return jobs[:min(len(jobs), limit)], err
}

// start runs a forwarder until the test ends or stop is called.
func (r *custodyRig) start(destinations ...Destination) {
	r.Helper()
	r.registry = prometheus.NewRegistry()
	n := &DIMSE{CallingAETitle: "DCMGATE"}
	f, err := New(Options{
		Queue: FromSpool(r.spool), Dialer: n, Custody: r.custody, Commitments: n, Destinations: destinations,
		Registerer: r.registry, Logger: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	if err != nil {
		r.Fatal(err)
	}
	r.running.Store(f)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.Error(err)
		}
	})
	r.Cleanup(r.stop)
}

// report reports over an association of its own and returns the status of the answer.
func (r *custodyRig) report(callingAE string, result *commitment.Result) dimse.Status {
	r.Helper()
	a, err := (&dimse.Dialer{LocalAETitle: callingAE}).Dial(r.Context(), r.listener, dimse.Proposal{
		CalledAETitle: "DCMGATE", Contexts: []pdu.PresentationContext{commitment.Context(1)},
		RoleSelections: []pdu.RoleSelection{commitment.ReportingRole()},
	})
	if err != nil {
		r.Fatal(err)
	}
	defer a.Close()
	err = commitment.Report(r.Context(), a, result)
	status, refused := errors.AsType[*dimse.StatusError](err)
	switch {
	case err == nil:
		return dimse.StatusSuccess
	case refused:
		return status.Status
	}
	r.Fatal(err)
	return 0
}

func (r *custodyRig) until(what string, condition func() bool) {
	r.Helper()
	for end := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("not %s: %+v, %+v\n%s", what, r.spool.Counts()["cloud"], r.running.Load().Status()[0], r.log)
		}
	}
}

func (r *custodyRig) untilCounts(want spool.JobCounts) {
	r.Helper()
	r.until(fmt.Sprintf("%+v", want), func() bool { return r.spool.Counts()["cloud"] == want })
}

// counted is the value of a counter with one outcome.
func (r *custodyRig) counted(name, outcome string) int {
	r.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "outcome" && l.GetValue() == outcome {
					return int(m.GetCounter().GetValue())
				}
			}
		}
	}
	r.Errorf("no series %s{outcome=%q}", name, outcome)
	return 0
}

func (r *custodyRig) wantCounted(name, outcome string, want int) {
	r.Helper()
	r.until(fmt.Sprintf("%d in %s{outcome=%q}", want, name, outcome), func() bool { return r.counted(name, outcome) == want })
}
