package spool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
)

// described is an instance as a query sees it.
type described struct {
	study, series, sop                       string
	name, patient, accession, date, modality string
}

func (d described) object(t testing.TB) synth.Object {
	t.Helper()
	var elements []dicom.DataElement
	for _, e := range []struct {
		tag   dicom.Tag
		vr, v string
	}{
		{dicom.TagSpecificCharacterSet, "CS", "ISO_IR 192"}, {dicom.TagSOPClassUID, "UI", synth.CTImageStorage}, {dicom.TagSOPInstanceUID, "UI", d.sop},
		{dicom.TagStudyDate, "DA", d.date}, {dicom.TagAccessionNumber, "SH", d.accession}, {dicom.TagModality, "CS", d.modality},
		{dicom.TagPatientName, "PN", d.name}, {dicom.TagPatientID, "LO", d.patient},
		{dicom.TagStudyInstanceUID, "UI", d.study}, {dicom.TagSeriesInstanceUID, "UI", d.series},
	} {
		elements = append(elements, dicom.DataElement{Tag: e.tag, VR: e.vr, Value: []byte(e.v)})
	}
	data, err := dicom.EncodeElements(elements, dicom.ExplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	return synth.Object{SOPInstanceUID: d.sop, Data: data}
}

// ward are studies whose order of arrival is that of the list.
var ward = []described{
	{"1.1", "1.1.1", "1.1.1.1", "WANG^XIAODONG=王^小东", "P1", "A1", "20240101", "CT"},
	{"1.2", "1.2.1", "1.2.1.1", "Wang^Li", "P2", "A2", "20240202", "MR"},
	{"1.3", "1.3.1", "1.3.1.1", "ZHANG^SAN", "P1", "A3", "20240303", "CT"},
	{"1.4", "1.4.1", "1.4.1.1", "ZHANG^SI", "p10", "", "2024.04.04", "US"},
	{"1.5", "1.5.1", "1.5.1.1", "", "", "B1", "", ""},
}

func uids(t testing.TB, s *Spool, f StudyFilter) []string {
	t.Helper()
	var got []string
	for study, err := range s.Studies(context.Background(), f) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(study.StudyInstanceUID))
	}
	return got
}

var filters = []struct {
	name   string
	filter StudyFilter
	want   []string
}{
	{"everything, the last first", StudyFilter{}, []string{"1.5", "1.4", "1.3", "1.2", "1.1"}},
	{"a UID", StudyFilter{UIDs: []dicom.UID{"1.3"}}, []string{"1.3"}},
	{"UIDs", StudyFilter{UIDs: []dicom.UID{"1.1", "1.9", "1.4", "1.1"}}, []string{"1.4", "1.1"}},
	{"accession number", StudyFilter{AccessionNumber: TextFilter{Text: "A2"}}, []string{"1.2"}},
	{"begin of an accession number", StudyFilter{AccessionNumber: TextFilter{Text: "a", Prefix: true}}, []string{"1.3", "1.2", "1.1"}},
	{"patient", StudyFilter{PatientID: TextFilter{Text: "P1"}}, []string{"1.3", "1.1"}},
	{"begin of a patient ID", StudyFilter{PatientID: TextFilter{Text: "P1", Prefix: true}}, []string{"1.4", "1.3", "1.1"}},
	{"begin of a name", StudyFilter{PatientName: TextFilter{Text: "wang", Prefix: true}}, []string{"1.2", "1.1"}},
	{"ideographic name", StudyFilter{PatientName: TextFilter{Text: "王", Prefix: true}}, []string{"1.1"}},
	{"whole name", StudyFilter{PatientName: TextFilter{Text: "zhang^si"}}, []string{"1.4"}},
	{"dates, the latest first", StudyFilter{DateFrom: "20240202", DateTo: "20240404"}, []string{"1.4", "1.3", "1.2"}},
	{"dates from", StudyFilter{DateFrom: "20240303"}, []string{"1.4", "1.3"}},
	{"dates to", StudyFilter{DateTo: "20240202"}, []string{"1.2", "1.1"}},
	{"a date", StudyFilter{DateFrom: "20240101", DateTo: "20240101"}, []string{"1.1"}},
	{"patient and date", StudyFilter{PatientID: TextFilter{Text: "P1"}, DateFrom: "20240202"}, []string{"1.3"}},
	{"name and accession number", StudyFilter{PatientName: TextFilter{Text: "Z", Prefix: true}, AccessionNumber: TextFilter{Text: "A3"}}, []string{"1.3"}},
	{"nobody", StudyFilter{PatientID: TextFilter{Text: "P9"}}, nil},
	{"a series", StudyFilter{Series: []dicom.UID{"1.3.1"}}, []string{"1.3"}},
	{"series", StudyFilter{Series: []dicom.UID{"1.3.1", "1.1.1", "9"}}, []string{"1.3", "1.1"}},
	{"an instance", StudyFilter{Instances: []dicom.UID{"1.4.1.1"}}, []string{"1.4"}},
	{"instances", StudyFilter{Instances: []dicom.UID{"1.4.1.1", "9", "1.2.1.1"}}, []string{"1.4", "1.2"}},
	{"series of another patient", StudyFilter{Series: []dicom.UID{"1.2.1"}, PatientID: TextFilter{Text: "P1"}}, nil},
	{"no such series", StudyFilter{Series: []dicom.UID{"1.3"}}, nil},
	{"no such instance", StudyFilter{Instances: []dicom.UID{"1.3.1"}}, nil},
	{"UID of another patient", StudyFilter{UIDs: []dicom.UID{"1.2"}, PatientID: TextFilter{Text: "P1"}}, nil},
}

func TestStudies(t *testing.T) {
	dir, clock := t.TempDir(), newClock()
	o := small()
	o.Now = clock.now
	s := openSpool(t, dir, o)
	for _, d := range ward {
		mustSend(t, s, d.object(t))
		clock.advance(time.Second)
	}
	check := func(t *testing.T, s *Spool) {
		for _, row := range filters {
			got := uids(t, s, row.filter)
			if !slices.Equal(got, row.want) {
				t.Errorf("%s: got %v, want %v", row.name, got, row.want)
			}
		}
	}
	flush(t, s)
	t.Run("indexed", func(t *testing.T) { check(t, s) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("rebuilt", func(t *testing.T) {
		if _, err := Rebuild(context.Background(), dir, o, nil); err != nil {
			t.Fatal(err)
		}
		again := openSpool(t, dir, o)
		check(t, again)
		verifyClean(t, again)
	})
}

// What the index does not know yet is found like everything else, and counted once.
func TestStudiesNotIndexedYet(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	mustSend(t, s, ward[0].object(t))
	flush(t, s)
	release := holdIndex(t, s)
	more := ward[0]
	more.sop, more.series, more.modality = "1.1.2.1", "1.1.2", "SR"
	mustSend(t, s, more.object(t))
	mustSend(t, s, ward[1].object(t))
	mustSend(t, s, ward[2].object(t))
	check := func(state string) {
		t.Helper()
		if got, want := uids(t, s, StudyFilter{}), []string{"1.3", "1.2", "1.1"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", state, got, want)
		}
		for _, f := range []StudyFilter{{UIDs: []dicom.UID{"1.1"}}, {Series: []dicom.UID{"1.1.1"}}, {Series: []dicom.UID{"1.1.2"}}, {Instances: []dicom.UID{"1.1.2.1"}}} {
			if got := uids(t, s, f); !slices.Equal(got, []string{"1.1"}) {
				t.Errorf("%s: %+v: got %v", state, f, got)
			}
		}
		for study, err := range s.Studies(context.Background(), StudyFilter{Series: []dicom.UID{"1.1.1"}}) {
			if err != nil || study.Series != 2 || study.Instances != 2 || !slices.Equal(study.Modalities, []string{"CT", "SR"}) || study.Newest.SOPInstanceUID != "1.1.2.1" {
				t.Errorf("%s: %+v, %v", state, study, err)
			}
		}
		n := 0
		for series, err := range s.SeriesOf(context.Background(), "1.1") {
			if n++; err != nil || series.Instances != 1 || series.Newest.SeriesInstanceUID != series.SeriesInstanceUID {
				t.Errorf("%s: %+v, %v", state, series, err)
			}
		}
		if n != 2 {
			t.Errorf("%s: %d series", state, n)
		}
	}
	check("pending")
	release()
	flush(t, s)
	check("indexed")
}

// holdIndex lets the committer's writes wait until release.
func holdIndex(t testing.TB, s *Spool) (release func()) {
	t.Helper()
	gate := make(chan struct{})
	reached := make(chan error, 1)
	go func() { reached <- s.adjust(func(*tx) error { <-gate; return nil }) }()
	return func() {
		close(gate)
		if err := <-reached; err != nil {
			t.Error(err)
		}
	}
}

func TestStudiesAfterEviction(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	var ids []InstanceID
	for _, d := range ward {
		ids = append(ids, mustSend(t, s, d.object(t)).Instance.ID)
	}
	flush(t, s)
	err := s.adjust(func(tx *tx) error {
		in, err := tx.entry(ids[2])
		if err != nil {
			return err
		}
		return tx.bury(in)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := uids(t, s, StudyFilter{}); slices.Contains(got, "1.3") || len(got) != 4 {
		t.Errorf("got %v", got)
	}
	if got := uids(t, s, StudyFilter{PatientID: TextFilter{Text: "P1"}}); !slices.Equal(got, []string{"1.1"}) {
		t.Errorf("got %v", got)
	}
	if n := countKeys(t, s)[kindArrival]; n != 4 {
		t.Errorf("%d studies by arrival", n)
	}
	if n := countKeys(t, s)[kindPatientID]; n != 3 {
		t.Errorf("%d studies by Patient ID", n)
	}
	if got := uids(t, s, StudyFilter{Series: []dicom.UID{"1.3.1"}}); len(got) != 0 {
		t.Errorf("an evicted series: got %v", got)
	}
}

// An index of an earlier format gets the keys that it lacks when it is opened.
func TestUpgradedIndex(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, small())
	const n = 300
	for i := range n {
		d := ward[0]
		d.study, d.series, d.sop = fmt.Sprint("2.", i), fmt.Sprint("2.", i, ".1"), fmt.Sprint("2.", i, ".1.1")
		mustSend(t, s, d.object(t))
		if i%100 == 7 {
			d.accession = "changed"
			mustSend(t, s, d.object(t))
		}
	}
	flush(t, s)
	before := countKeys(t, s)
	err := s.adjust(func(tx *tx) error {
		tx.set(metaKey(metaFormat), []byte{1})
		return errors.Join(deleteAll(tx, kindArrival), deleteAll(tx, kindPatientID), deleteAll(tx, kindSOP), deleteAll(tx, kindSeriesStudy),
			deleteAll(tx, kindModality), withoutCounts(tx, kindStudy), withoutCounts(tx, kindSeries))
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := uids(t, s, StudyFilter{}); len(got) != 0 {
		t.Fatalf("%d studies without keys", len(got))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, small())
	for _, f := range []StudyFilter{{}, {PatientID: TextFilter{Text: "P", Prefix: true}}} {
		if got := uids(t, s, f); len(got) != n {
			t.Errorf("%+v: %d studies", f, len(got))
		}
	}
	for _, f := range []StudyFilter{{Series: []dicom.UID{"2.7.1"}}, {Instances: []dicom.UID{"2.7.1.1"}}} {
		if got := uids(t, s, f); !slices.Equal(got, []string{"2.7"}) {
			t.Errorf("%+v: got %v", f, got)
		}
	}
	checkCounts(t, s, "2.6", 1, 1)
	checkCounts(t, s, "2.7", 1, 1)
	checkClasses(t, s, "2.7", synth.CTImageStorage)
	if got := uids(t, s, StudyFilter{Modalities: []string{"CT"}}); len(got) != n {
		t.Errorf("%d studies by modality", len(got))
	}
	if found, err := s.LookupSOP("2.7.1.1"); err != nil || len(found) != 2 || found[0].StudyInstanceUID != "2.7" {
		t.Errorf("%+v, %v", found, err)
	}
	if now := countKeys(t, s); !maps.Equal(now, before) {
		t.Errorf("keys by kind %v, before the upgrade %v", now, before)
	}
	if err := s.ledger.load(s.db); err != nil || s.ledger.format != formatVersion {
		t.Errorf("format %d, %v", s.ledger.format, err)
	}
}

// withoutCounts takes from records of studies or series the counts that an earlier format did not have.
func withoutCounts(tx *tx, kind byte) error {
	var writes []write
	err := scan(tx.txn, []byte{kind}, nil, true, func(key, value []byte) (bool, error) {
		counts := 1 // of further versions
		if kind == kindStudy {
			r, err := decodeStudy(value)
			if err != nil {
				return false, err
			}
			counts += len(r.sopClasses.append(nil))
		}
		writes = append(writes, write{slices.Clone(key), slices.Clone(value[:len(value)-counts])})
		return true, nil
	})
	for _, w := range writes {
		tx.set(w.key, w.value)
	}
	return err
}

// checkCounts compares the counts of a study that has its instances in one series.
func checkCounts(t testing.TB, s *Spool, study dicom.UID, series, instances int) {
	t.Helper()
	found := 0
	for got, err := range s.Studies(context.Background(), StudyFilter{UIDs: []dicom.UID{study}}) {
		if found++; err != nil || got.Series != series || got.Instances != instances {
			t.Errorf("%s: %d series and %d instances, want %d and %d; %v", study, got.Series, got.Instances, series, instances, err)
		}
	}
	sum := 0
	for got, err := range s.SeriesOf(context.Background(), study) {
		if sum += got.Instances; err != nil {
			t.Error(err)
		}
	}
	if (found == 0) != (instances == 0) || sum != instances {
		t.Errorf("%s: found %d times, %d instances in its series, want %d", study, found, sum, instances)
	}
}

// Versions of one instance are counted once, whatever comes and goes.
func TestCountsOfVersions(t *testing.T) {
	dir, o := t.TempDir(), small()
	s := openSpool(t, dir, o)
	send := func(sop, accession string) InstanceID {
		t.Helper()
		d := ward[0]
		d.sop, d.accession = sop, accession
		return mustSend(t, s, d.object(t)).Instance.ID
	}
	bury := func(ids ...InstanceID) {
		t.Helper()
		err := s.adjust(func(tx *tx) error {
			for _, id := range ids {
				in, err := tx.entry(id)
				if err == nil {
					err = tx.bury(in)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	first := send("1", "a")
	other := send("2", "a")
	flush(t, s)
	checkCounts(t, s, "1.1", 1, 2)
	release := holdIndex(t, s)
	second := send("1", "b")
	third := send("1", "c")
	send("3", "a")
	send("3", "b")
	checkCounts(t, s, "1.1", 1, 3) // not indexed yet
	release()
	flush(t, s)
	checkCounts(t, s, "1.1", 1, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(context.Background(), dir, o, nil); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, o)
	checkCounts(t, s, "1.1", 1, 3)
	bury(first)
	checkCounts(t, s, "1.1", 1, 3)
	bury(third, other)
	checkCounts(t, s, "1.1", 1, 2)
	send("1", "a") // the first content again: restored beside the second
	flush(t, s)
	checkCounts(t, s, "1.1", 1, 2)
	bury(second)
	checkCounts(t, s, "1.1", 1, 2)
}

// A study is found by each of its modalities on each of its dates, few or many.
func TestStudiesByModality(t *testing.T) {
	clock, o := newClock(), small()
	o.Now = clock.now
	s := openSpool(t, t.TempDir(), o)
	mixed := ward[0] // CT on 20240101
	mixed.series, mixed.sop, mixed.modality, mixed.date = "1.1.2", "1.1.2.1", "SR", "20240105"
	var ids []InstanceID
	for _, d := range append(slices.Clone(ward), mixed) {
		clock.advance(time.Second)
		ids = append(ids, mustSend(t, s, d.object(t)).Instance.ID)
	}
	for i := range 20 { // more modalities and dates than there are keys for
		d := ward[0]
		d.study, d.series, d.sop = "1.6", fmt.Sprint("1.6.", i), fmt.Sprint("1.6.1.", i)
		d.modality, d.date = fmt.Sprint("M", i), fmt.Sprint(20250101+i)
		ids = append(ids, mustSend(t, s, d.object(t)).Instance.ID)
	}
	flush(t, s)
	for _, row := range []struct {
		name   string
		filter StudyFilter
		want   []string
	}{
		{"one", StudyFilter{Modalities: []string{"MR"}}, []string{"1.2"}},
		{"two", StudyFilter{Modalities: []string{"MR", "US"}}, []string{"1.4", "1.2"}},
		{"common", StudyFilter{Modalities: []string{"CT"}}, []string{"1.3", "1.1"}},
		{"of another series", StudyFilter{Modalities: []string{"SR"}}, []string{"1.1"}},
		{"on the date of another series", StudyFilter{Modalities: []string{"SR"}, DateFrom: "20240101", DateTo: "20240101"}, []string{"1.1"}},
		{"on another date", StudyFilter{Modalities: []string{"CT"}, DateFrom: "20240102", DateTo: "20240104"}, nil},
		{"from a date", StudyFilter{Modalities: []string{"US"}, DateFrom: "20240404"}, []string{"1.4"}},
		{"none", StudyFilter{Modalities: []string{"XA"}}, nil},
		{"the last of many", StudyFilter{Modalities: []string{"M19"}}, []string{"1.6"}},
		{"the first of many on the last date", StudyFilter{Modalities: []string{"M0"}, DateFrom: "20250120"}, []string{"1.6"}},
	} {
		if got := uids(t, s, row.filter); !slices.Equal(got, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
		// The index alone leads to them.
		q := &studyQuery{s: s, ctx: context.Background(), filter: row.filter}
		found, narrowed, err := q.candidates()
		if err != nil || !narrowed || len(found) > len(row.want)+1 {
			t.Errorf("%s: %d candidates, narrowed %v, %v", row.name, len(found), narrowed, err)
		}
	}
	err := s.adjust(func(tx *tx) error {
		for _, id := range ids {
			in, err := tx.entry(id)
			if err == nil {
				err = tx.bury(in)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := countKeys(t, s)[kindModality]; n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

func deleteAll(tx *tx, kind byte) error {
	var keys [][]byte
	err := scan(tx.txn, []byte{kind}, nil, false, func(key, _ []byte) (bool, error) {
		keys = append(keys, slices.Clone(key))
		return true, nil
	})
	for _, key := range keys {
		tx.delete(key)
	}
	return err
}

// Many studies are walked in pages, whichever way leads to them, and each comes once.
func TestManyStudies(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	const n = 3 * sortedAtMost / 2
	err := fillStudies(s, n, func(i int) described {
		return described{
			study: fmt.Sprint("3.", i), series: fmt.Sprint("3.", i, ".1"), sop: fmt.Sprint("3.", i, ".1.1"),
			name: "WANG^" + fmt.Sprint(i), patient: fmt.Sprint("P", i%7), accession: fmt.Sprint("A", i), date: fmt.Sprint(20240101 + i%20), modality: "CT",
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		filter StudyFilter
		want   int
	}{
		{"all", StudyFilter{}, n},
		{"name", StudyFilter{PatientName: TextFilter{Text: "WANG", Prefix: true}}, n},
		{"dates", StudyFilter{DateFrom: "20240101", DateTo: "20240120"}, n},
		{"open range", StudyFilter{DateFrom: "20240101"}, n},
		{"patient", StudyFilter{PatientID: TextFilter{Text: "P3"}}, (n + 3) / 7},
		{"name and patient", StudyFilter{PatientName: TextFilter{Text: "WANG", Prefix: true}, PatientID: TextFilter{Text: "P3"}}, (n + 3) / 7},
		{"accession", StudyFilter{AccessionNumber: TextFilter{Text: "A77"}}, 1},
	} {
		got := uids(t, s, row.filter)
		slices.Sort(got)
		if once := slices.Compact(slices.Clone(got)); len(got) != row.want || len(once) != len(got) {
			t.Errorf("%s: %d studies, %d different ones, want %d", row.name, len(got), len(once), row.want)
		}
	}
	// The walk by date.
	q := &studyQuery{s: s, ctx: context.Background(), filter: StudyFilter{DateFrom: "20240105", DateTo: "20240106"}}
	found, last := 0, "99999999"
	q.yield = func(study Study, err error) bool {
		date := study.Newest.Metadata.Text(dicom.TagStudyDate)
		if found++; err != nil || date > last || date < "20240105" || date > "20240106" {
			t.Errorf("%s behind %s, %v", date, last, err)
		}
		last = date
		return true
	}
	if err := q.show(q.dates); err != nil || found == 0 || found != len(uids(t, s, q.filter)) {
		t.Errorf("%d studies by date, %v", found, err)
	}
}

func TestStudiesEndWithTheContext(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	for _, d := range ward {
		mustSend(t, s, d.object(t))
	}
	flush(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	for _, err := range s.Studies(ctx, StudyFilter{}) {
		if n++; n == 2 {
			cancel()
		}
		if n == 3 && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if n != 3 {
		t.Errorf("%d steps", n)
	}
	// Who has had enough is not told that the context has ended as well.
	again, enough := context.WithCancel(context.Background())
	defer enough()
	for range s.Studies(again, StudyFilter{}) {
		enough()
		break
	}
}

func TestLatest(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	first := mustSend(t, s, ward[0].object(t))
	other := ward[0]
	other.sop = "1.1.1.2"
	mustSend(t, s, other.object(t))
	flush(t, s)
	release := holdIndex(t, s)
	changed := ward[0]
	changed.accession = "changed"
	second := mustSend(t, s, changed.object(t))
	check := func(state string) {
		t.Helper()
		var got []InstanceID
		for in, err := range s.Latest(context.Background(), "1.1", "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, in.ID)
		}
		if len(got) != 2 || !slices.Contains(got, second.Instance.ID) || slices.Contains(got, first.Instance.ID) {
			t.Errorf("%s: got %v, first %v, second %v", state, got, first.Instance.ID, second.Instance.ID)
		}
	}
	check("pending")
	release()
	flush(t, s)
	check("indexed")
}

// fillStudies enters instances into the index as if their records were stored.
func fillStudies(s *Spool, n int, describe func(int) described) error {
	const batch = 200
	for begin := 0; begin < n; begin += batch {
		err := s.adjust(func(t *tx) error {
			for i := begin; i < min(begin+batch, n); i++ {
				d := describe(i)
				in := &Instance{
					ID: s.ids.next(t.now), StudyInstanceUID: dicom.UID(d.study), SeriesInstanceUID: dicom.UID(d.series), SOPInstanceUID: dicom.UID(d.sop),
					SOPClassUID: synth.CTImageStorage, TransferSyntaxUID: dicom.ExplicitVRLittleEndian, Received: t.now, Size: 1,
				}
				in.Metadata.Elements = []dicom.Element{
					{Tag: dicom.TagStudyDate, VR: "DA", Value: []byte(d.date)}, {Tag: dicom.TagAccessionNumber, VR: "SH", Value: []byte(d.accession)},
					{Tag: dicom.TagModality, VR: "CS", Value: []byte(d.modality)}, {Tag: dicom.TagPatientName, VR: "PN", Value: []byte(d.name)},
					{Tag: dicom.TagPatientID, VR: "LO", Value: []byte(d.patient)},
				}
				t.set(entryKey(in.ID), appendEntry(nil, in))
				if err := t.addToTree(in, false); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
