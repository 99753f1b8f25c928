package qr

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// getter is a requestor of C-GET and the SCP that it is sent to.
type getter struct {
	t        testing.TB
	ended    atomic.Int64 // requests that the SCP has done with
	log      syncBuffer
	timeouts dimse.Timeouts // of the SCP
	syntax   dicom.UID      // in which it takes instances; Explicit VR Little Endian if empty

	mu     sync.Mutex
	got    map[string][]byte // data sets by SOP Instance UID; length alone of long ones
	status map[dicom.UID]dimse.Status
	answer func(ctx context.Context, rq *dimse.Request) // called before a sub-operation is answered
	hold   func(ctx context.Context)                    // called before its data set is read
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// getClass is the SOP class of C-GET that goes with one of C-MOVE.
func getClass(move dicom.UID) dicom.UID { return move[:len(move)-1] + "3" }

// associate lets the SCP serve on loopback and requests an association with the role of SCP for these SOP classes.
func (g *getter) associate(index Index, classes ...string) *dimse.Association {
	g.t.Helper()
	log := slog.New(slog.NewTextHandler(&g.log, nil))
	scp := New(Options{Index: index, Logger: log, Converter: transfer.NewConverter(nil, log)})
	service := scp.Get(Caller{AETitle: "CALLER"})
	server, err := dimse.NewServer(dimse.HandlerFunc(func(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
		return &dimse.Acceptance{
			Results: dimse.Negotiate(rq.RQ, func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) { return offered[0], 0 }),
			Service: dimse.ServiceFunc(func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
				service.ServeDIMSE(ctx, w, rq)
				g.ended.Add(1)
			}),
			RoleSelections: rq.RQ.RoleSelections,
		}, nil
	}), dimse.ServerOptions{Timeouts: g.timeouts})
	if err != nil {
		g.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	go server.Serve(l)
	g.t.Cleanup(func() { server.Close() })
	proposal := dimse.Proposal{CalledAETitle: "DCMGATE", Service: dimse.StoreFunc(g.take)}
	for i, class := range append([]string{string(StudyRootGet), string(PatientRootGet), string(PatientStudyOnlyGet)}, classes...) {
		ts := dicom.ImplicitVRLittleEndian
		if i > 2 {
			ts = cmp.Or(g.syntax, dicom.ExplicitVRLittleEndian)
			proposal.RoleSelections = append(proposal.RoleSelections, pdu.RoleSelection{SOPClassUID: class, SCP: true})
		}
		proposal.Contexts = append(proposal.Contexts, pdu.PresentationContext{ID: byte(2*i + 1), AbstractSyntax: class, TransferSyntaxes: []string{string(ts)}})
	}
	a, err := (&dimse.Dialer{}).Dial(g.t.Context(), l.Addr().String(), proposal)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { a.Close() })
	return a
}

// take is the requestor's C-STORE.
func (g *getter) take(ctx context.Context, rq *dimse.Request) (dimse.Status, string) {
	if rq.Command.MoveOriginatorAETitle != "" || rq.Command.Priority != dimse.PriorityHigh {
		g.t.Errorf("%+v", rq.Command)
	}
	if g.hold != nil {
		g.hold(ctx)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, rq.Data); err != nil {
		return dimse.StatusProcessingFailure, ""
	}
	uid := rq.Command.AffectedSOPInstanceUID
	g.mu.Lock()
	if g.got == nil {
		g.got = map[string][]byte{}
	}
	g.got[string(uid)] = b.Bytes()
	status := g.status[uid]
	g.mu.Unlock()
	if g.answer != nil {
		g.answer(ctx, rq)
	}
	return status, ""
}

func (g *getter) sops() (uids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for uid := range g.got {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids
}

// begin sends a request.
func (g *getter) begin(a *dimse.Association, class dicom.UID, keys object) *dimse.Pending {
	g.t.Helper()
	id, ok := a.Accepted(class, "")
	if !ok {
		g.t.Fatal("no context")
	}
	p, err := a.Do(g.t.Context(), id, dimse.Command{CommandField: dimse.CGetRQ, AffectedSOPClassUID: class, Priority: dimse.PriorityHigh}, bytes.NewReader(encode(g.t, keys)))
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

// finish takes the responses.
func (g *getter) finish(p *dimse.Pending) *responses {
	g.t.Helper()
	w := &responses{}
	for {
		r, err := p.Next(g.t.Context())
		if err != nil {
			g.t.Fatal(err)
		}
		w.commands = append(w.commands, r.Command)
		if len(r.Data) > 0 {
			w.data = append(w.data, r.Data)
		}
		if r.Status.Class() != dimse.ClassPending {
			return w
		}
	}
}

func TestGet(t *testing.T) {
	index := patients(t)
	for _, row := range retrievals {
		g := &getter{t: t}
		w := g.finish(g.begin(g.associate(index, ctImage, srDocument), getClass(row.class), row.keys))
		c := w.final()
		if got := g.sops(); !slices.Equal(got, row.want) || c.Status != dimse.StatusSuccess || counts(c) != fmt.Sprint(len(row.want), " 0 0") || len(w.data) != 0 {
			t.Errorf("%s: got %v, %+v, %s", row.name, got, c, counts(c))
		}
		if len(w.commands)-1 > len(row.want) {
			t.Errorf("%s: %d pending responses for %d instances", row.name, len(w.commands)-1, len(row.want))
		}
	}
}

func TestRefusedGets(t *testing.T) {
	index := patients(t)
	g := &getter{t: t}
	a := g.associate(index, ctImage)
	for _, row := range refusedRetrievals {
		if row.class == StudyRootFind {
			continue // not proposed
		}
		w := g.finish(g.begin(a, getClass(row.class), row.keys))
		c := w.final()
		if len(w.commands) != 1 || c.Status != row.status || c.ErrorComment == "" || row.tag != 0 && !slices.Equal(c.OffendingElements, []dicom.Tag{row.tag}) {
			t.Errorf("%s: %+v", row.name, c)
		}
	}
	if len(g.sops()) != 0 {
		t.Errorf("got %v", g.sops())
	}
	g = &getter{t: t}
	w := g.finish(g.begin(g.associate(unreadable{index}, ctImage), StudyRootGet, wholeStudy))
	if c := w.final(); c.Status != dimse.StatusUnableToCalculateMatches || c.ErrorComment == "" {
		t.Errorf("index that cannot be read: %+v", c)
	}
}

var wholeStudy = object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}

// PS3.4 C.4.3.1.4: the status follows from what became of the sub-operations.
func TestFinalStatusOfGets(t *testing.T) {
	index := patients(t)
	all := []string{"1.1.1.1", "1.1.1.2", "1.1.2.1"}
	each := func(s dimse.Status) map[dicom.UID]dimse.Status {
		return map[dicom.UID]dimse.Status{"1.1.1.1": s, "1.1.1.2": s, "1.1.2.1": s}
	}
	for _, row := range []struct {
		name    string
		index   Index
		classes []string
		answers map[dicom.UID]dimse.Status
		status  dimse.Status
		counts  string
		failed  []string
	}{
		{"all well", index, nil, nil, 0x0000, "3 0 0", nil},
		{"one refused", index, nil, map[dicom.UID]dimse.Status{"1.1.1.2": 0xA700}, 0xB000, "2 1 0", []string{"1.1.1.2"}},
		{"all refused", index, nil, each(0xA900), 0xA702, "0 3 0", all},
		{"warnings", index, nil, each(0xB007), 0xB000, "0 0 3", nil},
		{"a warning and a failure", index, nil, map[dicom.UID]dimse.Status{"1.1.1.1": 0xB000, "1.1.2.1": 0xC001}, 0xB000, "1 1 1", []string{"1.1.2.1"}},
		{"no known status", index, nil, each(0x1234), 0xA702, "0 3 0", all},
		{"cancelled, says the requestor", index, nil, each(0xFE00), 0xA702, "0 3 0", all},
		{"a class without a context", index, []string{ctImage}, nil, 0xB000, "2 1 0", []string{"1.1.2.1"}},
		{"no context at all", index, []string{"1.2.3"}, nil, 0xA702, "0 3 0", all},
		{"evicted", evicted{index, "1.1.1.1"}, nil, nil, 0xB000, "1 2 0", []string{"1.1.1.2", "1.1.2.1"}},
	} {
		if row.classes == nil {
			row.classes = []string{ctImage, srDocument}
		}
		g := &getter{t: t, status: row.answers}
		w := g.finish(g.begin(g.associate(row.index, row.classes...), StudyRootGet, wholeStudy))
		c := w.final()
		if failed := failures(t, w); c.Status != row.status || counts(c) != row.counts || !slices.Equal(failed, row.failed) || (c.ErrorComment == "") != (row.status == 0) {
			t.Errorf("%s: %v, %s, failed %v, %q", row.name, c.Status, counts(c), failed, c.ErrorComment)
		}
		peertest.Eventually(t, 10*time.Second, "the request is done with", func() bool { return g.ended.Load() == 1 })
		if text := g.log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "operation=C-GET") || strings.Contains(text, "Wang") {
			t.Errorf("%s: log %s", row.name, text)
		}
	}
}

// An SCU role that was not selected is none: nothing is sent in a context in which the requestor is the SCU.
func TestGetWithoutRoleSelection(t *testing.T) {
	g := &getter{t: t}
	a := g.associate(patients(t), ctImage, srDocument)
	back := newBackChannel(a) // seen from the requestor, which has the SCP role alone
	if len(back.contexts) != 3 {
		t.Errorf("contexts to store in: %v", back.contexts)
	}
	if _, ok := back.Accepted(ctImage, dicom.ExplicitVRLittleEndian); ok {
		t.Error("may store where it is the SCP")
	}
}

// big is a spool with a study 5 of n instances of so many bytes, SOP Instance UIDs sorted.
func big(t testing.TB, n, size int) (s *spool.Spool, dir string, uids []string) {
	t.Helper()
	dir = t.TempDir()
	s, err := spool.Open(dir, spool.Options{SegmentSize: 64 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	template := synth.NewTemplate(size, 9)
	for i := range n {
		o := template.Object(5, 1, i)
		w, err := s.Begin(spool.Incoming{SOPClassUID: ctImage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: dicom.ExplicitVRLittleEndian})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(o.Data); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(nil); err != nil {
			t.Fatal(err)
		}
		uids = append(uids, o.SOPInstanceUID)
	}
	return s, dir, uids
}

var bigStudy = object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": synth.NewTemplate(1000, 9).Object(5, 1, 0).StudyInstanceUID}

// What is damaged is found before anything of it is sent; all the rest comes.
func TestGetOfDamagedInstances(t *testing.T) {
	for _, size := range []int{100 << 10, 3 << 20} {
		s, dir, uids := big(t, 4, size)
		spoil(t, dir, uids[1], size)
		g := &getter{t: t}
		a := g.associate(s, ctImage)
		for range 2 { // found, and known
			w := g.finish(g.begin(a, StudyRootGet, bigStudy))
			c := w.final()
			if failed := failures(t, w); c.Status != 0xB000 || counts(c) != "3 1 0" || !slices.Equal(failed, uids[1:2]) {
				t.Errorf("%d bytes: %v, %s, failed %v, %q", size, c.Status, counts(c), failed, c.ErrorComment)
			}
			if got := g.sops(); !slices.Equal(got, []string{uids[0], uids[2], uids[3]}) {
				t.Errorf("%d bytes: got %v", size, got)
			}
		}
	}
}

// A requestor that takes nothing but other transfer syntaxes is sent instances converted, and nothing of one that cannot be.
func TestGetConverts(t *testing.T) {
	for _, size := range []int{100 << 10, 6 << 20} {
		s, _, uids := big(t, 3, size)
		w, err := s.Begin(spool.Incoming{SOPClassUID: ctImage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: dicom.JPEGLosslessSV1})
		if err != nil {
			t.Fatal(err)
		}
		data := bytes.Replace(synth.NewTemplate(1000, 9).Object(5, 1, 0).Data, []byte(uids[0]), []byte("1.2.3"+strings.Repeat("\x00", len(uids[0])-5)), 1)
		if _, err := w.Write(data); err != nil { // its pixel data is not encapsulated
			t.Fatal(err)
		}
		if _, err := w.Commit(nil); err != nil {
			t.Fatal(err)
		}
		for _, ts := range []dicom.UID{dicom.ImplicitVRLittleEndian, dicom.ExplicitVRBigEndian} {
			g := &getter{t: t, syntax: ts}
			w := g.finish(g.begin(g.associate(s, ctImage), StudyRootGet, bigStudy))
			c := w.final()
			if failed := failures(t, w); c.Status != 0xB000 || counts(c) != "3 1 0" || !slices.Equal(failed, []string{"1.2.3"}) || !strings.Contains(c.ErrorComment, "converted") {
				t.Errorf("%d bytes: %v, %s, failed %v, %q", size, c.Status, counts(c), failed, c.ErrorComment)
			}
			for _, uid := range uids {
				scanner := dicom.NewScanner(ts, []dicom.Tag{dicom.TagSOPInstanceUID, dicom.TagBitsStored})
				scanner.Write(g.got[uid])
				if v, _ := scanner.Value(dicom.TagSOPInstanceUID); string(dicom.ParseUID(v)) != uid || len(g.got[uid]) < size-200 || g.got[uid][4] == 'C' != ts.BigEndian() {
					t.Errorf("%s came as %d bytes of instance %q", uid, len(g.got[uid]), v)
				}
			}
		}
	}
}

// spoil changes a byte near the end of an instance's pixel data in the file that holds it.
func spoil(t testing.TB, dir, sop string, size int) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) == ".sst" || filepath.Ext(path) == ".mem" || filepath.Ext(path) == ".vlog" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		element := append([]byte{0x08, 0x00, 0x18, 0x00, 'U', 'I', byte(len(sop)), 0}, sop...)
		at := bytes.Index(b, element)
		if at < 0 || at+size > len(b) {
			return nil
		}
		found++
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte{^b[at+size-1000]}, int64(at+size-1000))
		return err
	})
	if err != nil || found != 1 {
		t.Fatalf("%d records found, %v", found, err)
	}
}

// slowIndex takes its time at one place: closed lets it go on, reached tells that it is there.
type slowIndex struct {
	*spool.Spool
	reached chan struct{}
	once    *sync.Once
}

func (s slowIndex) Latest(ctx context.Context, study, series dicom.UID) iter.Seq2[spool.Instance, error] {
	return func(yield func(spool.Instance, error) bool) {
		s.once.Do(func() { close(s.reached) })
		<-ctx.Done()
		yield(spool.Instance{}, ctx.Err())
	}
}

// A cancel is obeyed wherever it comes: while matches are counted, before the first answer, between sub-operations, while
// an answer is owed. The association serves the next request.
func TestCancelledGets(t *testing.T) {
	small, _, _ := big(t, 20, 50<<10)
	slow := slowIndex{small, make(chan struct{}), new(sync.Once)}
	for _, row := range []struct {
		name  string
		index Index
		after int64  // sub-operations that are answered; the next one waits
		want  string // counters: completed, failed, warnings, remaining
	}{
		{"while counting", slow, 0, "0 0 0 0"},
		{"before the first answer", small, 0, "0 0 0 20"},
		{"after some", small, 7, "7 0 0 13"},
		{"before the last answer", small, 19, "19 0 0 1"},
	} {
		arrived, goOn := make(chan struct{}), make(chan struct{})
		var n atomic.Int64
		g := &getter{t: t}
		g.answer = func(context.Context, *dimse.Request) {
			if n.Add(1) == row.after+1 {
				close(arrived)
				<-goOn
			}
		}
		if row.index != small {
			arrived = slow.reached
		}
		a := g.associate(row.index, ctImage)
		p := g.begin(a, StudyRootGet, bigStudy)
		<-arrived
		begun := time.Now()
		if err := p.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := g.finish(p)
		t.Logf("%s: answered after %v", row.name, time.Since(begun))
		if c := w.final(); c.Status != dimse.StatusCancel || counts(c) != row.want {
			t.Errorf("%s: %v, %s", row.name, c.Status, counts(c))
		}
		close(goOn)
		if row.index == small {
			if c := g.finish(g.begin(a, StudyRootGet, bigStudy)).final(); c.Status != 0 || counts(c) != "20 0 0" {
				t.Errorf("%s: the next: %v, %s", row.name, c.Status, counts(c))
			}
		}
	}
}

// In the midst of a data set that the requestor does not take, nothing but an abort ends a C-GET; a data set that it takes
// is completed, and the answer is FE00.
func TestGetCancelledInTheMidstOfADataSet(t *testing.T) {
	s, _, uids := big(t, 2, 32<<20)
	for _, taken := range []bool{false, true} {
		arrived, goOn := make(chan struct{}), make(chan struct{})
		g := &getter{t: t}
		g.hold = func(ctx context.Context) {
			close(arrived)
			<-goOn
		}
		a := g.associate(s, ctImage)
		p := g.begin(a, StudyRootGet, bigStudy)
		<-arrived
		time.Sleep(20 * time.Millisecond) // the data set fills what is between
		if err := p.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		if taken {
			close(goOn)
		} else {
			peertest.Eventually(t, 10*time.Second, "the request is done with", func() bool { return g.ended.Load() == 1 })
			close(goOn)
		}
		r, err := p.Wait(t.Context())
		switch {
		case taken && err == nil && (r.Status != dimse.StatusCancel || !slices.Contains([]string{"0 0 0 2", "1 0 0 1"}, counts(r.Command))):
			t.Errorf("taken: %v, %s", r.Status, counts(r.Command))
		case !taken && err == nil:
			t.Errorf("not taken: %+v", r)
		}
		if got := g.sops(); !taken && len(got) != 0 || len(got) > 1 || len(got) == 1 && (got[0] != uids[0] || len(g.got[got[0]]) < 32<<20) {
			t.Errorf("taken %v: got %v", taken, got)
		}
	}
}

// A requestor that stops reading, never answers, goes away or releases in the middle ends a C-GET in bounded time.
func TestGetWithFaultyRequestors(t *testing.T) {
	s, _, _ := big(t, 3, 16<<20)
	var ended *atomic.Int64
	for _, row := range []struct {
		name string
		hold func(a *dimse.Association) // in the first data set
		rest func(a *dimse.Association) // instead of the first answer
	}{
		{"stops reading", func(*dimse.Association) {
			peertest.Eventually(t, 20*time.Second, "the SCP gives up", func() bool { return ended.Load() == 1 })
		}, nil},
		{"never answers", nil, func(a *dimse.Association) { <-a.Done() }},
		{"aborts in a data set", func(a *dimse.Association) { a.Abort() }, nil},
		{"aborts instead of an answer", nil, func(a *dimse.Association) { a.Abort() }},
		{"releases instead of an answer", nil, func(a *dimse.Association) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			a.Release(ctx) // it waits for its own request
		}},
	} {
		g := &getter{t: t, timeouts: dimse.Timeouts{WriteTimeout: 300 * time.Millisecond, DIMSETimeout: 300 * time.Millisecond}}
		ended = &g.ended
		var a *dimse.Association
		var ready sync.WaitGroup
		ready.Add(1)
		g.hold = func(context.Context) {
			ready.Wait()
			if row.hold != nil {
				row.hold(a)
			}
		}
		g.answer = func(context.Context, *dimse.Request) {
			if row.rest != nil {
				row.rest(a)
			}
		}
		a = g.associate(s, ctImage)
		ready.Done()
		p := g.begin(a, StudyRootGet, bigStudy)
		if r, err := p.Wait(t.Context()); err == nil || !errors.As(err, new(*dimse.LostError)) {
			t.Errorf("%s: %+v, %v", row.name, r, err)
		}
		peertest.Eventually(t, 20*time.Second, row.name+": the request is done with", func() bool { return g.ended.Load() == 1 })
		if text := g.log.String(); !strings.Contains(text, "not answered to its end") {
			t.Errorf("%s: log %s", row.name, text)
		}
	}
}

// What most of the latest instances of a SOP class are stored in is what several transfer syntaxes are answered with.
func TestPrevailing(t *testing.T) {
	scp := New(Options{Index: patients(t)})
	const implicit, explicit = dicom.ImplicitVRLittleEndian, dicom.ExplicitVRLittleEndian
	for _, row := range []struct {
		class   dicom.UID
		offered []dicom.UID
		want    dicom.UID
	}{
		{ctImage, []dicom.UID{implicit, explicit}, explicit},
		{ctImage, []dicom.UID{implicit}, ""},
		{"1.2.3", []dicom.UID{implicit, explicit}, ""},
		{srDocument, []dicom.UID{explicit}, explicit},
	} {
		if got, ok := scp.Prevailing(t.Context(), row.class, row.offered); got != row.want || ok != (row.want != "") {
			t.Errorf("%s of %v: %q", row.class, row.offered, got)
		}
	}
	if _, ok := New(Options{Index: unreadable{patients(t)}}).Prevailing(t.Context(), ctImage, []dicom.UID{explicit}); ok {
		t.Error("of an index that cannot be read")
	}
}
