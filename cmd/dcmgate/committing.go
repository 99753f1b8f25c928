package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// committing is one run of commit: what is asked about, and what has been reported so far.
type committing struct {
	options *commitOptions
	stderr  io.Writer

	mu      sync.Mutex
	report  commitReport
	index   map[commitment.Reference]int // into report.Instances
	waiting map[dicom.UID]bool           // transactions that are to be reported on
	done    chan struct{}                // closed when none is
	bar     *bar
	settled int // instances
}

// ask asks and waits until everything is reported, or will not be.
func (c *committing) ask(ctx context.Context, progress *bar) error {
	requests := c.requests()
	c.bar, c.done, c.waiting = progress, make(chan struct{}), make(map[dicom.UID]bool, len(requests))
	for _, r := range requests {
		c.waiting[r.TransactionUID] = true
	}
	if c.options.listen != "" {
		stop, err := c.serve()
		if err != nil {
			return err
		}
		defer stop()
	}
	a, err := c.options.propose(ctx, dimse.Proposal{
		Contexts: []pdu.PresentationContext{commitment.Context(1)},
		Service:  c.services(),
	})
	if err != nil {
		return err
	}
	defer a.Close()
	for _, r := range requests {
		if err := commitment.Ask(ctx, a, r); err != nil {
			return c.refused(err)
		}
	}
	return c.await(ctx, a)
}

// refused says what a request was answered with.
func (c *committing) refused(err error) error {
	o := c.options
	var status *dimse.StatusError
	switch {
	case errors.Is(err, dimse.ErrNoContext):
		return fmt.Errorf("%s: %w; may %s store there?", o.address, err, o.calling)
	case errors.As(err, &status):
		text := fmt.Sprintf("%s answered %04XH %s", o.address, uint16(status.Status), status.Status.Meaning(dimse.NActionRQ))
		if status.Comment != "" {
			text += ": " + pdu.Printable(status.Comment)
		}
		return errors.New(text)
	}
	return fmt.Errorf("N-ACTION to %s: %w", o.address, err)
}

// await waits for the reports, over the association of the requests as long as the peer leaves it open.
func (c *committing) await(ctx context.Context, a *dimse.Association) error {
	timer := time.NewTimer(c.options.wait)
	defer timer.Stop()
	ended := a.Done()
	for {
		select {
		case <-c.done:
			// Everything is reported; a peer that does not release well is no failure of that.
			_ = a.Release(context.WithoutCancel(ctx))
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return fmt.Errorf("%s did not report within %v%s", c.options.address, c.options.wait, c.advice())
		case <-ended:
			if c.options.listen == "" && !c.over() {
				return fmt.Errorf("%s ended the association before it had reported (%w)%s", c.options.address, a.Err(), c.advice())
			}
			ended = nil
		}
	}
}

func (c *committing) advice() string {
	if c.options.listen != "" {
		return "; does it know the address of --listen for AE title " + c.options.calling + "?"
	}
	return "; if it reports over an association of its own, use --listen"
}

func (c *committing) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// services are what a peer may ask for that reports. The end is told only when the last report has been answered: an
// association is not released in the middle of an operation.
func (c *committing) services() dimse.Service {
	reports := commitment.Reports(c.take)
	return dimse.Mux{dimse.CEchoRQ: dimse.Echo(), dimse.NEventReportRQ: dimse.ServiceFunc(func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		reports.ServeDIMSE(ctx, w, rq)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.waiting) == 0 && !c.over() {
			close(c.done)
		}
	})}
}

// take takes a report that came over whatever association.
func (c *committing) take(_ context.Context, _ *dimse.Request, r *commitment.Result) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.waiting[r.TransactionUID] {
		return &dimse.StatusError{Status: dimse.StatusInvalidArgumentValue, Comment: "transaction UID is not known, or was reported on"}
	}
	delete(c.waiting, r.TransactionUID)
	for _, ref := range r.Committed {
		c.settle(ref, func(in *commitInstance) { in.State = commitCommitted })
	}
	for _, f := range r.Failed {
		c.settle(f.Reference, func(in *commitInstance) {
			in.State, in.Reason, in.Meaning = commitFailed, fmt.Sprintf("%04X", uint16(f.Reason)), commitment.ReasonText(f.Reason)
		})
	}
	c.report.RetrieveAE = pdu.Printable(r.RetrieveAETitle)
	c.bar.set(int64(c.settled), int64(len(c.report.Instances)))
	return nil
}

// settle notes what was reported on an instance. Of one that is in both sequences the failure counts.
func (c *committing) settle(ref commitment.Reference, change func(*commitInstance)) {
	if i, ok := c.index[ref]; ok {
		if c.report.Instances[i].State == commitUnanswered {
			c.settled++
		}
		change(&c.report.Instances[i])
	}
}

// serve takes reports at the address of --listen, from whoever knows the transaction.
func (c *committing) serve() (stop func(), err error) {
	s, err := dimse.NewServer(dimse.HandlerFunc(func(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
		return &dimse.Acceptance{
			Results:        dimse.Negotiate(rq.RQ, reportContext),
			Service:        c.services(),
			RoleSelections: commitment.GrantRoles(rq.RQ.RoleSelections, false, true),
		}, nil
	}), dimse.ServerOptions{MaxAssociations: 16})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", c.options.listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l) // if it fails, no report comes
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		<-served
	}, nil
}

// reportContext accepts storage commitment and Verification in the first transfer syntax that data sets can be read in.
func reportContext(abstract dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
	if abstract != commitment.SOPClass && abstract != dicom.VerificationSOPClass {
		return "", pdu.ContextAbstractSyntaxNotSupported
	}
	for _, ts := range offered {
		switch ts {
		case dicom.ExplicitVRLittleEndian, dicom.ImplicitVRLittleEndian, dicom.ExplicitVRBigEndian, dicom.DeflatedExplicitVRLittleEndian:
			return ts, pdu.ContextAccepted
		}
	}
	return "", pdu.ContextTransferSyntaxesNotSupported
}
