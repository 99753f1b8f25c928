package qr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// archive is an upstream that has instances and sends them into the spool.
type farArchive struct {
	pacs
	scp    *SCP
	index  *spool.Spool
	has    []object
	send   func(n int, o object) bool // whether it sends what it has; nil: all
	final  error
	moved  func(sent int) int // that it says it has sent; nil: the truth
	before func()             // called before it sends
}

func (a *farArchive) Find(ctx context.Context, q Question) iter.Seq2[Match, error] {
	a.pacs.answers = nil
	for _, o := range a.has {
		match := true
		for _, k := range q.Identifier.Attributes {
			if v := o[dicom.TagName(k.Tag)]; len(k.Values) > 0 && k.Tag != dicom.TagQueryRetrieveLevel && !slices.Contains(k.Values, v) {
				match = false
			}
		}
		if match {
			a.pacs.answers = append(a.pacs.answers, o)
		}
	}
	return a.pacs.Find(ctx, q)
}

func beyondArchive(t testing.TB, index *spool.Spool, s *sink, has ...object) (*farArchive, *SCP) {
	t.Helper()
	a := &farArchive{pacs: pacs{name: "pacs"}, index: index}
	for _, o := range has {
		for k, v := range (object{"PatientID": "P1", "SOPClassUID": ctImage}) {
			if o[k] == "" {
				o[k] = v
			}
		}
		a.has = append(a.has, o)
	}
	a.scp = movingSCP(index, s)
	a.scp.Use("", []Upstream{a}, nil)
	a.fetch = func(ctx context.Context, w Wanted) (int, error) {
		if a.before != nil {
			a.before()
		}
		sent := 0
		for n, o := range a.has {
			uid := dicom.UID(o["SOPInstanceUID"])
			if string(w.Series) != o["SeriesInstanceUID"] || len(w.Instances) > 0 && !slices.Contains(w.Instances, uid) || a.send != nil && !a.send(n, o) {
				continue
			}
			store(t, index, "", o)
			a.scp.Arrived(w.Study, w.Series, uid)
			sent++
		}
		if a.moved != nil {
			sent = a.moved(sent)
		}
		return sent, a.final
	}
	return a, a.scp
}

func instance(study, series, sop string) object {
	return object{"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop}
}

var (
	far = []object{instance("7.1", "7.1.1", "7.1.1.1"), instance("7.1", "7.1.1", "7.1.1.2"), instance("7.1", "7.1.2", "7.1.2.1")}
	all = []string{"7.1.1.1", "7.1.1.2", "7.1.2.1"}
)

func TestGathering(t *testing.T) {
	near := []object{instance("1.1", "1.1.1", "1.1.1.1"), instance("1.1", "1.1.1", "1.1.1.2"), instance("1.1", "1.1.1", "1.1.1.3"), instance("1.1", "1.1.9", "1.1.9.1")}
	for _, row := range []struct {
		name    string
		class   dicom.UID
		has     []object
		keys    object
		want    []string
		fetched []string // series, and instances if not all
	}{
		{"a study", StudyRootMove, far, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "7.1"}, all, []string{"7.1.1 []", "7.1.2 []"}},
		{"a series", StudyRootMove, far, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "7.1", "SeriesInstanceUID": "7.1.1"}, all[:2], []string{"7.1.1 []"}},
		{"an image", StudyRootMove, far, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "7.1", "SeriesInstanceUID": "7.1.1", "SOPInstanceUID": "7.1.1.2"}, all[1:2], []string{"7.1.1 [7.1.1.2]"}},
		{"a patient", PatientRootMove, far, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, append([]string{"1.1.1.1", "1.1.1.2", "1.1.2.1", "1.2.1.1"}, all...), []string{"7.1.1 []", "7.1.2 []"}},
		{"a study of another patient", PatientRootMove, far, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P2", "StudyInstanceUID": "7.1"}, nil, nil},
		{"part of a study", StudyRootMove, near, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, []string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.2.1", "1.1.9.1"}, []string{"1.1.1 []", "1.1.9 []"}},
		{"nothing that is not here", StudyRootMove, near[:2], object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, []string{"1.1.1.1", "1.1.1.2", "1.1.2.1"}, nil},
		{"nothing at all", StudyRootMove, far, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "9"}, nil, nil},
	} {
		s := &sink{}
		index := patients(t)
		a, scp := beyondArchive(t, index, s, row.has...)
		w := moved(t, scp, through, row.class, row.keys, &responses{}, nil)
		c := w.final()
		if got := s.sops(); !slices.Equal(got, row.want) || c.Status != dimse.StatusSuccess || counts(c) != fmt.Sprint(len(row.want), " 0 0") || c.ErrorComment != "" {
			t.Errorf("%s: got %v, %+v, %s", row.name, got, c, counts(c))
		}
		var fetched []string
		for _, f := range a.fetched {
			fetched = append(fetched, fmt.Sprint(f.Series, " ", f.Instances))
		}
		slices.Sort(fetched)
		if !slices.Equal(fetched, row.fetched) {
			t.Errorf("%s: fetched %v, want %v", row.name, fetched, row.fetched)
		}
		if scp.gatherings.many.Load() != 0 || len(scp.gatherings.study) != 0 {
			t.Errorf("%s: still watching", row.name)
		}
		// What is here is not asked for again, and whoever may not ask through gets it, too.
		if w := moved(t, scp, Caller{}, row.class, row.keys, &responses{}, nil); counts(w.final()) != fmt.Sprint(len(row.want), " 0 0") {
			t.Errorf("%s, again: %s", row.name, counts(w.final()))
		}
	}
}

func TestGatheringFromFailingArchives(t *testing.T) {
	study := object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "7.1"}
	down := &Unavailable{Reason: "does not answer"}
	for _, row := range []struct {
		name    string
		keys    object
		change  func(a *farArchive)
		status  dimse.Status
		counts  string
		failed  []string
		comment string
	}{
		{"down, and nothing is here", study, func(a *farArchive) { a.err = down }, dimse.StatusUnableToCalculateMatches, "0 0 0", nil, "incomplete; pacs: does not answer"},
		{"down, and something is here", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, func(a *farArchive) { a.err = down }, 0, "3 0 0", nil, "incomplete; pacs: does not answer"},
		{"sends less than it says", study, func(a *farArchive) {
			a.send = func(n int, _ object) bool { return n != 1 }
			a.moved = func(int) int { return 2 }
		}, 0xB000, "2 1 0", all[1:2], "not sent by the upstream"},
		{"says that it does not send all", study, func(a *farArchive) { a.send = func(n int, _ object) bool { return n == 2 }; a.final = down }, 0xB000, "1 2 0", all[:2], "pacs: does not answer"},
		{"sends nothing", study, func(a *farArchive) { a.send = func(int, object) bool { return false } }, 0xA702, "0 3 0", all, "not sent by the upstream"},
		{"sends nothing and fails", study, func(a *farArchive) { a.send = func(int, object) bool { return false }; a.final = errors.New("lost") }, 0xA702, "0 3 0", all, "pacs: "},
		{"answers without end", study, func(a *farArchive) { a.endless = true }, dimse.StatusUnableToCalculateMatches, "0 0 0", nil, errUseless.Reason},
	} {
		s := &sink{}
		a, scp := beyondArchive(t, patients(t), s, far...)
		row.change(a)
		var log bytes.Buffer
		scp.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		w := moved(t, scp, through, StudyRootMove, row.keys, &responses{}, nil)
		c := w.final()
		if failed := failures(t, w); c.Status != row.status || counts(c) != row.counts || !slices.Equal(failed, row.failed) || !strings.Contains(c.ErrorComment, row.comment) {
			t.Errorf("%s: %v, %s, failed %v, %q", row.name, c.Status, counts(c), failed, c.ErrorComment)
		}
		if !strings.Contains(log.String(), "retrieval incomplete") {
			t.Errorf("%s: log %s", row.name, log.String())
		}
	}
}

// A second archive has what the first one does not send.
func TestSecondArchive(t *testing.T) {
	s := &sink{}
	index := patients(t)
	first, scp := beyondArchive(t, index, s, far...)
	first.send = func(int, object) bool { return false }
	second, _ := beyondArchive(t, index, s, far...)
	second.name = "second"
	second.scp = scp
	scp.Use("", []Upstream{first, second}, nil)
	w := moved(t, scp, through, StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "7.1"}, &responses{}, nil)
	if got := s.sops(); !slices.Equal(got, all) || w.final().Status != dimse.StatusSuccess || counts(w.final()) != "3 0 0" {
		t.Errorf("got %v, %+v", got, w.final())
	}
}

// What has arrived is sent on before the archive is done, what is here before it has begun.
func TestSentOnWhileGathering(t *testing.T) {
	here := make(chan struct{})
	var once sync.Once
	s := &sink{}
	a, scp := beyondArchive(t, patients(t), s, instance("1.1", "1.1.9", "1.1.9.1"))
	a.before = func() { <-here }
	w := &responses{each: func(int) error {
		if len(s.sops()) == 3 {
			once.Do(func() { close(here) })
		}
		return nil
	}}
	moved(t, scp, through, StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, w, nil)
	if got := s.sops(); len(got) != 4 || counts(w.final()) != "4 0 0" {
		t.Errorf("%v, %s", got, counts(w.final()))
	}

	arrived := make(chan struct{})
	s = &sink{}
	a, scp = beyondArchive(t, patients(t), s, far...)
	n := 0
	a.before = func() {
		if n++; n == 2 {
			<-arrived // the first series, at the destination
		}
	}
	var opened sync.Once
	scp.o.Destination = func(string) Dial {
		return func(ctx context.Context, contexts []pdu.PresentationContext) (transfer.Association, error) {
			defer opened.Do(func() { close(arrived) })
			return s.dial(ctx, contexts)
		}
	}
	w = moved(t, scp, through, StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "7.1"}, &responses{}, nil)
	if got := s.sops(); !slices.Equal(got, all) || counts(w.final()) != "3 0 0" {
		t.Errorf("%v, %s", got, counts(w.final()))
	}
}

// An archive that says it is done before its instances have come.
func TestStragglers(t *testing.T) {
	s := &sink{}
	index := patients(t)
	a, scp := beyondArchive(t, index, s, far[:2]...)
	now := a.fetch
	var late sync.WaitGroup
	a.fetch = func(ctx context.Context, w Wanted) (int, error) {
		late.Go(func() {
			time.Sleep(50 * time.Millisecond)
			now(ctx, w)
		})
		return 2, nil
	}
	w := moved(t, scp, through, StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "7.1"}, &responses{}, nil)
	late.Wait()
	if got := s.sops(); !slices.Equal(got, all[:2]) || counts(w.final()) != "2 0 0" {
		t.Errorf("%v, %s", got, counts(w.final()))
	}
}

func TestCancelledWhileGathering(t *testing.T) {
	s := &sink{}
	a, scp := beyondArchive(t, patients(t), s, far...)
	cancelled := make(chan struct{})
	a.fetch = func(ctx context.Context, _ Wanted) (int, error) {
		close(cancelled)
		<-ctx.Done()
		return 0, ctx.Err()
	}
	w := moved(t, scp, through, StudyRootMove, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "7.1"}, &responses{}, cancelled)
	if c := w.final(); c.Status != dimse.StatusCancel || counts(c) != "0 0 0 3" {
		t.Errorf("%+v, %s", c, counts(c))
	}
	if !slices.Equal(s.sops(), nil) || scp.Expects("7.1.1.1") {
		t.Error("goes on")
	}
}
