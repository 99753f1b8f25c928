package upstream

import (
	"context"
	"errors"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// windingUp bounds what is left of a conversation that nobody waits for any more: the answer to a C-CANCEL, the release.
const windingUp = 5 * time.Second

// Why an archive is not asked.
var (
	errModel   = &qr.Unavailable{Reason: "does not speak the query's model"}
	errHours   = &qr.Unavailable{Reason: "closed at this hour"}
	errBreaker = &qr.Unavailable{Reason: "does not work at present"}
	errBusy    = &qr.Unavailable{Reason: "busy"}
	errEnding  = &qr.Unavailable{Reason: "the gateway is stopping"}
)

// identifierSyntaxes are proposed for identifiers, in one context each SOP class: what is chosen does not matter.
var identifierSyntaxes = []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)}

// conversation is an association with an archive and the place that it takes.
type conversation struct {
	*Upstream
	association *dimse.Association
}

// begin waits for a place and requests an association. Errors are *qr.Unavailable or those of ctx.
func (u *Upstream) begin(ctx context.Context, p dimse.Proposal) (*conversation, error) {
	switch {
	case u.life.Err() != nil:
		return nil, errEnding
	case !u.open(time.Now()):
		return nil, errHours
	}
	if err := u.takePlace(ctx); err != nil {
		return nil, err
	}
	if !u.breaker.Admit() {
		u.leavePlace()
		return nil, errBreaker
	}
	p.CalledAETitle, p.CallingAETitle = u.o.AETitle, u.o.CallingAETitle
	dialing, cancel := context.WithTimeout(ctx, u.o.AssociationTimeout)
	defer cancel()
	a, err := u.dialer.Dial(dialing, u.o.Address, p)
	if err != nil {
		u.leavePlace()
		return nil, u.ended(ctx, err)
	}
	return &conversation{u, a}, nil
}

func (u *Upstream) takePlace(ctx context.Context) error {
	timer := time.NewTimer(u.o.QueryTimeout)
	defer timer.Stop()
	select {
	case u.places <- struct{}{}:
		u.metrics.associations.Inc()
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *Upstream) leavePlace() {
	u.metrics.associations.Dec()
	<-u.places
}

// ended notes why a conversation has failed and returns what to tell who asked.
func (u *Upstream) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		u.breaker.Withdrawn()
		return ctx.Err()
	}
	d := dimse.Diagnose(err, "the archive")
	if d.Kind == dimse.DiagnosisBusy {
		u.breaker.Withdrawn()
	} else {
		u.failed(err)
	}
	return &qr.Unavailable{Reason: d.Words, Err: err}
}

// next waits for the next response to an operation, at most for limit.
func (c *conversation) next(ctx context.Context, p *dimse.Pending, limit time.Duration) (dimse.Response, error) {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := p.Next(waiting)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = &dimse.TimeoutError{Waiting: "a response", Limit: limit}
	}
	return r, err
}

// over ends the conversation: in order if everything was answered, after a C-CANCEL if an operation is under way that the
// archive may yet end, else at once. It takes at most twice windingUp.
func (c *conversation) over(p *dimse.Pending, cancel bool) {
	defer c.leavePlace()
	defer c.association.Close()
	ctx, stop := context.WithTimeout(context.Background(), windingUp)
	defer stop()
	if cancel {
		if p.Cancel(ctx) != nil {
			return
		}
		if _, err := p.Wait(ctx); err != nil {
			return
		}
	}
	_ = c.association.Release(ctx) // how it ends does not matter
}

// granted are the bytes of the archive's answer to the extended negotiation of a SOP class (PS3.4 C.5.1.1.1).
func (c *conversation) granted(sopClass dicom.UID) (information []byte) {
	for _, n := range c.association.AC().ExtendedNegotiations {
		if dicom.UID(n.SOPClassUID) == sopClass {
			return n.Information
		}
	}
	return nil
}

// contextFor is the accepted context of a SOP class.
func (c *conversation) contextFor(sopClass dicom.UID) (dimse.NegotiatedContext, bool) {
	for _, n := range c.association.Contexts() {
		if n.AbstractSyntax == sopClass {
			return n, true
		}
	}
	return dimse.NegotiatedContext{}, false
}

// proposing makes presentation contexts for SOP classes.
func proposing(sopClasses ...dicom.UID) (contexts []pdu.PresentationContext) {
	for i, uid := range sopClasses {
		contexts = append(contexts, pdu.PresentationContext{ID: byte(2*i + 1), AbstractSyntax: string(uid), TransferSyntaxes: identifierSyntaxes})
	}
	return contexts
}
