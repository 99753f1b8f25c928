package spool

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// Bounds of what a study's record lists.
const (
	maxModalities = 32
	maxTextKeys   = 64
)

// What the record of a study or series that a transaction touches may add to its size, in bytes.
const (
	studyAllowance  = 1 << 10
	seriesAllowance = 1 << 9
)

// seriesID names a series in keys.
type seriesID struct{ study, series hash8 }

// studyRecord is the value of an s key:
//
//	instances8 series8 bytes8 first8(ms) last8(ms) newest8 s UID
//	uvarint modalities, each s; uvarint text keys, each s (kind and text); uvarint repeats, absent for none in format 1;
//	SOP classes (sopclasses.go), absent in formats before 3
//
// The newest instance stands for the study when its attributes are asked for. The text keys are those that exist for the
// study: its instances need not agree on the patient's name.
type studyRecord struct {
	instances, series, bytes uint64
	first, last              int64
	newest                   InstanceID
	uid                      dicom.UID
	modalities               []string
	textKeys                 []string
	repeats                  uint64 // stored instances that are a further version of another
	sopClasses               sopClassCounts

	seen []byte // raw values the text keys were made of last, to spare making them again
}

// seriesRecord is the value of an e key: instances8 bytes8 first8 last8 newest8 s UID, s modality, uvarint repeats.
type seriesRecord struct {
	instances, bytes uint64
	first, last      int64
	newest           InstanceID
	uid              dicom.UID
	modality         string
	repeats          uint64
}

func (r *studyRecord) append(b []byte) []byte {
	b = appendUint64s(b, r.instances, r.series, r.bytes, uint64(r.first), uint64(r.last), uint64(r.newest))
	b = appendString(b, r.uid)
	for _, list := range [...][]string{r.modalities, r.textKeys} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, s := range list {
			b = appendString(b, s)
		}
	}
	return r.sopClasses.append(binary.AppendUvarint(b, r.repeats))
}

func decodeStudy(b []byte) (*studyRecord, error) {
	d := decoder{b: b}
	r := &studyRecord{
		instances: d.uint64(), series: d.uint64(), bytes: d.uint64(),
		first: int64(d.uint64()), last: int64(d.uint64()), newest: InstanceID(d.uint64()),
		uid: dicom.UID(d.str()),
	}
	for _, list := range [...]*[]string{&r.modalities, &r.textKeys} {
		for range d.count(1) {
			*list = append(*list, d.str())
		}
	}
	r.repeats = d.repeats()
	r.sopClasses = d.sopClasses()
	return r, d.err()
}

func (r *seriesRecord) append(b []byte) []byte {
	b = appendUint64s(b, r.instances, r.bytes, uint64(r.first), uint64(r.last), uint64(r.newest))
	return binary.AppendUvarint(appendString(appendString(b, r.uid), r.modality), r.repeats)
}

func decodeSeries(b []byte) (*seriesRecord, error) {
	d := decoder{b: b}
	r := &seriesRecord{
		instances: d.uint64(), bytes: d.uint64(),
		first: int64(d.uint64()), last: int64(d.uint64()), newest: InstanceID(d.uint64()),
		uid: dicom.UID(d.str()), modality: d.str(), repeats: d.repeats(),
	}
	return r, d.err()
}

// repeats takes the number of further versions from the record of a study or series; format 1 had none.
func (d *decoder) repeats() uint64 {
	if len(d.b) == 0 {
		return 0
	}
	return d.uvarint()
}

// distinct counts the instances of a record without further versions of the same.
func distinct(instances, repeats uint64) int { return int(instances - min(repeats, instances)) }

// study gives the study's record for change. A malformed one is begun anew: it is a summary, which a rebuild restores.
func (t *tx) study(id hash8, uid dicom.UID) (*studyRecord, error) {
	if r, ok := t.studies[id]; ok {
		return r, nil
	}
	value, ok, err := get(t.txn, studyKey(id))
	if err != nil {
		return nil, err
	}
	t.bytes += studyAllowance + len(value)
	r := &studyRecord{uid: uid}
	if ok {
		if old, err := decodeStudy(value); err == nil {
			r = old
		}
	}
	t.studies[id] = r
	return r, nil
}

func (t *tx) seriesOf(id seriesID, uid dicom.UID) (*seriesRecord, error) {
	if r, ok := t.series[id]; ok {
		return r, nil
	}
	value, ok, err := get(t.txn, seriesKey(id.study, id.series))
	if err != nil {
		return nil, err
	}
	t.bytes += seriesAllowance + len(value)
	r := &seriesRecord{uid: uid}
	if ok {
		if old, err := decodeSeries(value); err == nil {
			r = old
		}
	}
	t.series[id] = r
	return r, nil
}

// addToTree enters a stored instance under its study and series; repeat tells that a version of it is stored already.
func (t *tx) addToTree(in *Instance, repeat bool) error {
	k := identityOf(in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID)
	study, err := t.study(k.study, in.StudyInstanceUID)
	if err != nil {
		return err
	}
	series, err := t.seriesOf(seriesID{k.study, k.series}, in.SeriesInstanceUID)
	if err != nil {
		return err
	}
	t.set(treeKey(k.study, k.series, in.ID), nil)
	modality := in.Metadata.modality()
	ms := in.Received.UnixMilli()
	if series.instances == 0 {
		study.series++
		series.first = ms
		t.set(seriesStudyKey(k.series, k.study), nil)
	}
	if study.instances == 0 {
		t.arrive(k.study, study, ms)
	}
	series.instances++
	study.instances++
	if repeat {
		series.repeats++
		study.repeats++
	}
	series.bytes += uint64(in.Size)
	study.bytes += uint64(in.Size)
	series.last, study.last = max(series.last, ms), max(study.last, ms)
	series.newest, study.newest = max(series.newest, in.ID), max(study.newest, in.ID)
	study.sopClasses.add(in.SOPClassUID, 1)
	if modality != "" {
		series.modality = modality
		if len(study.modalities) < maxModalities && !slices.Contains(study.modalities, modality) {
			study.modalities = append(study.modalities, modality)
			study.seen = nil
		}
	}
	t.addTextKeys(k.study, study, in)
	return nil
}

// addTextKeys makes the study findable by what this instance says of patient, accession and date.
func (t *tx) addTextKeys(id hash8, study *studyRecord, in *Instance) {
	m := &in.Metadata
	raw := bytes.Join([][]byte{m.Raw(dicom.TagSpecificCharacterSet), m.Raw(dicom.TagPatientName), m.Raw(dicom.TagPatientID),
		m.Raw(dicom.TagAccessionNumber), m.Raw(dicom.TagStudyDate)}, []byte{'\\'})
	if study.seen != nil && bytes.Equal(raw, study.seen) {
		return
	}
	study.seen = raw
	for _, k := range textKeys(m) {
		if len(study.textKeys) < maxTextKeys && !slices.Contains(study.textKeys, k) {
			study.textKeys = append(study.textKeys, k)
			for _, key := range expandTextKey(k, id) {
				t.set(key, nil)
			}
		}
	}
	for _, key := range study.modalityKeys(id) {
		t.set(key, nil)
	}
}

// textKeys lists the keys, without the study, under which an instance's study can be found: kind and folded text.
func textKeys(m *Metadata) []string {
	var keys []string
	add := func(kind byte, text string) {
		if text != "" {
			keys = append(keys, string(kind)+text)
		}
	}
	add(kindPatient, foldText(m.Text(dicom.TagPatientID)))
	for group := range strings.SplitSeq(m.Text(dicom.TagPatientName), "=") { // PS3.5 6.2.1: alphabetic, ideographic, phonetic
		add(kindName, foldText(group))
	}
	add(kindAccession, foldText(m.Text(dicom.TagAccessionNumber)))
	add(kindDate, foldText(strings.ReplaceAll(m.Text(dicom.TagStudyDate), ".", ""))) // PS3.5 6.2: once YYYY.MM.DD
	return keys
}

// expandTextKey gives the keys of the index that stand for one of textKeys.
func expandTextKey(k string, study hash8) [][]byte {
	if k[0] == kindPatient {
		return [][]byte{patientKey(hashOf(k[1:]), study), textKey(kindPatientID, k[1:], study)}
	}
	return [][]byte{textKey(k[0], k[1:], study)}
}

// removeFromTree takes an evicted instance out; what becomes empty goes with it. repeat tells that another version of it
// stays.
func (t *tx) removeFromTree(in *Instance, repeat bool) error {
	k := identityOf(in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID)
	study, err := t.study(k.study, in.StudyInstanceUID)
	if err != nil {
		return err
	}
	series, err := t.seriesOf(seriesID{k.study, k.series}, in.SeriesInstanceUID)
	if err != nil {
		return err
	}
	t.delete(treeKey(k.study, k.series, in.ID))
	study.sopClasses.remove(in.SOPClassUID)
	series.bytes -= min(series.bytes, uint64(in.Size))
	study.bytes -= min(study.bytes, uint64(in.Size))
	if repeat {
		series.repeats, study.repeats = dec(series.repeats), dec(study.repeats)
	}
	if series.instances = dec(series.instances); series.instances == 0 {
		study.series = dec(study.series)
		study.repeats -= min(study.repeats, series.repeats) // of versions that are no longer remembered
		series.repeats = 0
	} else if series.newest == in.ID {
		if series.newest, err = t.newestUnder(append(treePrefix(k.study), k.series[:]...)); err != nil {
			return err
		}
	}
	if study.instances = dec(study.instances); study.instances > 0 && study.newest == in.ID {
		study.newest, err = t.newestUnder(treePrefix(k.study))
	}
	return err
}

// dec counts down and stays at zero: a summary that was begun anew must not wrap around.
func dec(n uint64) uint64 { return n - min(n, 1) }

// newestUnder finds the highest ID among tree keys. It is needed only when the newest instance goes before others,
// which eviction, oldest first, rarely does.
func (t *tx) newestUnder(prefix []byte) (newest InstanceID, err error) {
	err = scan(t.txn, prefix, nil, false, func(key, _ []byte) (bool, error) {
		newest = max(newest, idAt(key[17:]))
		return true, nil
	})
	return newest, err
}

// finishTree writes the summaries that changed.
func (t *tx) finishTree() {
	for id, r := range t.studies {
		if r.instances > 0 {
			t.set(studyKey(id), r.append(nil))
			continue
		}
		t.delete(studyKey(id))
		t.delete(arrivalKey(r.first, id))
		for _, k := range r.textKeys {
			for _, key := range expandTextKey(k, id) {
				t.delete(key)
			}
		}
		for _, key := range r.allModalityKeys(id) {
			t.delete(key)
		}
	}
	for id, r := range t.series {
		if r.instances > 0 {
			t.set(seriesKey(id.study, id.series), r.append(nil))
		} else {
			t.delete(seriesKey(id.study, id.series))
			t.delete(seriesStudyKey(id.series, id.study))
		}
	}
}

// instancesUnder lists the IDs of stored instances under a tree prefix, from a key on, at most limit.
func instancesUnder(txn *badger.Txn, prefix, start []byte, limit int) (ids []InstanceID, last []byte, err error) {
	err = scan(txn, prefix, start, false, func(key, _ []byte) (bool, error) {
		ids = append(ids, idAt(key[17:]))
		last = bytes.Clone(key)
		return len(ids) < limit, nil
	})
	return ids, last, err
}
