package dimse

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// dcmtkEnv are the two ways DCMTK is met: as it is shipped, and without Nagle's algorithm.
var dcmtkEnv = map[string][]string{"as shipped": nil, "TCP_NODELAY=1": {"TCP_NODELAY=1"}}

// writeFile makes a Part 10 file of a synthetic instance.
func writeFile(t *testing.T, dir string, o synth.Object) string {
	t.Helper()
	meta := dicom.FileMeta{SOPClassUID: ctImage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: dicom.ExplicitVRLittleEndian}
	path := filepath.Join(dir, o.SOPInstanceUID+".dcm")
	if err := os.WriteFile(path, append(meta.Append(nil), o.Data...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDCMTKAsRequestor(t *testing.T) {
	peertest.Require(t, "echoscu")
	peertest.Require(t, "storescu")
	for name, env := range dcmtkEnv {
		t.Run(name, func(t *testing.T) {
			into := newSink()
			_, address := serve(t, acceptAll(into.mux()), ServerOptions{})
			host, port, _ := net.SplitHostPort(address)
			if out, status := peertest.Run(t, env, "echoscu", host, port); status != 0 {
				t.Fatalf("echoscu: %d\n%s", status, out)
			}
			dir := t.TempDir()
			template := synth.NewTemplate(530_000, 11)
			args := []string{"-xe", host, port}
			var objects []synth.Object
			for i := range 20 {
				o := template.Object(1, 1, i)
				objects = append(objects, o)
				args = append(args, writeFile(t, dir, o))
			}
			for _, size := range [][]string{nil, {"-pdu", "131072", "--max-send-pdu", "131072"}, {"--max-send-pdu", "4096"}} {
				if out, status := peertest.Run(t, env, "storescu", append(size, args...)...); status != 0 {
					t.Fatalf("storescu: %d\n%s", status, out)
				}
			}
			if len(into.seen) != len(objects) {
				t.Errorf("%d instances arrived", len(into.seen))
			}
		})
	}
}

func TestDCMTKAsAcceptor(t *testing.T) {
	for name, env := range dcmtkEnv {
		t.Run(name, func(t *testing.T) {
			peer := peertest.Storescp(t, env, "+B")
			d := &Dialer{LocalAETitle: "TESTER"}
			a, err := d.Dial(t.Context(), peer.Address, Proposal{CalledAETitle: peer.AETitle,
				Contexts: contexts(dicom.VerificationSOPClass, ctImage), AsyncOperationsWindow: 8})
			if err != nil {
				t.Fatal(err)
			}
			if a.Window() != 1 {
				t.Errorf("DCMTK granted a window of %d", a.Window())
			}
			if status, err := a.Echo(t.Context()); err != nil || status != StatusSuccess {
				t.Fatal(status, err)
			}
			template := synth.NewTemplate(530_000, 12)
			want := make(map[[32]byte]bool)
			for i := range 20 {
				o := template.Object(1, 1, i)
				want[sha256.Sum256(o.Data)] = true
				if r, err := a.Store(t.Context(), storeRequest(ctContext(t, a), o)); err != nil || r.Status != StatusSuccess {
					t.Fatal(r.Status, err)
				}
			}
			if err := a.Release(t.Context()); err != nil {
				t.Error(err)
			}
			for _, path := range peer.Files() {
				delete(want, dataSetDigest(t, path))
			}
			if len(want) > 0 {
				t.Errorf("%d instances did not arrive as they were sent", len(want))
			}
		})
	}
}

func dataSetDigest(t *testing.T, path string) [32]byte {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, n, err := dicom.ReadFileMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, n, 1<<40)); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// TestDCMTKGetscu: DCMTK takes C-STORE sub-operations on the association of its C-GET.
func TestDCMTKGetscu(t *testing.T) {
	peertest.Require(t, "getscu")
	template := synth.NewTemplate(100_000, 13)
	const n = 5
	get := ServiceFunc(func(ctx context.Context, w ResponseWriter, rq *Request) {
		_, _ = io.Copy(io.Discard, rq.Data)
		var failed uint16
		id, ok := rq.Association.Accepted(ctImage, dicom.ExplicitVRLittleEndian)
		for i := range n {
			if r, err := rq.Association.Store(ctx, storeRequest(id, template.Object(1, 1, i))); !ok || err != nil || !r.Status.Ok() {
				failed++
			}
		}
		_ = w.Respond(Command{NumberOfFailedSuboperations: &failed}, nil)
	})
	// getscu proposes each class with several transfer syntaxes.
	explicit := func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
		return dicom.ExplicitVRLittleEndian, pdu.ContextAccepted
	}
	h := HandlerFunc(func(_ context.Context, rq *AssociationRequest) (*Acceptance, error) {
		return &Acceptance{Results: Negotiate(rq.RQ, explicit), Service: Mux{CGetRQ: get}, RoleSelections: rq.RQ.RoleSelections}, nil
	})
	_, address := serve(t, h, ServerOptions{})
	host, port, _ := net.SplitHostPort(address)
	dir := t.TempDir()
	out, status := peertest.Run(t, []string{"TCP_NODELAY=1"}, "getscu", "-S", "-od", dir, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3", host, port)
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if status != 0 || len(files) != n {
		t.Errorf("getscu: %d, %d files\n%s", status, len(files), out)
	}
}

// TestDCMTKAborts: an abort where a release would be in order.
func TestDCMTKAborts(t *testing.T) {
	peertest.Require(t, "echoscu")
	w := serveWatched(t, ServerOptions{})
	host, port, _ := net.SplitHostPort(w.address)
	if out, status := peertest.Run(t, nil, "echoscu", "--abort", host, port); status != 0 {
		t.Fatalf("%d\n%s", status, out)
	}
	end := <-w.ends
	if end.Err == nil || !strings.Contains(end.Err.Error(), "aborted by the peer") || end.Performed != 1 {
		t.Errorf("%+v", end)
	}
	w.idle(t)
}

// TestDCMTKConcurrently stores over several associations at once.
func TestDCMTKConcurrently(t *testing.T) {
	peertest.Require(t, "storescu")
	into := newSink()
	_, address := serve(t, acceptAll(into.mux()), ServerOptions{})
	host, port, _ := net.SplitHostPort(address)
	template := synth.NewTemplate(120_000, 14)
	var wg sync.WaitGroup
	for g := range 4 {
		dir := t.TempDir()
		args := []string{"-xe", "-aet", fmt.Sprintf("CT%d", g), host, port}
		for i := range 10 {
			args = append(args, writeFile(t, dir, template.Object(g, 1, i)))
		}
		wg.Go(func() {
			if out, status := peertest.Run(t, []string{"TCP_NODELAY=1"}, "storescu", args...); status != 0 {
				t.Errorf("%d\n%s", status, out)
			}
		})
	}
	wg.Wait()
	if len(into.seen) != 40 {
		t.Errorf("%d instances arrived", len(into.seen))
	}
}
