// Package archive is a stand-in for the archive of the imaging cloud: a storage SCP that keeps no images but a ledger of
// what arrived, with digests, so that a delivery can be proved to the byte. With [Faults] it fails on demand, in the ways
// that archives and the networks before them do. The demonstration and the tests deliver to it.
package archive

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// Options are an archive's settings; the zero value takes everything and never fails.
type Options struct {
	MaximumLength uint32 // offered to senders, as in PS3.8 D.1; 0 takes the engine's default
	Window        uint16 // operations a sender may have outstanding; 0 is one
	Faults        Faults
	// Accept decides on a presentation context; nil takes the first transfer syntax offered, whatever it is.
	Accept   dimse.ContextPolicy
	Services dimse.Mux    // beside C-ECHO and C-STORE
	Logger   *slog.Logger // nil discards
	NoDigest bool         // only count: digests are zero and conflicts go unnoticed
}

// Entry is what the ledger holds of one SOP instance.
type Entry struct {
	Digest    [sha256.Size]byte // SHA-256 of the data set as first answered with success
	Bytes     int64
	Answered  int  // times it was received whole and answered with success, or is being answered
	Unsure    int  // times it was received whole and the answer may not have reached the sender
	Conflicts int  // times it came again with other content
	Warned    bool // answered with a warning at least once
	First     time.Time
}

// Counts sum up the ledger.
type Counts struct {
	Instances, Duplicates, Unsure, Conflicts int
	Bytes                                    int64
	Associations, Rejected, Aborted          int
}

// Archive is the SCP. It is ready when Listen returns and ends with Close.
type Archive struct {
	o Options

	mu     sync.Mutex
	first  time.Time // when the first and the latest new instance were entered
	last   time.Time
	ledger map[dicom.UID]*Entry
	counts Counts
	dice   *dice
	server *dimse.Server
	closed bool
	done   sync.WaitGroup
}

// Listen starts an archive at address ("127.0.0.1:0" takes a free port) and returns it with the address it has.
func Listen(address string, o Options) (*Archive, string, error) {
	a := &Archive{o: o, ledger: map[dicom.UID]*Entry{}, dice: newDice(o.Faults.Seed)}
	if a.o.Accept == nil {
		a.o.Accept = func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
			return offered[0], pdu.ContextAccepted
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, "", err
	}
	address = l.Addr().String()
	if err := a.serve(l); err != nil {
		l.Close()
		return nil, "", err
	}
	if f := o.Faults; f.UpFor > 0 && f.DownFor > 0 {
		a.done.Go(func() { a.flap(address) })
	}
	return a, address, nil
}

// serve runs a server of its own on l until that is closed.
func (a *Archive) serve(l net.Listener) error {
	server, err := dimse.NewServer(a, dimse.ServerOptions{
		MaxAssociations: 1000, MaxPerAddress: 1000, MaximumLength: a.o.MaximumLength, Logger: a.o.Logger,
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.server = server
	a.mu.Unlock()
	a.done.Go(func() { server.Serve(l) })
	return nil
}

// Close ends all associations and waits for them.
func (a *Archive) Close() error {
	a.mu.Lock()
	a.closed = true
	server := a.server
	a.mu.Unlock()
	err := server.Close()
	a.done.Wait()
	return err
}

// Associate implements dimse.Handler.
func (a *Archive) Associate(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	a.mu.Lock()
	a.counts.Associations++
	reject := a.dice.hits(a.o.Faults.RejectRate)
	if reject {
		a.counts.Rejected++
	}
	a.mu.Unlock()
	if reject {
		return nil, dimse.RejectCongestion("a fault was asked for")
	}
	services := dimse.Mux{dimse.CEchoRQ: dimse.Echo(), dimse.CStoreRQ: dimse.ServiceFunc(a.store)}
	maps.Copy(services, a.o.Services)
	return &dimse.Acceptance{
		Results:               dimse.Negotiate(rq.RQ, a.o.Accept),
		Service:               services,
		AsyncOperationsWindow: &pdu.AsyncOperationsWindow{Invoked: max(a.o.Window, 1), Performed: 1},
	}, nil
}

// digester counts what is written to it and hashes it, unless hash is nil.
type digester struct {
	hash hash.Hash
	n    int64
}

func (d *digester) Write(b []byte) (int, error) {
	d.n += int64(len(b))
	if d.hash == nil {
		return len(b), nil
	}
	return d.hash.Write(b)
}

func (d *digester) sum() (digest [sha256.Size]byte) {
	if d.hash != nil {
		d.hash.Sum(digest[:0])
	}
	return digest
}

// store answers a C-STORE-RQ (PS3.7 9.1.1), or fails as asked.
func (a *Archive) store(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
	fault := a.nextFault()
	if fault == faultAbortEarly {
		io.CopyN(io.Discard, rq.Data, 1000)
		a.abort(rq)
		return
	}
	d := &digester{}
	if !a.o.NoDigest {
		d.hash = sha256.New()
	}
	if _, err := io.Copy(d, rq.Data); err != nil {
		return // the association is gone, and with it the instance
	}
	if a.o.Faults.Delay > 0 {
		select {
		case <-time.After(a.o.Faults.Delay):
		case <-ctx.Done():
		}
	}
	switch fault {
	case faultStatus:
		w.Respond(dimse.Command{Status: dimse.Status(a.o.Faults.Status)}, nil)
		return
	case faultLoseAnswer:
		a.record(rq.Command.AffectedSOPInstanceUID, d, false, false)
		a.abort(rq)
		return
	case faultStall:
		a.record(rq.Command.AffectedSOPInstanceUID, d, false, false)
		<-ctx.Done()
		return
	}
	status := dimse.Status(0)
	if fault == faultWarning {
		status = 0xB000
	}
	// Entered first: whoever has been told that an instance arrived finds it in the ledger.
	a.record(rq.Command.AffectedSOPInstanceUID, d, true, fault == faultWarning)
	if err := w.Respond(dimse.Command{Status: status}, nil); err != nil {
		a.unanswered(rq.Command.AffectedSOPInstanceUID)
	}
}

func (a *Archive) abort(rq *dimse.Request) {
	a.mu.Lock()
	a.counts.Aborted++
	a.mu.Unlock()
	rq.Association.Abort()
}

// record enters an instance into the ledger. answered tells whether success went out.
func (a *Archive) record(sop dicom.UID, d *digester, answered, warned bool) {
	digest := d.sum()
	a.mu.Lock()
	e := a.ledger[sop]
	switch {
	case e == nil:
		e = &Entry{Digest: digest, Bytes: d.n, First: time.Now()}
		if a.last = e.First; len(a.ledger) == 0 {
			a.first = e.First
		}
		a.ledger[sop] = e
		a.counts.Instances++
		a.counts.Bytes += d.n
	case e.Digest != digest:
		e.Conflicts++
		a.counts.Conflicts++
	default:
		a.counts.Duplicates++
	}
	e.Warned = e.Warned || warned
	if answered {
		e.Answered++
	} else {
		e.Unsure++
		a.counts.Unsure++
	}
	a.mu.Unlock()
}

// unanswered takes back that success went out for an instance of the ledger.
func (a *Archive) unanswered(sop dicom.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.ledger[sop]
	e.Answered--
	e.Unsure++
	a.counts.Unsure++
}

// Lookup returns the ledger's entry of an instance.
func (a *Archive) Lookup(sop dicom.UID) (Entry, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.ledger[sop]
	if !ok {
		return Entry{}, false
	}
	return *e, true
}

// Digest returns the digest of an instance that was answered with success, and whether there is one. Where other content
// came under the same UID, none is right and the digest is zero.
func (a *Archive) Digest(sop dicom.UID) ([sha256.Size]byte, bool) {
	e, ok := a.Lookup(sop)
	if e.Conflicts > 0 {
		return [sha256.Size]byte{}, true
	}
	return e.Digest, ok && e.Answered > 0
}

// Walk visits a copy of the ledger.
func (a *Archive) Walk(visit func(sop dicom.UID, e Entry)) {
	a.mu.Lock()
	all := make(map[dicom.UID]Entry, len(a.ledger))
	for uid, e := range a.ledger {
		all[uid] = *e
	}
	a.mu.Unlock()
	for uid, e := range all {
		visit(uid, e)
	}
}

// Span returns when the first and when the latest new instance arrived.
func (a *Archive) Span() (first, last time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first, a.last
}

// Counts returns the sums so far.
func (a *Archive) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts
}
