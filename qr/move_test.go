package qr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// sink is a move destination that answers each request with the status of its instance.
type sink struct {
	mu       sync.Mutex
	statuses map[dicom.UID]dimse.Status
	got      []dimse.StoreRequest
	dials    int
	refuse   error // of dials
	stall    bool  // answers nothing
	breaks   int   // associations that end with their first request
}

func (s *sink) dial(ctx context.Context, contexts []pdu.PresentationContext) (transfer.Association, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if s.refuse != nil {
		return nil, s.refuse
	}
	a := &sinkAssociation{sink: s, contexts: contexts, done: make(chan struct{})}
	if s.breaks > 0 {
		s.breaks--
		a.breaks = true
	}
	return a, nil
}

func (s *sink) sops() (uids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rq := range s.got {
		uids = append(uids, string(rq.SOPInstanceUID))
	}
	slices.Sort(uids)
	return uids
}

type sinkAssociation struct {
	*sink
	contexts []pdu.PresentationContext
	done     chan struct{}
	once     sync.Once
	breaks   bool
}

var errBroken = errors.New("broken")

func (a *sinkAssociation) Accepted(abstract, ts dicom.UID) (byte, bool) {
	for _, c := range a.contexts {
		if c.AbstractSyntax == string(abstract) && c.TransferSyntaxes[0] == string(ts) && abstract != srDocument+".9" {
			return c.ID, true
		}
	}
	return 0, false
}
func (a *sinkAssociation) ID() string                                 { return "o1" }
func (a *sinkAssociation) Window() int                                { return 1 }
func (a *sinkAssociation) Echo(context.Context) (dimse.Status, error) { return 0, nil }
func (a *sinkAssociation) Done() <-chan struct{}                      { return a.done }
func (a *sinkAssociation) Err() error                                 { return errBroken }
func (a *sinkAssociation) Release(context.Context) error              { return a.Abort() }
func (a *sinkAssociation) Close() error                               { return a.Abort() }
func (a *sinkAssociation) Abort() error                               { a.once.Do(func() { close(a.done) }); return nil }

func (a *sinkAssociation) StartStore(_ context.Context, rq dimse.StoreRequest) (transfer.Pending, error) {
	if _, err := io.Copy(io.Discard, rq.Data); err != nil {
		return nil, err
	}
	if a.breaks {
		return nil, errBroken
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	rq.Data = nil
	a.got = append(a.got, rq)
	return sinkPending{a.stall, a.statuses[rq.SOPInstanceUID]}, nil
}

type sinkPending struct {
	stall  bool
	status dimse.Status
}

func (p sinkPending) Wait(ctx context.Context) (dimse.Response, error) {
	if p.stall {
		<-ctx.Done()
		return dimse.Response{}, ctx.Err()
	}
	return dimse.Response{Command: dimse.Command{Status: p.status}}, nil
}

func encode(t testing.TB, keys object) []byte {
	t.Helper()
	id := &Identifier{}
	for keyword, value := range keys {
		tag, ok := dicom.TagByKeyword(keyword)
		if !ok {
			t.Fatal(keyword)
		}
		id.Attributes = append(id.Attributes, Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: splitValues(value, dicom.TagVR(tag))})
	}
	data, err := id.Encode(dicom.ImplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// moved performs a retrieval to WS and returns the responses.
func moved(t testing.TB, scp *SCP, c Caller, sopClass dicom.UID, keys object, w *responses, cancelled <-chan struct{}) *responses {
	t.Helper()
	scp.Move(c).ServeDIMSE(t.Context(), w, &dimse.Request{
		Context:   dimse.NegotiatedContext{AbstractSyntax: sopClass, TransferSyntax: dicom.ImplicitVRLittleEndian},
		Command:   dimse.Command{CommandField: dimse.CMoveRQ, MessageID: 7, MoveDestination: "WS", Priority: dimse.PriorityHigh},
		Data:      bytes.NewReader(encode(t, keys)),
		Cancelled: cancelled,
	})
	return w
}

func movingSCP(index Index, s *sink) *SCP {
	return New(Options{Index: index, AETitle: "DCMGATE", Destination: func(title string) Dial {
		if title != "WS" {
			return nil
		}
		return s.dial
	}})
}

// failures are the UIDs of the Failed SOP Instance UID List, sorted.
func failures(t testing.TB, w *responses) []string {
	t.Helper()
	if len(w.data) == 0 {
		return nil
	}
	id, err := ParseIdentifier(w.data[len(w.data)-1], dicom.ImplicitVRLittleEndian, "")
	if err != nil || len(w.data) != 1 || id.Find(tagFailedSOPInstanceUIDList) == nil {
		t.Fatal(err, len(w.data), id)
	}
	uids := slices.Clone(id.Find(tagFailedSOPInstanceUIDList).Values)
	slices.Sort(uids)
	return uids
}

// counts are completed, failed, warnings and, where it is there, remaining.
func counts(c dimse.Command) string {
	text := ""
	for _, n := range []*uint16{c.NumberOfCompletedSuboperations, c.NumberOfFailedSuboperations, c.NumberOfWarningSuboperations, c.NumberOfRemainingSuboperations} {
		if n != nil {
			text += fmt.Sprint(*n, " ")
		}
	}
	return strings.TrimSpace(text)
}

// retrievals are requests with what they select of patients.
var retrievals = []struct {
	name  string
	class dicom.UID // of C-MOVE
	keys  object
	want  []string
}{
	{"patient", PatientRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, []string{"1.1.1.1", "1.1.1.2", "1.1.2.1", "1.2.1.1"}},
	{"patient/study only, patient", PatientStudyOnlyMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P2"}, []string{"2.1.1.1"}},
	{"patient/study only, studies", PatientStudyOnlyMove, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyInstanceUID": "1.2"}, []string{"1.2.1.1"}},
	{"study", StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, []string{"1.1.1.1", "1.1.1.2", "1.1.2.1"}},
	{"studies", StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": `1.2\2.1`}, []string{"1.2.1.1", "2.1.1.1"}},
	{"study of another patient", PatientRootMove, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P2", "StudyInstanceUID": "1.1"}, nil},
	{"series", StudyRootMove, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}, []string{"1.1.1.1", "1.1.1.2"}},
	{"list of series", PatientRootMove, object{"QueryRetrieveLevel": "SERIES", "PatientID": "P1", "StudyInstanceUID": "1.1", "SeriesInstanceUID": `1.1.1\1.1.2`}, []string{"1.1.1.1", "1.1.1.2", "1.1.2.1"}},
	{"image", StudyRootMove, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.2"}, []string{"1.1.1.2"}},
	{"list of images", StudyRootMove, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": `1.1.1.1\1.1.1.2\9`}, []string{"1.1.1.1", "1.1.1.2"}},
	{"with attributes that have no value", StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2", "PatientID": "", "SeriesInstanceUID": ""}, []string{"1.2.1.1"}},
	{"nothing", StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "9"}, nil},
}

func TestMove(t *testing.T) {
	index := patients(t)
	for _, row := range retrievals {
		s := &sink{}
		w := moved(t, movingSCP(index, s), Caller{AETitle: "CALLER"}, row.class, row.keys, &responses{}, nil)
		c := w.final()
		if got := s.sops(); !slices.Equal(got, row.want) || c.Status != dimse.StatusSuccess || counts(c) != fmt.Sprint(len(row.want), " 0 0") || len(w.data) != 0 {
			t.Errorf("%s: got %v, %+v, %s", row.name, got, c, counts(c))
		}
		if len(w.commands)-1 > len(row.want) {
			t.Errorf("%s: %d pending responses for %d instances", row.name, len(w.commands)-1, len(row.want))
		}
		for _, rq := range s.got {
			if rq.MoveOriginatorAETitle != "CALLER" || rq.MoveOriginatorMessageID != 7 || rq.Priority != dimse.PriorityHigh {
				t.Errorf("%s: %+v", row.name, rq)
			}
		}
		for _, c := range w.commands[:len(w.commands)-1] {
			if c.Status != dimse.StatusPending || c.NumberOfRemainingSuboperations == nil {
				t.Errorf("%s: %+v", row.name, c)
			}
		}
	}
}

// refusedRetrievals are requests that PS3.4 C.4.2.2.1 and C.4.2.1.5 refuse, with what; C.4.3 has the same rules for C-GET.
var refusedRetrievals = []struct {
	name   string
	class  dicom.UID // of C-MOVE
	keys   object
	status dimse.Status
	tag    dicom.Tag
}{
	{"no level", StudyRootMove, object{"StudyInstanceUID": "1.1"}, dimse.StatusDataSetMismatch, dicom.TagQueryRetrieveLevel},
	{"patient in study root", StudyRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, dimse.StatusDataSetMismatch, dicom.TagQueryRetrieveLevel},
	{"series in patient/study only", PatientStudyOnlyMove, object{"QueryRetrieveLevel": "SERIES"}, dimse.StatusDataSetMismatch, dicom.TagQueryRetrieveLevel},
	{"no key", StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, dimse.StatusDataSetMismatch, dicom.TagStudyInstanceUID},
	{"wildcard for a key", PatientRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P*"}, dimse.StatusDataSetMismatch, dicom.TagPatientID},
	{"all", PatientRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "*"}, dimse.StatusDataSetMismatch, dicom.TagPatientID},
	{"list of patients", PatientRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": `P1\P2`}, dimse.StatusDataSetMismatch, dicom.TagPatientID},
	{"no patient", PatientRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, dimse.StatusDataSetMismatch, dicom.TagPatientID},
	{"list above the level", StudyRootMove, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": `1.1\1.2`, "SeriesInstanceUID": "1.1.1"}, dimse.StatusDataSetMismatch, dicom.TagStudyInstanceUID},
	{"image without a series", StudyRootMove, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SOPInstanceUID": "1.1.1.1"}, dimse.StatusDataSetMismatch, dicom.TagSeriesInstanceUID},
	{"key below the level", StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}, dimse.StatusDataSetMismatch, dicom.TagSeriesInstanceUID},
	{"key that is not unique", StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1", "Modality": "CT"}, dimse.StatusDataSetMismatch, dicom.TagModality},
	{"no model", StudyRootFind, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, dimse.StatusSOPClassNotSupported, 0},
}

func TestRefusedMoves(t *testing.T) {
	index := patients(t)
	study := object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}
	for _, row := range refusedRetrievals {
		s := &sink{}
		w := moved(t, movingSCP(index, s), Caller{}, row.class, row.keys, &responses{}, nil)
		c := w.final()
		if len(w.commands) != 1 || c.Status != row.status || c.ErrorComment == "" || len(c.ErrorComment) > 64 || row.tag != 0 && !slices.Equal(c.OffendingElements, []dicom.Tag{row.tag}) || s.dials != 0 {
			t.Errorf("%s: %+v, %d dials", row.name, c, s.dials)
		}
	}
	w := moved(t, New(Options{Index: index}), Caller{}, StudyRootMove, study, &responses{}, nil)
	if w.final().Status != dimse.StatusMoveDestinationUnknown {
		t.Errorf("unknown destination: %+v", w.final())
	}
	w = moved(t, movingSCP(index, &sink{}), Caller{MoveTo: []string{"OTHER"}}, StudyRootMove, study, &responses{}, nil)
	if w.final().Status != dimse.StatusMoveDestinationUnknown {
		t.Errorf("destination of others: %+v", w.final())
	}
	w = moved(t, movingSCP(unreadable{index}, &sink{}), Caller{}, StudyRootMove, study, &responses{}, nil)
	if w.final().Status != dimse.StatusUnableToCalculateMatches {
		t.Errorf("index that cannot be read: %+v", w.final())
	}
	scp := movingSCP(index, &sink{})
	var ends []func()
	for range maxRetrievalsPerCaller {
		end, _ := scp.retrievals.take("WS1")
		ends = append(ends, end)
	}
	if w = moved(t, scp, Caller{AETitle: "WS1"}, StudyRootMove, study, &responses{}, nil); w.final().Status != dimse.StatusUnableToPerformSubOps {
		t.Errorf("too many of one caller: %+v", w.final())
	}
	if w = moved(t, scp, Caller{AETitle: "WS2"}, StudyRootMove, study, &responses{}, nil); w.final().Status != dimse.StatusSuccess {
		t.Errorf("another caller: %+v", w.final())
	}
	for range maxRetrievals - maxRetrievalsPerCaller {
		scp.retrievals.take("WS3")
	}
	if w = moved(t, scp, Caller{AETitle: "WS2"}, StudyRootMove, study, &responses{}, nil); w.final().Status != dimse.StatusUnableToPerformSubOps {
		t.Errorf("too many of all: %+v", w.final())
	}
	for _, end := range ends {
		end()
	}
	if w = moved(t, scp, Caller{AETitle: "WS1"}, StudyRootMove, study, &responses{}, nil); w.final().Status != dimse.StatusSuccess || scp.retrievals.underWay() != maxRetrievalsPerCaller {
		t.Errorf("after they have ended: %+v", w.final())
	}
}

// unreadable is an index that fails.
type unreadable struct{ *spool.Spool }

func (unreadable) Studies(context.Context, spool.StudyFilter) iter.Seq2[spool.Study, error] {
	return func(yield func(spool.Study, error) bool) { yield(spool.Study{}, errors.New("disk")) }
}

// evicted is an index whose instances cannot be opened any more but for one.
type evicted struct {
	*spool.Spool
	but dicom.UID
}

func (e evicted) Open(id spool.InstanceID) (*spool.Reader, error) {
	if in, err := e.Instance(id); err == nil && in.SOPInstanceUID == e.but {
		return e.Spool.Open(id)
	}
	return nil, spool.ErrEvicted
}

func TestFinalStatusOfMoves(t *testing.T) {
	index := patients(t)
	refused := dimse.RejectCongestion("full")
	all := []string{"1.1.1.1", "1.1.1.2", "1.1.2.1"}
	statuses := func(s dimse.Status, uids ...dicom.UID) map[dicom.UID]dimse.Status {
		m := map[dicom.UID]dimse.Status{}
		for _, uid := range uids {
			m[uid] = s
		}
		return m
	}
	for _, row := range []struct {
		name   string
		index  Index
		sink   *sink
		status dimse.Status
		counts string
		failed []string
	}{
		{"one refused", index, &sink{statuses: statuses(0xA700, "1.1.1.2")}, 0xB000, "2 1 0", []string{"1.1.1.2"}},
		{"all refused", index, &sink{statuses: statuses(0xA700, "1.1.1.1", "1.1.1.2", "1.1.2.1")}, 0xA702, "0 3 0", all},
		{"warnings", index, &sink{statuses: statuses(0xB000, "1.1.1.1", "1.1.1.2", "1.1.2.1")}, 0xB000, "0 0 3", nil},
		{"a warning and a failure", index, &sink{statuses: map[dicom.UID]dimse.Status{"1.1.1.1": 0xB007, "1.1.2.1": 0xC000}}, 0xB000, "1 1 1", []string{"1.1.2.1"}},
		{"not reached", index, &sink{refuse: refused}, 0xA702, "0 3 0", all},
		{"association broken once", index, &sink{breaks: 1}, 0x0000, "3 0 0", nil},
		{"associations broken always", index, &sink{breaks: 1 << 20}, 0xA702, "0 3 0", all},
		{"evicted", evicted{index, "1.1.1.1"}, &sink{}, 0xB000, "1 2 0", []string{"1.1.1.2", "1.1.2.1"}},
	} {
		var log bytes.Buffer
		scp := movingSCP(row.index, row.sink)
		scp.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		w := moved(t, scp, Caller{AETitle: "CALLER"}, StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, &responses{}, nil)
		c := w.final()
		if failed := failures(t, w); c.Status != row.status || counts(c) != row.counts || !slices.Equal(failed, row.failed) || (c.ErrorComment == "") != (row.status == 0) {
			t.Errorf("%s: %v, %s, failed %v, %q", row.name, c.Status, counts(c), failed, c.ErrorComment)
		}
		if row.sink.dials > 2*moveAssociations {
			t.Errorf("%s: %d associations", row.name, row.sink.dials)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "destination=WS") || strings.Contains(text, "Wang") {
			t.Errorf("%s: log %s", row.name, text)
		}
	}
}

// More pairs of SOP class and transfer syntax than an association has presentation contexts for, and a list of UIDs that is
// long.
func TestMoveOfManySOPClasses(t *testing.T) {
	index := patients(t)
	const n = transfer.MaxContexts + 2
	var uids []string
	for i := range n {
		uid := fmt.Sprintf("1.2.840.113619.2.55.3.2831868886.123.1234567890.%d", 1000+i)
		store(t, index, "", object{"StudyInstanceUID": "3", "SeriesInstanceUID": "3.1", "SOPInstanceUID": uid, "SOPClassUID": fmt.Sprint("1.2.9.", i), "PatientID": "P3"})
		uids = append(uids, uid)
	}
	s := &sink{}
	w := moved(t, movingSCP(index, s), Caller{}, StudyRootMove, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "3", "SeriesInstanceUID": "3.1",
		"SOPInstanceUID": strings.Join(uids, `\`)}, &responses{}, nil)
	if got := s.sops(); !slices.Equal(got, uids) || w.final().Status != dimse.StatusSuccess || counts(w.final()) != fmt.Sprint(n, " 0 0") {
		t.Errorf("%d arrived, %+v, %s", len(got), w.final(), counts(w.final()))
	}
}

// Counters that do not fit 16 bits are left out, and the list of failures is bounded.
func TestLargeTally(t *testing.T) {
	tally := newTally(newInstruments(nil).suboperations[dimse.CMoveRQ])
	tally.total = 70_000
	for i := range 66_000 {
		tally.fail(dicom.UID(fmt.Sprint("1.2.3.4.5.6.7.8.9.", i)), "")
	}
	tally.answered("1", dimse.StatusSuccess)
	var c dimse.Command
	tally.counters(&c, true)
	if c.NumberOfFailedSuboperations != nil || *c.NumberOfCompletedSuboperations != 1 || *c.NumberOfRemainingSuboperations != 3999 {
		t.Errorf("%+v", c)
	}
	id := Identifier{Attributes: []Attribute{{Tag: tagFailedSOPInstanceUIDList, VR: "UI", Values: tally.failedUIDs}}}
	data, err := id.Encode(dicom.ExplicitVRLittleEndian)
	if err != nil || len(data) > maxFailedList+8 || len(tally.failedUIDs) < 2000 {
		t.Errorf("%d bytes, %d UIDs, %v", len(data), len(tally.failedUIDs), err)
	}
}

func TestCancelledMove(t *testing.T) {
	cancelled := make(chan struct{})
	s := &sink{stall: true}
	done := make(chan *responses)
	go func() {
		done <- moved(t, movingSCP(patients(t), s), Caller{}, StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, &responses{}, cancelled)
	}()
	peertest.Eventually(t, 20*time.Second, "an instance is under way", func() bool { return len(s.sops()) > 0 })
	close(cancelled)
	select {
	case w := <-done:
		if c := w.final(); c.Status != dimse.StatusCancel || counts(c) != "0 0 0 3" {
			t.Errorf("%+v, %s", c, counts(c))
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("goes on")
	}
}

func TestCallerOfAMoveThatGoesAway(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := &sink{}
	scp := New(Options{Index: patients(t), Registerer: registry, Destination: func(string) Dial { return s.dial }})
	w := &responses{each: func(int) error { return errors.New("connection lost") }}
	moved(t, scp, Caller{}, PatientRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, w, nil)
	if len(w.commands) != 1 {
		t.Errorf("%d answers to nobody", len(w.commands))
	}
}

// Over the network: faults of the destination end in a final response within the timeouts.
func TestFaultyMoveDestinations(t *testing.T) {
	index := patients(t)
	for _, row := range []struct {
		name   string
		faults archive.Faults
		status dimse.Status
		counts string
	}{
		{"none", archive.Faults{}, 0x0000, "4 0 0"},
		{"rejects", archive.Faults{RejectRate: 1}, 0xA702, "0 4 0"},
		{"aborts", archive.Faults{AbortRate: 1}, 0xA702, "0 4 0"},
		{"loses answers", archive.Faults{LoseAnswerRate: 1}, 0xA702, "0 4 0"},
		{"stalls", archive.Faults{StallRate: 1}, 0xA702, "0 4 0"},
		{"refuses", archive.Faults{StatusRate: 1, Status: 0xA700}, 0xA702, "0 4 0"},
		{"warns", archive.Faults{WarningRate: 1}, 0xB000, "0 0 4"},
	} {
		a, address, err := archive.Listen("127.0.0.1:0", archive.Options{Faults: row.faults})
		if err != nil {
			t.Fatal(err)
		}
		var timeouts dimse.Timeouts
		if row.faults.StallRate > 0 {
			timeouts = impatient
		}
		w := moved(t, networkSCP(index, address, timeouts), Caller{}, PatientRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, &responses{}, nil)
		if c := w.final(); c.Status != row.status || counts(c) != row.counts {
			t.Errorf("%s: %v, %s, %q", row.name, c.Status, counts(c), c.ErrorComment)
		}
		a.Close()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // accepts connections and says nothing
	w := moved(t, networkSCP(index, l.Addr().String(), impatient), Caller{}, PatientRootMove, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, &responses{}, nil)
	if c := w.final(); c.Status != 0xA702 || counts(c) != "0 4 0" {
		t.Errorf("silent: %v, %s", c.Status, counts(c))
	}
}

// impatient are timeouts that a test can wait for.
var impatient = dimse.Timeouts{ARTIM: 300 * time.Millisecond, WriteTimeout: time.Second, DIMSETimeout: 300 * time.Millisecond}

func networkSCP(index Index, address string, timeouts dimse.Timeouts) *SCP {
	dialer := &dimse.Dialer{LocalAETitle: "DCMGATE", Timeouts: timeouts}
	return New(Options{Index: index, Destination: func(string) Dial {
		return func(ctx context.Context, contexts []pdu.PresentationContext) (transfer.Association, error) {
			a, err := dialer.Dial(ctx, address, dimse.Proposal{CalledAETitle: "WS", Contexts: contexts, AsyncOperationsWindow: 8})
			if err != nil {
				return nil, err
			}
			return transfer.Over(a), nil
		}
	}})
}
