package dimse

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

// Dialer requests associations. Its fields must not be changed once it is in use; it is safe
// for concurrent use then.
type Dialer struct {
	LocalAETitle string // calling AE title of proposals that have none
	// Timeouts bound what the peer may take. ARTIM also bounds the wait for the answer to the
	// request and for the A-RELEASE-RP. There is no idle timeout by default.
	Timeouts
	ConnectTimeout time.Duration // of the transport and TLS; default 10 s
	// MaximumLength is the longest P-DATA-TF we offer to receive, in bytes. Default
	// pdu.DefaultMaximumLength.
	MaximumLength uint32
	// MaximumSentLength is the longest P-DATA-TF to be sent, in bytes, where the peer takes longer
	// ones. 0 leaves it to the peer.
	MaximumSentLength uint32

	TLS        *tls.Config           // nil: none. TLS 1.2 is the least unless MinVersion is set.
	Logger     *slog.Logger          // nil: discard
	Registerer prometheus.Registerer // nil: metrics are kept for nobody

	once    sync.Once
	err     error
	metrics *instruments
	limits  Timeouts
	log     *slog.Logger
}

// Proposal is an association to be requested.
type Proposal struct {
	CalledAETitle  string
	CallingAETitle string // default: the Dialer's LocalAETitle
	Contexts       []pdu.PresentationContext
	// AsyncOperationsWindow is how many operations we would like to have outstanding; up to 1 is
	// not negotiated, 0 offers nothing.
	AsyncOperationsWindow uint16
	// PerformedWindow is how many operations of the peer we would perform at once, where Service
	// is set. Default 1.
	PerformedWindow            uint16
	RoleSelections             []pdu.RoleSelection
	ExtendedNegotiations       []pdu.ExtendedNegotiation
	CommonExtendedNegotiations []pdu.CommonExtendedNegotiation
	UserIdentity               *pdu.UserIdentity
	// Service answers requests that come from the acceptor, such as the C-STORE sub-operations
	// of a C-GET or N-EVENT-REPORT; nil refuses them.
	Service Service
}

func (d *Dialer) init() error {
	d.once.Do(func() {
		d.limits = d.Timeouts.withDefaults(-1)
		d.log = d.Logger
		if d.log == nil {
			d.log = slog.New(slog.DiscardHandler)
		}
		d.metrics, d.err = newInstruments(d.Registerer)
	})
	return d.err
}

// Dial connects to address ("host:port") and requests an association. Errors are *RejectError,
// *AbortError, *TimeoutError, ctx's, or of the transport, wrapped. An association of which no
// context was accepted is a success; see Association.Accepted. ctx bounds Dial only.
func (d *Dialer) Dial(ctx context.Context, address string, rq Proposal) (*Association, error) {
	if err := d.init(); err != nil {
		return nil, err
	}
	a, err := d.dial(ctx, address, rq)
	if err != nil {
		return nil, fmt.Errorf("association with %s at %s: %w", pdu.Printable(rq.CalledAETitle), address, err)
	}
	return a, nil
}

func (d *Dialer) dial(ctx context.Context, address string, rq Proposal) (*Association, error) {
	conn, state, err := d.connect(ctx, address)
	if err != nil {
		d.metrics.requests[outbound][outcomeOf(false, err)].Inc()
		return nil, err
	}
	return d.over(ctx, conn, state, rq)
}

// over requests an association over a connection, with the state of TLS if it has that.
func (d *Dialer) over(ctx context.Context, conn net.Conn, state *tls.ConnectionState, rq Proposal) (*Association, error) {
	a := newAssociation(outbound, conn, d.limits, d.maximumLength(), d.metrics, d.log)
	a.remote, a.tls = remoteAddress(conn), state
	if a.service = rq.Service; a.service == nil {
		a.service = noService
	}
	a.sendCap = d.MaximumSentLength
	a.rq = d.request(rq)
	err := a.request(ctx)
	d.metrics.settleRequest(a)
	if err != nil {
		a.stop()
		return nil, err
	}
	go a.run()
	return a, nil
}

func (d *Dialer) maximumLength() uint32 {
	if d.MaximumLength == 0 {
		return pdu.DefaultMaximumLength
	}
	return d.MaximumLength
}

// connect opens the transport, with TLS if configured.
func (d *Dialer) connect(ctx context.Context, address string) (net.Conn, *tls.ConnectionState, error) {
	timeout := d.ConnectTimeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	tuned := tune(conn)
	if d.TLS == nil {
		return tuned, nil, nil
	}
	config := tlsConfig(d.TLS)
	if config.ServerName == "" && !config.InsecureSkipVerify {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	c := tls.Client(tuned, config)
	state, err := handshake(ctx, c, time.Now().Add(timeout))
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("TLS: %w", err)
	}
	return c, state, nil
}

// request makes the A-ASSOCIATE-RQ of a proposal.
func (d *Dialer) request(p Proposal) *pdu.AssociateRQ {
	calling := p.CallingAETitle
	if calling == "" {
		calling = d.LocalAETitle
	}
	rq := &pdu.AssociateRQ{
		ProtocolVersion:      pdu.ProtocolVersion1,
		CalledAETitle:        p.CalledAETitle,
		CallingAETitle:       calling,
		ApplicationContext:   pdu.ApplicationContextName,
		PresentationContexts: p.Contexts,
		UserInformation: pdu.UserInformation{
			MaximumLength:              d.maximumLength(),
			ImplementationClassUID:     string(dicom.ImplementationClassUID),
			ImplementationVersionName:  dicom.ImplementationVersionName,
			RoleSelections:             p.RoleSelections,
			ExtendedNegotiations:       p.ExtendedNegotiations,
			CommonExtendedNegotiations: p.CommonExtendedNegotiations,
			UserIdentity:               p.UserIdentity,
		},
	}
	if p.AsyncOperationsWindow > 1 || p.PerformedWindow > 1 {
		rq.AsyncOperationsWindow = &pdu.AsyncOperationsWindow{
			Invoked:   min(max(p.AsyncOperationsWindow, 1), MaxOperations),
			Performed: min(max(p.PerformedWindow, 1), MaxOperations),
		}
	}
	return rq
}

// request takes the requestor from Sta1 to Sta6, or ends the connection. ARTIM stands in for the
// timer that PS3.8 leaves to the local user.
func (a *Association) request(ctx context.Context) error {
	a.startARTIM()
	stop := context.AfterFunc(ctx, func() { a.stream.fix(time.Unix(1, 0)) })
	defer stop()
	if err := a.fire(evt1AssociateRequest, nil); err != nil {
		return err
	}
	if err := a.fire(evt2TransportConfirm, &occurrence{pdu: a.rq}); err != nil {
		a.failed(err)
		return err
	}
	for a.fsm.current() == sta5 {
		if err := a.takePDU(); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			} else if isTimeout(err) {
				err = &TimeoutError{"the answer to the association request", a.limits.ARTIM}
			}
			a.failed(err)
		}
	}
	if a.fsm.current() == sta6 {
		if !stop() { // ctx ended in the last moment
			a.note(a.abort(ctx.Err()))
		} else {
			a.stream.unfix()
			return nil
		}
	}
	a.hasty.Store(true)
	a.awaitClose()
	return a.Err()
}
