package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	wire "encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// associateRequest is an A-ASSOCIATE-RQ as it goes over the wire.
func associateRequest(t testing.TB, contexts ...pdu.PresentationContext) []byte {
	t.Helper()
	b, err := (&pdu.AssociateRQ{
		ProtocolVersion: 1, CalledAETitle: "DCMGATE", CallingAETitle: "CT1", ApplicationContext: pdu.ApplicationContextName,
		PresentationContexts: contexts,
		UserInformation:      pdu.UserInformation{MaximumLength: 16384, ImplementationClassUID: "1.2.3"},
	}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// storeMessage is a C-STORE-RQ of a data set as it goes over the wire.
func storeMessage(t testing.TB, sop dicom.UID, dataSet []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pdu.NewWriter(&b, 1<<16)
	rq := dimse.Command{CommandField: dimse.CStoreRQ, MessageID: 1, HasDataSet: true,
		AffectedSOPClassUID: synth.CTImageStorage, AffectedSOPInstanceUID: sop}
	if err := w.Command(1, rq.Append(nil), 16384); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Data(1, bytes.NewReader(dataSet), int64(len(dataSet)), 16384); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// from connects from an address of the loopback network.
func from(local, to string) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// usage is what a process holds of memory and descriptors.
type usage struct {
	resident    int64 // bytes
	descriptors int
}

func (g *gate) usage(t testing.TB) usage {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", g.process.PID())
	text, err := os.ReadFile(proc + "statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	return usage{pages * int64(os.Getpagesize()), len(fds)}
}

// lives fails the test if the gateway has ended, has panicked or is not healthy.
func (g *gate) lives(t testing.TB) {
	t.Helper()
	select {
	case <-g.process.Exited():
		t.Fatalf("the gateway has ended: %s", g.process.Output())
	default:
	}
	if out := g.process.Output(); strings.Contains(out, "panic") || strings.Contains(out, "goroutine ") {
		t.Errorf("a panic: %s", out)
	}
	if g.metric(t, "dcmgate_spool_healthy") != 1 {
		t.Error("the spool is not healthy")
	}
}

// quiet waits until no association is left.
func (g *gate) quiet(t testing.TB) {
	t.Helper()
	peertest.Eventually(t, 20*time.Second, "no incoming association left", func() bool {
		return g.metric(t, "dcmgate_associations", `direction="in"`) == 0
	})
}

// echo does a C-ECHO from a loopback address, which the dialer cannot choose.
func echo(t testing.TB, local, address string) error {
	t.Helper()
	c, err := from(local, address)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	c.Write(associateRequest(t, pdu.PresentationContext{ID: 1, AbstractSyntax: string(dicom.VerificationSOPClass),
		TransferSyntaxes: []string{string(dicom.ImplicitVRLittleEndian)}}))
	r := pdu.NewReader(c, 1<<16, pdu.Limits{})
	if h, err := r.Next(); err != nil || h.Type != pdu.TypeAssociateAC {
		return fmt.Errorf("answer to the association request: %v, %v", h.Type, err)
	} else if _, err := r.Decode(); err != nil {
		return err
	}
	rq := dimse.Command{CommandField: dimse.CEchoRQ, MessageID: 1, AffectedSOPClassUID: dicom.VerificationSOPClass}
	w := pdu.NewWriter(c, 1<<12)
	if err := w.Command(1, rq.Append(nil), 16384); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if h, err := r.Next(); err != nil || h.Type != pdu.TypePData {
		return fmt.Errorf("answer to the echo: %v, %v", h.Type, err)
	}
	return nil
}

// TestFlood opens a thousand connections at once, none of which behaves. A modality that is sending goes on, others get
// through, memory and descriptors stay bounded, and in the end all is as before.
func TestFlood(t *testing.T) {
	g := newGate(t, "")
	g.reconfigure(t, "accept: any}", "accept: any, max_associations: 8, timeouts: {association: 3s, idle: 10s, pdu: 3s}}")
	g.start(t)
	m := newModality(g.address, 20<<10, 1)
	a, err := m.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() {
		for ctx.Err() == nil {
			if status, err := m.send(t.Context(), a); err != nil || status != dimse.StatusSuccess {
				t.Errorf("the modality's instance: %v, %v", status, err)
				return
			}
		}
		if err := a.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
	peertest.Eventually(t, 10*time.Second, "some instances", func() bool { return m.count() > 20 })
	peertest.Eventually(t, 20*time.Second, "rows, since their database stays open", func() bool { return g.metric(t, "dcmgate_views_rows_total") > 0 })
	calm, goroutines := g.usage(t), g.metric(t, "go_goroutines")

	flood := startFlood(t, g.address, 1000)
	begun, worst := m.count(), calm
	echoes := 0
	for flood.left() > 0 {
		u := g.usage(t)
		worst.resident, worst.descriptors = max(worst.resident, u.resident), max(worst.descriptors, u.descriptors)
		if err := echo(t, "127.0.0.9", g.address); err != nil {
			t.Errorf("echo from another address: %v", err)
		}
		echoes++
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d instances and %d echoes during the flood; resident %d MiB, before %d; descriptors %d, before %d",
		m.count()-begun, echoes, worst.resident>>20, calm.resident>>20, worst.descriptors, calm.descriptors)
	if m.count()-begun < 20 {
		t.Errorf("the modality got only %d instances through", m.count()-begun)
	}
	if worst.resident > residentLimit || worst.descriptors > calm.descriptors+200 {
		t.Errorf("during the flood: %+v, before it %+v", worst, calm)
	}
	stop()
	sending.Wait()
	g.quiet(t)
	peertest.Eventually(t, 20*time.Second, "descriptors and goroutines as before", func() bool {
		return g.usage(t).descriptors <= calm.descriptors && g.metric(t, "go_goroutines") <= goroutines
	})
	g.lives(t)
}

func (m *modality) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.acked)
}

// flood is a crowd of connections that are held until the other side closes them.
type flood struct {
	mu   sync.Mutex
	open int
}

func (f *flood) left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// startFlood opens n connections from one address. Every one must be closed by the gateway.
func startFlood(t *testing.T, address string, n int) *flood {
	request := associateRequest(t, ctContexts()...)
	garbage := make([]byte, 100_000)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	endless := append([]byte{byte(pdu.TypeAssociateRQ), 0, 0xff, 0xff, 0xff, 0xff}, request[6:]...)
	data := []byte{byte(pdu.TypePData), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 1, 2}
	openings := [][]byte{nil, garbage, []byte("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"),
		{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4}, request[:len(request)/2], request[:1], endless, data}
	f := &flood{open: n}
	for i := range n {
		go func() {
			defer func() {
				f.mu.Lock()
				f.open--
				f.mu.Unlock()
			}()
			c, err := from("127.0.0.1", address)
			if err != nil {
				return // refused: as good as closed
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(2 * time.Minute))
			if i%(len(openings)+1) == len(openings) {
				go trickle(c, request)
			} else {
				c.Write(openings[i%(len(openings)+1)])
			}
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Errorf("connection %d of kind %d was never closed", i, i%(len(openings)+1))
			}
		}()
	}
	return f
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// trickle sends a byte now and then until nobody listens.
func trickle(c net.Conn, b []byte) {
	for i := range b {
		if _, err := c.Write(b[i : i+1]); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestSilentHostsKeepNobodyOut holds five hundred silent connections from each of two hosts;
// a third associates all the same.
func TestSilentHostsKeepNobodyOut(t *testing.T) {
	g := newGate(t, "")
	g.start(t)
	for _, host := range []string{"127.0.0.2", "127.0.0.3"} {
		for range 500 {
			c, err := from(host, g.address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
	for range 10 {
		if err := echo(t, "127.0.0.4", g.address); err != nil {
			t.Error(err)
		}
	}
	if n := g.metric(t, "dcmgate_association_requests_total", `direction="in"`, `outcome="overload"`); n < 800 {
		t.Errorf("%v connections were closed to make room", n)
	}
}

// TestIdleAssociationsTakeAllPlaces leaves the place for C-ECHO free, and a place that is given up serves the next.
func TestIdleAssociationsTakeAllPlaces(t *testing.T) {
	g := newGate(t, "")
	g.reconfigure(t, "accept: any}", "accept: any, max_associations: 4}")
	g.start(t)
	m := newModality(g.address, 1000, 1)
	var idle []*dimse.Association
	for range 4 {
		a, err := m.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		idle = append(idle, a)
	}
	if a, err := m.dial(t.Context()); !rejectedTransiently(err) {
		t.Errorf("one association too many: %v, want a transient rejection", err)
		if err == nil {
			a.Close()
		}
	}
	for range 2 {
		if out, status := peertest.Run(t, nil, binary, "echo", g.address); status != 0 {
			t.Errorf("echo while all places are taken: exit status %d\n%s", status, out)
		}
	}
	if status, err := m.send(t.Context(), idle[0]); err != nil || status != dimse.StatusSuccess {
		t.Errorf("an instance over an association that was idle: %v, %v", status, err)
	}
	idle[1].Release(t.Context())
	peertest.Eventually(t, 10*time.Second, "a place for the next", func() bool {
		a, err := m.dial(t.Context())
		if err == nil {
			a.Release(t.Context())
		}
		return err == nil
	})
	for _, a := range idle {
		a.Close()
	}
	g.quiet(t)
	g.lives(t)
}

// allocated is what a folder takes on disk.
func allocated(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
			return nil // a file may go while the folder is read
		} else if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPeersThatDisappear cuts, aborts and abandons data sets in the middle, again and again: nothing of them is kept and
// no space is lost.
func TestPeersThatDisappear(t *testing.T) {
	cloud, address := startArchive(t, archive.Options{})
	g := newGate(t, "spool: {segment_size: 16MiB}\n", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.reconfigure(t, "accept: any}", "accept: any, timeouts: {association: 1s, pdu: 1s}}")
	g.start(t)
	o := synth.NewTemplate(20<<20, 1).Object(1, 1, 1)
	message := storeMessage(t, dicom.UID(o.SOPInstanceUID), o.Data)
	request := associateRequest(t, ctContexts()...)
	abort, err := (&pdu.Abort{}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	vanish := func(how int) {
		c, err := associated(g.address, request)
		if err != nil {
			t.Errorf("no answer to the association request: %v", err)
			return
		}
		defer c.Close()
		// Up to the end of a PDU for an abort, into the middle of one otherwise.
		part := message[:len(message)*3/4]
		if how == 1 {
			part = wholePDUs(part)
		}
		c.Write(part)
		switch how {
		case 0: // the connection is reset
			c.SetLinger(0)
		case 1:
			c.Write(abort)
			io.Copy(io.Discard, c)
		case 2: // the cable is pulled: the gateway has to notice
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Error("an abandoned association was never ended")
			}
		}
	}
	round := func() int64 {
		var peers sync.WaitGroup
		for i := range 9 {
			peers.Go(func() { vanish(i % 4) })
		}
		peers.Wait()
		g.quiet(t)
		return allocated(t, filepath.Join(g.data, "segments"))
	}
	first := round()
	if now := round(); now > first+16<<20 {
		t.Errorf("the segments grew from %d to %d MiB though nothing was stored", first>>20, now>>20)
	}
	if n, b := g.metric(t, "dcmgate_spool_instances"), g.metric(t, "dcmgate_spool_bytes"); n != 0 || b != 0 {
		t.Errorf("%v instances of %v bytes are kept", n, b)
	}
	m := newModality(g.address, 20<<20, 2)
	a, err := m.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status, err := m.send(t.Context(), a); err != nil || status != dimse.StatusSuccess {
		t.Errorf("an instance afterwards: %v, %v", status, err)
	}
	a.Release(t.Context())
	expect(t, cloud, m.acked)
	g.lives(t)
	g.process.Kill()
	g.start(t)
	g.says(t, "torn=0") // not what was cut
	if out, status := g.verifyOffline(t); status != 0 || !strings.Contains(out, "1 instance,") {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// associated connects and sends an association request until it is answered: a machine may be so busy that it is not sent in
// the second that the gateway waits for it.
func associated(address string, request []byte) (*net.TCPConn, error) {
	for tries := 0; ; tries++ {
		c, err := from("127.0.0.1", address)
		if err != nil {
			return nil, err
		}
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		c.Write(request)
		if _, err = io.ReadFull(c, make([]byte, 6)); err == nil {
			return c, nil
		}
		c.Close()
		if tries == 10 {
			return nil, err
		}
	}
}

// wholePDUs cuts a stream at the end of its last whole PDU.
func wholePDUs(b []byte) []byte {
	for at := 0; ; {
		if len(b)-at < 6 {
			return b[:at]
		}
		end := at + 6 + int(wire.BigEndian.Uint32(b[at+2:]))
		if end > len(b) {
			return b[:at]
		}
		at = end
	}
}

// malformed are data sets that no sender should send, by transfer syntax.
func malformed() map[string]struct {
	syntax dicom.UID
	data   []byte
} {
	good := synth.NewTemplate(3000, 7).Object(1, 1, 1).Data
	garbage := make([]byte, 50_000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	element := func(group, number uint16, vr string, length uint16, value string) []byte {
		b := wire.LittleEndian.AppendUint16(nil, group)
		b = wire.LittleEndian.AppendUint16(b, number)
		return append(wire.LittleEndian.AppendUint16(append(b, vr...), length), value...)
	}
	sequence := func(n int) []byte { // that never ends, within itself
		return bytes.Repeat(append(append(element(0x0008, 0x1140, "SQ", 0, ""), 0xff, 0xff, 0xff, 0xff),
			0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff), n)
	}
	wrongVR := bytes.ReplaceAll(bytes.Clone(good), []byte("LO"), []byte("\x00\x00"))
	return map[string]struct {
		syntax dicom.UID
		data   []byte
	}{
		"nothing":              {dicom.ExplicitVRLittleEndian, nil},
		"a byte":               {dicom.ExplicitVRLittleEndian, []byte{8}},
		"half a header":        {dicom.ExplicitVRLittleEndian, good[:7]},
		"truncated value":      {dicom.ExplicitVRLittleEndian, good[:201]},
		"truncated pixels":     {dicom.ExplicitVRLittleEndian, good[:len(good)-1001]},
		"trailing garbage":     {dicom.ExplicitVRLittleEndian, append(bytes.Clone(good), garbage[:999]...)},
		"garbage":              {dicom.ExplicitVRLittleEndian, garbage},
		"garbage implicit":     {dicom.ImplicitVRLittleEndian, garbage},
		"garbage big endian":   {dicom.ExplicitVRBigEndian, garbage},
		"garbage deflated":     {dicom.DeflatedExplicitVRLittleEndian, garbage},
		"garbage JPEG":         {dicom.JPEGBaseline, garbage},
		"explicit as implicit": {dicom.ImplicitVRLittleEndian, good},
		"little as big endian": {dicom.ExplicitVRBigEndian, good},
		"not deflated":         {dicom.DeflatedExplicitVRLittleEndian, good},
		"wrong VRs":            {dicom.ExplicitVRLittleEndian, wrongVR},
		"long value":           {dicom.ExplicitVRLittleEndian, append(element(0x0008, 0x0005, "CS", 0xfffe, ""), garbage...)},
		"odd length":           {dicom.ExplicitVRLittleEndian, append(element(0x0008, 0x0005, "CS", 3, "ABC"), good...)},
		"deep nesting":         {dicom.ExplicitVRLittleEndian, sequence(20_000)},
		"descending tags":      {dicom.ExplicitVRLittleEndian, append(bytes.Clone(good), good...)},
		"large text": {dicom.ExplicitVRLittleEndian, append(bytes.Repeat(element(0x0009, 0x1010, "LO", 64, strings.Repeat("x", 64)), 50_000),
			good...)},
	}
}

// TestMalformedDataSets sends data sets that are not: each is either stored and delivered to the byte, or refused with a
// failure; the association goes on, and so does the gateway.
func TestMalformedDataSets(t *testing.T) {
	cloud, address := startArchive(t, archive.Options{})
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	var contexts []pdu.PresentationContext
	ids := map[dicom.UID]byte{}
	for _, c := range malformed() {
		if ids[c.syntax] == 0 {
			id := byte(2*len(contexts) + 1)
			ids[c.syntax] = id
			contexts = append(contexts, pdu.PresentationContext{ID: id, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{string(c.syntax)}})
		}
	}
	var dialer dimse.Dialer
	a, err := dialer.Dial(t.Context(), g.address, dimse.Proposal{CalledAETitle: "DCMGATE", CallingAETitle: "CT1", Contexts: contexts})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	want, n := sums{}, 0
	for name, c := range malformed() {
		n++
		sop := dicom.UID(fmt.Sprintf("2.25.9%d", n))
		response, err := a.Store(t.Context(), dimse.StoreRequest{ContextID: ids[c.syntax], SOPClassUID: synth.CTImageStorage,
			SOPInstanceUID: sop, Data: bytes.NewReader(c.data), Size: int64(len(c.data))})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, response.Status)
		switch {
		case response.Status == dimse.StatusSuccess:
			want[sop] = sha256.Sum256(c.data)
		case response.Status.Class() != dimse.ClassFailure, response.Status == dimse.StatusProcessingFailure, response.Status == dimse.StatusOutOfResources:
			t.Errorf("%s: refused with %v", name, response.Status)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	expect(t, cloud, want)
	g.quiet(t)
	g.lives(t)
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestMutatedStreams sends whole sessions with a few bytes changed: whatever that means, each ends, and nothing is left.
func TestMutatedStreams(t *testing.T) {
	g := newGate(t, "")
	g.reconfigure(t, "accept: any}", "accept: any, timeouts: {association: 1s, idle: 1s, pdu: 1s}}")
	g.start(t)
	random := rand.New(rand.NewPCG(5, 6))
	request := associateRequest(t, ctContexts()...)
	limit := make(chan struct{}, 16)
	var peers sync.WaitGroup
	for i := range 300 {
		o := synth.NewTemplate(3000, 11).Object(1, 1, i)
		b := append(bytes.Clone(request), storeMessage(t, dicom.UID(o.SOPInstanceUID), o.Data)...)
		b = append(b, byte(pdu.TypeReleaseRQ), 0, 0, 0, 0, 4, 0, 0, 0, 0)
		low := 0
		if i%2 == 1 { // let every other get past the association request
			low = len(request)
		}
		for range 1 + random.IntN(4) {
			// Headers and commands come first: mostly those are changed.
			b[low+random.IntN(min(len(b)-low, 400))] = byte(random.Uint32())
		}
		limit <- struct{}{}
		peers.Go(func() {
			defer func() { <-limit }()
			c, err := from("127.0.0.1", g.address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(2 * time.Minute))
			if err := session(c, b[:len(request)], b[len(request):]); isTimeout(err) {
				t.Errorf("session %d did not end", i)
			}
		})
	}
	peers.Wait()
	g.quiet(t)
	g.lives(t)
	t.Logf("%v instances were stored", g.metric(t, "dcmgate_spool_instances"))
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// session sends a request, waits for its answer, sends the rest, and reads until the association ends.
func session(c net.Conn, request, rest []byte) error {
	c.Write(request)
	r := pdu.NewReader(c, 1<<16, pdu.Limits{})
	for {
		h, err := r.Next()
		if err != nil {
			return err
		}
		switch h.Type {
		case pdu.TypeAssociateAC:
			c.Write(rest)
		case pdu.TypePData:
			for err == nil {
				if _, err = r.Fragment(); err == nil {
					_, err = io.Copy(io.Discard, r)
				}
			}
			if err == io.EOF {
				continue
			}
			return err
		default:
			return nil // rejected, aborted or released: it is for us to close
		}
		if _, err := r.Decode(); err != nil {
			return err
		}
	}
}
