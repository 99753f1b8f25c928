package qr

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Index is what queries and retrievals need of the spool.
type Index interface {
	// Studies yields the studies that a filter selects, perhaps more, never fewer; the newest first.
	Studies(ctx context.Context, f spool.StudyFilter) iter.Seq2[spool.Study, error]
	// SeriesOf yields the series of a study.
	SeriesOf(ctx context.Context, study dicom.UID) iter.Seq2[spool.Series, error]
	// Latest yields the instances of a series, each in the version received last.
	Latest(ctx context.Context, study, series dicom.UID) iter.Seq2[spool.Instance, error]
	// Lookup returns the versions of an instance, oldest first, evicted ones included.
	Lookup(study, series, sop dicom.UID) ([]spool.Instance, error)
	// Open opens an instance.
	Open(id spool.InstanceID) (*spool.Reader, error)
}

// entity is a patient, study, series or instance under examination. What stands for it is an instance.
type entity struct {
	search *search
	study  *spool.Study
	series *spool.Series // nil above its level
	in     *spool.Instance

	looked bool        // into the stored data set
	header []Attribute // what the query wants of it
}

// search is a run of a query.
type search struct {
	*query
	ctx      context.Context
	index    Index
	aeTitle  string
	yield    func(*entity) bool
	patients map[string]bool        // that have been yielded, at their level
	counted  map[string]patientSize // by Patient ID
	err      error                  // of a computed attribute, or one of the stored data set

	regionsOf dicom.UID     // the study whose regions are known
	regions   [][]Attribute // its

	headers    int // stored data sets that were read
	maxHeaders int
	answering  bool // an answer is being made: what it lacks ends nothing
	short      bool // it lacks what no further data set could be read for
}

// matches yields what a query finds at its level, one by one: at the level of images each instance, which is what a
// retrieval moves.
func (q *query) matches(ctx context.Context, index Index, aeTitle string) iter.Seq2[*entity, error] {
	return func(yield func(*entity, error) bool) {
		s := &search{query: q, ctx: ctx, index: index, aeTitle: aeTitle, patients: map[string]bool{}, counted: map[string]patientSize{}, maxHeaders: maxHeaders}
		s.yield = func(e *entity) bool { return yield(e, nil) }
		if err := s.run(); err != nil && !errors.Is(err, errEnough) {
			yield(nil, err)
		}
	}
}

// errEnough ends a search whose results nobody takes any more.
var errEnough = errors.New("enough")

func (s *search) run() error {
	for study, err := range s.index.Studies(s.ctx, s.filter) {
		if err != nil {
			return err
		}
		if study.StudyInstanceUID == "" {
			continue // nobody could ask further
		}
		e := &entity{search: s, study: &study, in: &study.Newest}
		if !s.passes(e, LevelPatient, LevelStudy) {
			if s.err != nil {
				return s.err
			}
			continue
		}
		if err := s.descend(e); err != nil {
			return err
		}
	}
	return s.err
}

// descend yields a study that matches, or what of it matches at a lower level.
func (s *search) descend(e *entity) error {
	switch s.level {
	case LevelPatient:
		return s.emitPatient(e)
	case LevelStudy:
		return s.emit(e)
	}
	for series, err := range s.index.SeriesOf(s.ctx, e.study.StudyInstanceUID) {
		if err != nil {
			return err
		}
		if series.SeriesInstanceUID == "" || len(s.filter.Series) > 0 && !slices.Contains(s.filter.Series, series.SeriesInstanceUID) {
			continue
		}
		if err := s.examineSeries(&entity{search: s, study: e.study, series: &series, in: &series.Newest}); err != nil {
			return err
		}
	}
	return s.err
}

func (s *search) examineSeries(e *entity) error {
	if !s.passes(e, LevelSeries, LevelSeries) {
		return s.err
	}
	if s.level == LevelSeries {
		return s.emit(e)
	}
	for in, err := range s.instances(e.study.StudyInstanceUID, e.series.SeriesInstanceUID) {
		if err != nil {
			return err
		}
		image := &entity{search: s, study: e.study, series: e.series, in: &in}
		if !s.passes(image, LevelImage, LevelImage) {
			if s.err != nil {
				return s.err
			}
			continue
		}
		if err := s.emit(image); err != nil {
			return err
		}
	}
	return nil
}

// lookedUp is how many SOP Instance UIDs are looked up one by one; for more a series is walked.
const lookedUp = 64

// instances yields those of a series that may match: of an image that is asked for by its UID, the series need not be walked.
func (s *search) instances(study, series dicom.UID) iter.Seq2[spool.Instance, error] {
	uids := s.filter.Instances
	if len(uids) == 0 || len(uids) > lookedUp {
		return s.index.Latest(s.ctx, study, series)
	}
	return func(yield func(spool.Instance, error) bool) {
		for i, uid := range uids {
			if slices.Contains(uids[:i], uid) {
				continue
			}
			found, err := s.index.Lookup(study, series, uid)
			found = slices.DeleteFunc(found, func(in spool.Instance) bool { return in.State != spool.InstanceStored })
			switch {
			case err != nil:
				yield(spool.Instance{}, err)
				return
			case len(found) > 0 && !yield(found[len(found)-1], nil):
				return
			}
		}
	}
}

func (s *search) passes(e *entity, from, to Level) bool {
	for i := range s.tests {
		if t := &s.tests[i]; t.level >= from && t.level <= to && !t.match(e) {
			return false
		}
	}
	return s.err == nil
}

func (s *search) emit(e *entity) error {
	if s.err != nil {
		return s.err
	}
	if !s.yield(e) {
		return errEnough
	}
	return nil
}

// emitPatient yields a patient once, as the newest of the studies that match has them. Who has no Patient ID is told apart
// by name and date of birth.
func (s *search) emitPatient(e *entity) error {
	key := patientKey(e)
	if s.patients[key] {
		return nil
	}
	s.patients[key] = true
	return s.emit(e)
}

func patientKey(s subject) string {
	if id := first(s.values(dicom.TagPatientID)); id != "" {
		return id
	}
	return "\x00" + first(s.values(dicom.TagPatientName)) + "\x00" + first(s.values(dicom.TagPatientBirthDate))
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// values are those of an attribute, nil if there are none.
func (e *entity) values(tag dicom.Tag) []string {
	switch s := supported[tag]; {
	case s.computed:
		return e.compute(tag)
	case s.stored:
		if a := e.stored(tag); a != nil {
			return a.Values
		}
		return nil
	}
	switch tag { // the index knows these whether or not the data set has them right
	case dicom.TagStudyInstanceUID:
		return []string{string(e.in.StudyInstanceUID)}
	case dicom.TagSeriesInstanceUID:
		return []string{string(e.in.SeriesInstanceUID)}
	case dicom.TagSOPInstanceUID:
		return []string{string(e.in.SOPInstanceUID)}
	case dicom.TagSOPClassUID:
		return []string{string(e.in.SOPClassUID)}
	}
	for i := range e.in.Metadata.Elements {
		if el := &e.in.Metadata.Elements[i]; el.Tag == tag {
			if dicom.TagVR(tag) == "US" {
				return unsignedValues(el.Value, e.in.TransferSyntaxUID.BigEndian())
			}
			return splitValues(e.in.Metadata.Text(tag), dicom.TagVR(tag))
		}
	}
	return nil
}

// holdsMoment compares a date and its time, which is the begin of the day if there is none.
func holdsMoment(s subject, want span, date, clock dicom.Tag) bool {
	for _, d := range s.values(date) {
		day, ok := parseDate(d)
		if !ok {
			continue
		}
		at := span{from: day.from}
		if times := s.values(clock); len(times) > 0 {
			if t, ok := parseTime(times[0]); ok {
				at = combined(day, t)
			}
		}
		if want.holds(at) {
			return true
		}
	}
	return false
}

// compute gives the attributes that no instance holds.
func (e *entity) compute(tag dicom.Tag) []string {
	switch tag {
	case tagRetrieveAETitle:
		return []string{e.search.aeTitle}
	case tagInstanceAvailability:
		if e.search.level == LevelImage && e.in.Flags&spool.FlagDamaged != 0 {
			return []string{"UNAVAILABLE"}
		}
		return []string{"ONLINE"} // PS3.3 C.4.23.1.1
	case tagModalitiesInStudy:
		return e.study.Modalities
	case tagSOPClassesInStudy:
		return texts(e.study.SOPClasses)
	case tagAvailableTransferSyntaxUID:
		return []string{string(e.in.TransferSyntaxUID)}
	case tagNumberOfStudyRelatedSeries:
		return []string{strconv.Itoa(e.study.Series)}
	case tagNumberOfStudyRelatedInstances:
		return []string{strconv.Itoa(e.study.Instances)}
	case tagNumberOfSeriesRelatedInstances:
		return []string{strconv.Itoa(e.series.Instances)}
	}
	size := e.search.patientSize(strings.TrimSpace(e.in.Metadata.Text(dicom.TagPatientID)))
	switch tag {
	case tagNumberOfPatientRelatedStudies:
		return []string{strconv.Itoa(size.studies)}
	case tagNumberOfPatientRelatedSeries:
		return []string{strconv.Itoa(size.series)}
	case tagNumberOfPatientRelatedInstances:
		return []string{strconv.Itoa(size.instances)}
	}
	return nil
}

// patientSize is what is stored of a patient.
type patientSize struct{ studies, series, instances int }

// maxCounted bounds the patients whose size is remembered.
const maxCounted = 1024

// patientSize counts the studies that have a Patient ID; of nobody's there are none to count.
func (s *search) patientSize(id string) (size patientSize) {
	if id == "" {
		return size
	}
	if size, ok := s.counted[id]; ok {
		return size
	}
	for study, err := range s.index.Studies(s.ctx, spool.StudyFilter{PatientID: spool.TextFilter{Text: id}}) {
		if err != nil {
			s.err = err
			return patientSize{}
		}
		if study.Newest.Metadata.Text(dicom.TagPatientID) != id {
			continue
		}
		size.studies++
		size.series += study.Series
		size.instances += study.Instances
	}
	if len(s.counted) >= maxCounted {
		clear(s.counted)
	}
	s.counted[id] = size
	return size
}
