package qr

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// pacs is an upstream that answers what it is told to.
type pacs struct {
	name    string
	answers []object
	partly  bool
	err     error         // after the answers
	stall   bool          // after the answers, until the question is cancelled
	endless bool          // the answers again and again
	charset string        // of the answers
	gate    chan struct{} // if not nil, nothing is answered before it is closed

	fetch func(ctx context.Context, w Wanted) (int, error)

	mu        sync.Mutex
	fetched   []Wanted
	questions []Question
	taken     int // answers that were taken
	cancelled int
}

func (p *pacs) Name() string    { return p.name }
func (p *pacs) AETitle() string { return strings.ToUpper(p.name) }

func (p *pacs) Find(ctx context.Context, q Question) iter.Seq2[Match, error] {
	return func(yield func(Match, error) bool) {
		p.mu.Lock()
		p.questions = append(p.questions, q)
		p.mu.Unlock()
		if p.gate != nil {
			<-p.gate
		}
		for again := true; again; again = p.endless {
			for _, o := range p.answers {
				id := &Identifier{CharacterSet: p.charset}
				for keyword, value := range o {
					tag, _ := dicom.TagByKeyword(keyword)
					id.set(Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: splitValues(value, dicom.TagVR(tag))})
				}
				p.count(&p.taken)
				if !yield(Match{id, p.partly}, nil) {
					p.count(&p.cancelled)
					return
				}
			}
		}
		if p.stall {
			<-ctx.Done()
			p.count(&p.cancelled)
			yield(Match{}, ctx.Err())
			return
		}
		if p.err != nil {
			yield(Match{}, p.err)
		}
	}
}

func (p *pacs) Arrived(dicom.UID, dicom.UID) {}

func (p *pacs) Fetch(ctx context.Context, w Wanted) (int, error) {
	p.mu.Lock()
	p.fetched = append(p.fetched, w)
	p.mu.Unlock()
	return p.fetch(ctx, w)
}

func (p *pacs) count(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}

func askingSCP(t testing.TB, upstreams ...Upstream) *SCP {
	t.Helper()
	return New(Options{Index: patients(t), AETitle: "DCMGATE", Upstreams: upstreams})
}

var through = Caller{AETitle: "CLOUD", Upstream: true}

// What the gateway has comes first and hides what upstreams say of it; what only they have is NEARLINE and to be retrieved
// from the gateway.
func TestMergedAnswers(t *testing.T) {
	a := &pacs{name: "pacs", charset: "GB18030", answers: []object{
		{"StudyInstanceUID": "1.1", "PatientID": "P1", "StudyDate": "20240101", "InstanceAvailability": "ONLINE"},
		{"StudyInstanceUID": "7.1", "PatientID": "P1", "StudyDate": "20200101", "PatientName": "Wang=王", "InstanceAvailability": "ONLINE", "RetrieveAETitle": "PACS", "AccessionNumber": "X"},
		{"StudyInstanceUID": "7.2", "PatientID": "P1", "InstanceAvailability": "OFFLINE"},
		{"StudyInstanceUID": "7.2", "PatientID": "P1"},
		{"StudyInstanceUID": "7.3", "PatientID": "P3"}, // of another patient
		{"PatientID": "P1"},                            // nobody could ask further
		{"StudyInstanceUID": `7.4\7.5`, "PatientID": "P1"},
	}}
	b := &pacs{name: "other", answers: []object{{"StudyInstanceUID": "7.1", "PatientID": "P1"}}}
	scp := askingSCP(t, a, b)
	ids, w := ask(t, scp, through, StudyRootFind, "ISO_IR 100", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "PatientID": "P1", "PatientName": "", "InstanceAvailability": "", "StudyDate": ""})
	var got []string
	for _, id := range ids {
		got = append(got, strings.Join([]string{first(id.Find(dicom.TagStudyInstanceUID).Values), first(id.Find(tagInstanceAvailability).Values), first(id.Find(tagRetrieveAETitle).Values)}, " "))
		if id.Find(dicom.TagAccessionNumber) != nil || len(id.Attributes) != 7 {
			t.Errorf("not what was asked for: %+v", id)
		}
	}
	own := slices.Clone(got[:2])
	slices.Sort(own)
	slices.Sort(got[2:])
	if want := []string{"1.1 ONLINE DCMGATE", "1.2 ONLINE DCMGATE"}; !slices.Equal(own, want) {
		t.Errorf("first %v, want %v", own, want)
	}
	if len(got) != 4 || !strings.HasPrefix(got[2], "7.1 NEARLINE DCMGATE") || got[3] != "7.2 OFFLINE DCMGATE" {
		t.Errorf("then %v", got[2:])
	}
	if c := w.final(); c.Status != dimse.StatusSuccess || c.ErrorComment != "" {
		t.Errorf("%+v", c)
	}
	for _, id := range ids {
		if first(id.Find(dicom.TagStudyInstanceUID).Values) == "7.1" && len(id.Find(dicom.TagPatientName).Values) > 0 && id.CharacterSet != "ISO_IR 192" {
			t.Errorf("%q for a caller of ISO_IR 100", id.CharacterSet)
		}
	}
	if len(a.questions) != 1 || a.questions[0].Identifier.Find(dicom.TagPatientID).Values[0] != "P1" || a.questions[0].SOPClass != StudyRootFind {
		t.Errorf("asked %+v", a.questions)
	}
}

func TestMergedLevels(t *testing.T) {
	for _, row := range []struct {
		name    string
		class   dicom.UID
		granted []pdu.ExtendedNegotiation
		keys    object
		answers []object
		tag     dicom.Tag
		want    []string
	}{
		{"patients", PatientRootFind, nil, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P*", "PatientName": ""},
			[]object{{"PatientID": "P1", "PatientName": "Other"}, {"PatientID": "P9"}, {"PatientID": "Q1"}}, dicom.TagPatientID, []string{"P1", "P2", "P9"}},
		{"patients without an ID", PatientRootFind, nil, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "", "PatientName": "N*"},
			[]object{{"PatientName": "Nobody"}, {"PatientName": "Nobody"}, {"PatientName": "None"}}, dicom.TagPatientName, []string{"Nobody", "None"}},
		{"series", StudyRootFind, nil, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesInstanceUID": ""},
			[]object{{"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}, {"SeriesInstanceUID": "1.1.7"}, {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.7"}},
			dicom.TagSeriesInstanceUID, []string{"1.1.1", "1.1.2", "1.1.7"}},
		{"images, the level's key not asked for", StudyRootFind, nil, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "InstanceNumber": ""},
			[]object{{"SOPInstanceUID": "1.1.1.1", "InstanceNumber": "1"}, {"SOPInstanceUID": "1.1.1.9", "InstanceNumber": "9"}}, dicom.TagInstanceNumber, []string{"1", "2", "9"}},
		{"dates and times together", StudyRootFind, []pdu.ExtendedNegotiation{{SOPClassUID: string(StudyRootFind), Information: []byte{0, 1}}},
			object{"QueryRetrieveLevel": "STUDY", "StudyDate": "20240101-20240102", "StudyTime": "1500-0900", "StudyInstanceUID": ""},
			[]object{{"StudyInstanceUID": "7.1", "StudyDate": "20240101", "StudyTime": "1600"}, {"StudyInstanceUID": "7.2", "StudyDate": "20240102", "StudyTime": "1600"}},
			dicom.TagStudyInstanceUID, []string{"7.1"}},
		{"a key that the gateway does not support", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "7.1", "AdmittingDiagnosesDescription": "COLD"},
			[]object{{"StudyInstanceUID": "7.1", "AdmittingDiagnosesDescription": "COLD"}}, 0x00081080, []string{"COLD"}},
	} {
		ids, w := ask(t, askingSCP(t, &pacs{name: "pacs", answers: row.answers}), Caller{AETitle: "CLOUD", Upstream: true, Granted: row.granted}, row.class, "ISO_IR 192", row.keys)
		if got := column(ids, row.tag); !slices.Equal(got, row.want) || w.final().Status != dimse.StatusSuccess {
			t.Errorf("%s: got %v, %+v", row.name, got, w.final())
		}
	}
}

// FF01 is the upstream's affair for what it answers, and the gateway's for its own.
func TestPartlyMatched(t *testing.T) {
	for _, partly := range []bool{false, true} {
		_, w := ask(t, askingSCP(t, &pacs{name: "pacs", partly: partly, answers: []object{{"StudyInstanceUID": "7.1"}}}), through, StudyRootFind, "", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": `2.1\7.1`})
		want := dimse.StatusPending
		if partly {
			want = dimse.StatusPendingWarning
		}
		if len(w.commands) != 3 || w.commands[0].Status != dimse.StatusPending || w.commands[1].Status != want {
			t.Errorf("%v: %+v", partly, w.commands)
		}
	}
}

// Whoever may not, and the upstream itself, gets what the gateway has.
func TestNotPassedOn(t *testing.T) {
	for _, c := range []Caller{{AETitle: "CLOUD"}, {AETitle: "PACS", Upstream: true}} {
		p := &pacs{name: "pacs", answers: []object{{"StudyInstanceUID": "7.1"}}}
		ids, _ := ask(t, askingSCP(t, p), c, StudyRootFind, "", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""})
		if len(ids) != 3 || len(p.questions) != 0 {
			t.Errorf("%s: %d matches, %d questions", c.AETitle, len(ids), len(p.questions))
		}
	}
}

func TestUpstreamsThatFail(t *testing.T) {
	study := object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}
	down := &pacs{name: "down", err: &Unavailable{Reason: "does not answer"}}
	half := &pacs{name: "half", answers: []object{{"StudyInstanceUID": "7.1"}}, err: errors.New("lost")}
	well := &pacs{name: "well", answers: []object{{"StudyInstanceUID": "7.2"}}}
	ids, w := ask(t, askingSCP(t, down, half, well), through, StudyRootFind, "", study)
	c := w.final()
	if got := column(ids, dicom.TagStudyInstanceUID); !slices.Equal(got, []string{"1.1", "1.2", "2.1", "7.1", "7.2"}) || c.Status != dimse.StatusSuccess {
		t.Errorf("%v, %v", got, c.Status)
	}
	for _, part := range []string{"incomplete; ", "down: does not answer", "half: "} {
		if !strings.Contains(c.ErrorComment, part) {
			t.Errorf("comment %q has no %q", c.ErrorComment, part)
		}
	}

	same := &pacs{name: "same", endless: true, answers: []object{{"StudyInstanceUID": "7.1"}}}
	garbage := &pacs{name: "garbage", endless: true, answers: []object{{"PatientID": "P1"}}}
	ids, w = ask(t, askingSCP(t, same, garbage), Caller{AETitle: "CLOUD", Upstream: true, MaxMatches: 10}, StudyRootFind, "", study)
	if c := w.final(); len(ids) != 4 || c.Status != dimse.StatusSuccess || !strings.Contains(c.ErrorComment, errUseless.Reason) {
		t.Errorf("%d matches, %+v", len(ids), c)
	}
	if same.cancelled != 1 || same.taken > 10+maxUseless+1 || garbage.cancelled != 1 {
		t.Errorf("taken %d, cancelled %d, %d", same.taken, same.cancelled, garbage.cancelled)
	}
}

func TestMergedMatchesCount(t *testing.T) {
	var many []object
	for i := range 100 {
		many = append(many, object{"StudyInstanceUID": fmt.Sprint("7.", i)})
	}
	p := &pacs{name: "pacs", answers: many, stall: true}
	ids, w := ask(t, askingSCP(t, p), Caller{AETitle: "CLOUD", Upstream: true, MaxMatches: 50}, StudyRootFind, "", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""})
	if len(ids) != 50 || w.final().Status != dimse.StatusOutOfResources || p.cancelled != 1 {
		t.Errorf("%d matches, %+v, cancelled %d", len(ids), w.final(), p.cancelled)
	}
}

// A C-CANCEL ends a query that waits for an upstream.
func TestCancelledWhileAnUpstreamStalls(t *testing.T) {
	p := &pacs{name: "pacs", answers: []object{{"StudyInstanceUID": "7.1"}}, stall: true}
	cancelled, once := make(chan struct{}), sync.Once{}
	w := &responses{each: func(n int) error {
		if n == 4 {
			once.Do(func() { close(cancelled) })
		}
		return nil
	}}
	begun := time.Now()
	serve(t, askingSCP(t, p), through, StudyRootFind, "", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, w, cancelled)
	if w.final().Status != dimse.StatusCancel || p.cancelled != 1 {
		t.Errorf("%+v after %v", w.final(), time.Since(begun))
	}
}

// The gateway's own matches do not wait.
func TestOwnMatchesDoNotWait(t *testing.T) {
	p := &pacs{name: "pacs", gate: make(chan struct{}), answers: []object{{"StudyInstanceUID": "7.1"}}}
	w := &responses{each: func(n int) error {
		if n == 3 {
			close(p.gate)
		}
		return nil
	}}
	serve(t, askingSCP(t, p), through, StudyRootFind, "", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, w, nil)
	if len(w.data) != 4 || w.final().Status != dimse.StatusSuccess {
		t.Errorf("%d matches, %+v", len(w.data), w.final())
	}
}

func TestQuestionsInOtherModels(t *testing.T) {
	both := []dicom.UID{StudyRootFind, PatientRootFind}
	for _, row := range []struct {
		name   string
		class  dicom.UID
		keys   object
		spoken []dicom.UID
		want   dicom.UID // "" if it cannot be asked
		gone   dicom.Tag
	}{
		{"its own", PatientRootFind, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P1"}, both, PatientRootFind, 0},
		{"studies of a patient", PatientRootFind, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P1"}, both[:1], StudyRootFind, 0},
		{"series of a patient", PatientRootFind, object{"QueryRetrieveLevel": "SERIES", "PatientID": "P1", "StudyInstanceUID": "1"}, both[:1], StudyRootFind, dicom.TagPatientID},
		{"patients", PatientRootFind, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, both[:1], "", 0},
		{"patients without images", PatientStudyOnlyFind, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, both, PatientRootFind, 0},
		{"studies of nobody in particular", StudyRootFind, object{"QueryRetrieveLevel": "STUDY"}, both[1:], "", 0},
		{"studies of a patient, in patient root", StudyRootFind, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P1"}, both[1:], PatientRootFind, 0},
		{"studies of many patients, in patient root", StudyRootFind, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P*"}, both[1:], "", 0},
	} {
		id, err := ParseIdentifier(encode(t, row.keys), dicom.ImplicitVRLittleEndian, "")
		if err != nil {
			t.Fatal(err)
		}
		level, _ := ParseLevel(row.keys["QueryRetrieveLevel"])
		q, ok := Question{SOPClass: row.class, Level: level, Identifier: id}.In(row.spoken)
		if ok != (row.want != "") || ok && q.SOPClass != row.want || row.gone != 0 && q.Identifier.Find(row.gone) != nil {
			t.Errorf("%s: %v, %+v", row.name, ok, q)
		}
	}
}
