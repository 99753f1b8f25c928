package dimse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

const ctImage = dicom.UID(synth.CTImageStorage)

// acceptAll admits everybody and every context in its first transfer syntax.
func acceptAll(service Service) HandlerFunc {
	return func(_ context.Context, rq *AssociationRequest) (*Acceptance, error) {
		return &Acceptance{Results: Negotiate(rq.RQ, firstOffered), Service: service,
			AsyncOperationsWindow: &pdu.AsyncOperationsWindow{},
			RoleSelections:        rq.RQ.RoleSelections, ExtendedNegotiations: rq.RQ.ExtendedNegotiations}, nil
	}
}

func firstOffered(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
	if len(offered) == 0 {
		return "", pdu.ContextTransferSyntaxesNotSupported
	}
	return offered[0], pdu.ContextAccepted
}

// serve runs a server on loopback until the test ends and returns its address.
func serve(t testing.TB, h Handler, o ServerOptions) (*Server, string) {
	t.Helper()
	s, err := NewServer(h, o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

func contexts(abstract ...dicom.UID) []pdu.PresentationContext {
	var list []pdu.PresentationContext
	for i, uid := range abstract {
		list = append(list, pdu.PresentationContext{ID: byte(2*i + 1), AbstractSyntax: string(uid),
			TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian)}})
	}
	return list
}

// dial requests an association for Verification and CT images; it is closed when the test ends.
func dial(t testing.TB, address string, change func(*Dialer, *Proposal)) *Association {
	t.Helper()
	d := &Dialer{LocalAETitle: "TESTER"}
	p := Proposal{CalledAETitle: "DCMGATE", Contexts: contexts(dicom.VerificationSOPClass, ctImage)}
	if change != nil {
		change(d, &p)
	}
	a, err := d.Dial(t.Context(), address, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func ctContext(t testing.TB, a *Association) byte {
	t.Helper()
	id, ok := a.Accepted(ctImage, dicom.ExplicitVRLittleEndian)
	if !ok {
		t.Fatal("CT context was not accepted")
	}
	return id
}

func storeRequest(id byte, o synth.Object) StoreRequest {
	return StoreRequest{ContextID: id, SOPClassUID: ctImage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID),
		Data: bytes.NewReader(o.Data), Size: int64(len(o.Data))}
}

// sink is a C-STORE service that remembers the digests of what it was sent.
type sink struct {
	mu   sync.Mutex
	seen map[dicom.UID][32]byte
}

func newSink() *sink { return &sink{seen: make(map[dicom.UID][32]byte)} }

func (s *sink) store(_ context.Context, rq *Request) (Status, string) {
	h := sha256.New()
	if _, err := io.Copy(h, rq.Data); err != nil {
		return StatusProcessingFailure, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[rq.Command.AffectedSOPInstanceUID] = [32]byte(h.Sum(nil))
	return StatusSuccess, ""
}

func (s *sink) check(t testing.TB, o synth.Object) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[dicom.UID(o.SOPInstanceUID)] != sha256.Sum256(o.Data) {
		t.Errorf("instance %s did not arrive as it was sent", o.SOPInstanceUID)
	}
}

func (s *sink) mux() Mux { return Mux{CEchoRQ: Echo(), CStoreRQ: StoreFunc(s.store)} }

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// noLeaks fails the test if goroutines of this package outlive it. It is to be called first.
func noLeaks(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		var stacks string
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			buf := make([]byte, 1<<20)
			stacks = string(buf[:runtime.Stack(buf, true)])
			if !strings.Contains(stacks, "dimse.(*Association)") && !strings.Contains(stacks, "dimse.(*Server)") {
				return
			}
		}
		t.Errorf("goroutines are left:\n%s", stacks)
	})
}
