package spool

import (
	"errors"
	"slices"
	"strings"
	"time"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// Study is what the index knows of the stored instances of a study.
type Study struct {
	StudyInstanceUID dicom.UID // empty of instances whose data set has none
	Series           int
	Instances        int         // stored, of several versions one
	Bytes            int64       // of all versions
	Modalities       []string    // (0008,0060) of its series
	SOPClasses       []dicom.UID // of its instances, in the order of the UIDs; at most 64
	FirstReceived    time.Time   // of the instances that are stored
	LastReceived     time.Time
	// Newest is the instance that was received last. It stands for the study where an attribute of it is asked for:
	// instances of one study need not agree on them.
	Newest Instance
}

// Series is what the index knows of the stored instances of a series.
type Series struct {
	StudyInstanceUID  dicom.UID
	SeriesInstanceUID dicom.UID // empty of instances whose data set has none
	Instances         int       // stored, of several versions one
	Bytes             int64     // of all versions
	Newest            Instance  // received last; stands for the series
}

// lateStudy is the part of a study that was not indexed when a query began.
type lateStudy []*Instance

// fresh drops what a transaction finds in the index after all.
func (l lateStudy) fresh(txn *badger.Txn) (lateStudy, error) {
	var out lateStudy
	for _, in := range l {
		_, known, err := get(txn, entryKey(in.ID))
		if err != nil {
			return nil, err
		}
		if !known {
			out = append(out, in)
		}
	}
	return out, nil
}

// additional counts those that are no further version of an instance in the index, or of another of them.
func (l lateStudy) additional(txn *badger.Txn) (n int, err error) {
	seen := map[identity]bool{}
	for _, in := range l {
		k := in.identity()
		if seen[k] {
			continue
		}
		seen[k] = true
		vs, err := readVersions(txn, k)
		if err != nil {
			return 0, err
		}
		if !stored(vs) {
			n++
		}
	}
	return n, nil
}

// studyView is a study as one transaction sees it, with what is not indexed yet.
type studyView struct {
	record studyRecord
	late   lateStudy
}

// viewStudy reads a study; ok is false if there is none.
func viewStudy(txn *badger.Txn, id hash8, late lateStudy) (v *studyView, ok bool, err error) {
	value, found, err := get(txn, studyKey(id))
	if err != nil {
		return nil, false, err
	}
	v = &studyView{}
	if found {
		r, err := decodeStudy(value)
		if err != nil {
			return nil, false, nil // a summary, which a rebuild restores
		}
		v.record = *r
	}
	if v.late, err = late.fresh(txn); err != nil || !found && len(v.late) == 0 {
		return nil, false, err
	}
	for _, in := range v.late {
		for _, k := range textKeys(&in.Metadata) {
			if !slices.Contains(v.record.textKeys, k) {
				v.record.textKeys = append(v.record.textKeys, k)
			}
		}
		if m := in.Metadata.modality(); m != "" && !slices.Contains(v.record.modalities, m) {
			v.record.modalities = append(v.record.modalities, m)
		}
		v.record.sopClasses.add(in.SOPClassUID, 1)
	}
	return v, true, nil
}

// study completes the view; ok is false if the instance that stands for the study is not to be had.
func (v *studyView) study(txn *badger.Txn, id hash8) (s Study, ok bool, err error) {
	r := &v.record
	s = Study{
		StudyInstanceUID: r.uid, Series: int(r.series), Instances: distinct(r.instances, r.repeats), Bytes: int64(r.bytes),
		Modalities: r.modalities, SOPClasses: r.sopClasses.uids(), FirstReceived: timeOfMilli(r.first), LastReceived: timeOfMilli(r.last),
	}
	if r.instances > 0 {
		in, err := readEntry(txn, r.newest)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return s, false, err
		}
		if err == nil {
			s.Newest, ok = *in, true
		}
	}
	err = v.addLate(txn, id, &s)
	return s, ok || len(v.late) > 0, err
}

// addLate adds the instances that are not indexed yet, which are in order of arrival.
func (v *studyView) addLate(txn *badger.Txn, id hash8, s *Study) error {
	more, err := v.late.additional(txn)
	if err != nil {
		return err
	}
	s.Instances += more
	seen := map[hash8]bool{}
	for _, in := range v.late {
		s.StudyInstanceUID = in.StudyInstanceUID
		s.Bytes += in.Size
		if s.FirstReceived.IsZero() {
			s.FirstReceived = in.Received
		}
		if in.Received.After(s.LastReceived) {
			s.LastReceived = in.Received
		}
		if in.ID > s.Newest.ID {
			s.Newest = *in
		}
		series := hashOf(string(in.SeriesInstanceUID))
		if seen[series] {
			continue
		}
		seen[series] = true
		if _, known, err := get(txn, seriesKey(id, series)); err != nil {
			return err
		} else if !known {
			s.Series++
		}
	}
	return nil
}

// modality is what a series' record keeps.
func (m Metadata) modality() string { return clip(trimPadding(string(m.Raw(dicom.TagModality))), 16) }

// TextFilter compares one indexed text without regard to case. The zero value selects everything.
type TextFilter struct {
	Text   string
	Prefix bool // what begins with Text
}

func (f TextFilter) set() bool { return foldText(f.Text) != "" }

func (f TextFilter) match(text string) bool {
	want := foldText(f.Text)
	if f.Prefix {
		return strings.HasPrefix(text, want)
	}
	return text == want
}

// StudyFilter narrows a query by what is indexed; the zero value selects every study. Texts are compared in the form in
// which they are indexed, upper case and at most 64 bytes, with those of any of the study's instances, and of a person's
// name each component group by itself. That selects too much rather than too little: whoever needs it exactly compares again.
type StudyFilter struct {
	UIDs            []dicom.UID // any of these Study Instance UIDs
	Series          []dicom.UID // with any of these Series Instance UIDs
	Instances       []dicom.UID // with any of these SOP Instance UIDs
	PatientID       TextFilter  // (0010,0020)
	PatientName     TextFilter  // (0010,0010)
	AccessionNumber TextFilter  // (0008,0050)
	DateFrom        string      // (0008,0020), YYYYMMDD, inclusive; empty: open
	DateTo          string
	Modalities      []string // any of these (0008,0060)
}

// identified tells whether UIDs name what is asked for.
func (f *StudyFilter) identified() bool { return len(f.UIDs)+len(f.Series)+len(f.Instances) > 0 }

// names tells whether an instance has the UIDs of what is asked for below the study.
func (f *StudyFilter) names(in *Instance) bool {
	if len(f.Instances) > 0 {
		return slices.Contains(f.Instances, in.SOPInstanceUID)
	}
	return slices.Contains(f.Series, in.SeriesInstanceUID)
}

// matches tells whether a study is selected by texts, as textKeys makes them, and modalities.
func (f *StudyFilter) matches(r *studyRecord) bool {
	textKeys := r.textKeys
	for _, c := range [...]struct {
		kind byte
		text TextFilter
	}{{kindPatient, f.PatientID}, {kindName, f.PatientName}, {kindAccession, f.AccessionNumber}} {
		if c.text.set() && !slices.ContainsFunc(textKeys, func(k string) bool { return k[0] == c.kind && c.text.match(k[1:]) }) {
			return false
		}
	}
	return (!f.dated() || f.latestDate(textKeys) != "") && f.matchesModality(r.modalities)
}

// matchesModality compares with the modalities that a study has; where they are too many, not all of them are listed.
func (f *StudyFilter) matchesModality(modalities []string) bool {
	return len(f.Modalities) == 0 || len(modalities) >= maxModalities || slices.ContainsFunc(f.Modalities, func(want string) bool {
		return slices.ContainsFunc(modalities, func(m string) bool { return foldText(m) == foldText(want) })
	})
}

func (f *StudyFilter) dated() bool { return f.DateFrom != "" || f.DateTo != "" }

// onlyDated tells that nothing but dates narrows the query.
func (f *StudyFilter) onlyDated() bool {
	return f.dated() && !f.identified() && len(f.Modalities) == 0 && !f.PatientID.set() && !f.PatientName.set() && !f.AccessionNumber.set()
}

func (f *StudyFilter) within(date string) bool {
	return date >= f.DateFrom && (f.DateTo == "" || date <= f.DateTo)
}

// latestDate is the last of a study's dates that is within the range, "" if none is.
func (f *StudyFilter) latestDate(textKeys []string) (latest string) {
	for _, k := range textKeys {
		if k[0] == kindDate && f.within(k[1:]) {
			latest = max(latest, k[1:])
		}
	}
	return latest
}
