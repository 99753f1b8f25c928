package qr

import (
	"errors"
	"slices"
	"strings"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// extensions are what extended negotiation adds to a query (PS3.4 C.5.1.1.1).
type extensions struct {
	relational bool // unique keys above the level may be missing
	dateTime   bool // combined date-time matching
	fuzzy      bool // fuzzy semantic matching of person names
}

// query is an identifier that was held to the rules of its model.
type query struct {
	model    model
	level    Level
	charset  string      // the caller's
	keys     []Attribute // of the identifier, the level among them
	ext      extensions
	asked    []Attribute
	look     []dicom.Tag // what is wanted of stored data sets
	tests    []test
	filter   spool.StudyFilter
	partly   bool     // an optional key is not supported: matches are FF01
	keyNames []string // for the log: keywords of the keys that narrow the query
}

// test is a key that has to match.
type test struct {
	level Level
	tag   dicom.Tag
	cost  cost
	match func(s subject) bool
}

// cost is what a test has to look at beyond the index.
type cost uint8

const (
	costIndex    cost = iota // nothing
	costInstance             // a stored data set
	costStudy                // those of all instances of a study
)

// subject is what a test looks at.
type subject interface {
	values(tag dicom.Tag) []string
	items(tag dicom.Tag) [][]Attribute // of a sequence
}

// refusal is an answer that ends a query before it has begun.
type refusal struct {
	status   dimse.Status
	elements []dicom.Tag
	comment  string
}

func (r *refusal) Error() string { return r.comment }

func mismatch(tag dicom.Tag, comment string) error {
	return &refusal{dimse.StatusDataSetMismatch, []dicom.Tag{tag}, comment}
}

// newQuery holds an identifier to the rules of a model (PS3.4 C.4.1.2, C.4.1.3). Errors are *refusal.
func newQuery(m model, id *Identifier, x extensions) (*query, error) {
	q := &query{model: m, charset: id.CharacterSet, keys: id.Attributes, ext: x}
	var err error
	if q.level, err = levelOf(m, id); err != nil {
		return nil, err
	}
	if !x.relational {
		if err := q.checkHierarchy(id); err != nil {
			return nil, err
		}
	}
	joined := map[dicom.Tag]bool{}
	if x.dateTime {
		if joined, err = q.joinMoments(id); err != nil {
			return nil, err
		}
	}
	for i := range id.Attributes {
		a := &id.Attributes[i]
		if a.Tag == dicom.TagQueryRetrieveLevel || a.Tag == dicom.TagTimezoneOffsetFromUTC {
			continue
		}
		if err := q.add(a, x, joined[a.Tag]); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(q.tests, func(a, b test) int { return int(a.cost) - int(b.cost) })
	q.narrow(id, x)
	return q, nil
}

func levelOf(m model, id *Identifier) (Level, error) {
	a := id.Find(dicom.TagQueryRetrieveLevel)
	if a == nil || len(a.Values) != 1 {
		return 0, mismatch(dicom.TagQueryRetrieveLevel, "Query/Retrieve Level is missing")
	}
	l, ok := ParseLevel(a.Values[0])
	if !ok || !slices.Contains(m.levels, l) {
		return 0, mismatch(dicom.TagQueryRetrieveLevel, "Query/Retrieve Level is none of the "+m.name+" model")
	}
	return l, nil
}

// checkHierarchy demands one value of each unique key above the level (PS3.4 C.4.1.2.1).
func (q *query) checkHierarchy(id *Identifier) error {
	for _, l := range q.model.above(q.level) {
		tag := uniqueKeys[l]
		a := id.Find(tag)
		switch {
		case a == nil || a.isUniversal():
			return mismatch(tag, dicom.TagName(tag)+" is needed at level "+q.level.String())
		case len(a.Values) != 1 || a.VR != "UI" && strings.ContainsAny(a.Values[0], "*?"):
			return mismatch(tag, dicom.TagName(tag)+" above the level takes one value")
		}
	}
	return nil
}

// add takes a key up. What is not supported for existence is not answered, and what is not supported for matching matches
// everything; either is told by FF01 (PS3.4 C.4.1.1.4).
func (q *query) add(a *Attribute, x extensions, joined bool) error {
	s, ok := supported[a.Tag]
	if !ok || s.level > q.level || (a.VR == "SQ") != (dicom.TagVR(a.Tag) == "SQ") {
		q.partly = true
		return nil
	}
	if a.VR == "SQ" {
		return q.addSequence(a, s, x)
	}
	key := *a
	key.VR = dicom.TagVR(a.Tag)
	q.asked = append(q.asked, Attribute{Tag: a.Tag, VR: key.VR})
	if s.stored {
		q.look = append(q.look, a.Tag)
	}
	if a.isUniversal() {
		return nil
	}
	if s.returnOnly {
		q.partly = true
		return nil
	}
	q.keyNames = append(q.keyNames, dicom.TagName(a.Tag))
	if joined {
		return nil
	}
	match, err := newMatcher(&key, x.fuzzy)
	var wrong *keyError
	if errors.As(err, &wrong) {
		return mismatch(wrong.tag, dicom.TagName(wrong.tag)+" is "+wrong.reason)
	}
	q.tests = append(q.tests, test{level: s.level, tag: a.Tag, cost: s.cost(a.Tag), match: func(s subject) bool { return match(s.values(a.Tag)) }})
	return nil
}

// joinMoments makes one test of each pair of date and time that both have a value, and tells which keys that covers.
func (q *query) joinMoments(id *Identifier) (map[dicom.Tag]bool, error) {
	joined := map[dicom.Tag]bool{}
	for _, pair := range momentPairs {
		date, clock := id.Find(pair.date), id.Find(pair.time)
		if date == nil || clock == nil || len(date.Values) != 1 || len(clock.Values) != 1 || date.isUniversal() || clock.isUniversal() {
			continue
		}
		dates, ok := parseSpan(date.Values[0], "DA")
		if !ok {
			return nil, mismatch(pair.date, dicom.TagName(pair.date)+" is neither a date nor a range")
		}
		times, ok := parseSpan(clock.Values[0], "TM")
		if !ok {
			return nil, mismatch(pair.time, dicom.TagName(pair.time)+" is neither a time nor a range")
		}
		want := combined(dates, times)
		q.tests = append(q.tests, test{level: supported[pair.date].level, tag: pair.date, match: func(s subject) bool {
			return holdsMoment(s, want, pair.date, pair.time)
		}})
		joined[pair.date], joined[pair.time] = true, true
	}
	return joined, nil
}

// narrow finds what the index can be asked for.
func (q *query) narrow(id *Identifier, x extensions) {
	f := &q.filter
	f.UIDs = uidsOf(id.Find(dicom.TagStudyInstanceUID))
	modality := id.Find(tagModalitiesInStudy)
	if q.level >= LevelSeries {
		f.Series = uidsOf(id.Find(dicom.TagSeriesInstanceUID))
		if m := id.Find(dicom.TagModality); m != nil && !m.isUniversal() {
			modality = m
		}
	}
	if q.level == LevelImage {
		f.Instances = uidsOf(id.Find(dicom.TagSOPInstanceUID))
	}
	f.PatientID = textFilter(id.Find(dicom.TagPatientID))
	if q.level == LevelPatient {
		f.UIDs = nil
	} else {
		f.AccessionNumber = textFilter(id.Find(dicom.TagAccessionNumber))
		f.DateFrom, f.DateTo = dateRange(id.Find(dicom.TagStudyDate))
		f.Modalities = literals(modality)
	}
	if !x.fuzzy {
		f.PatientName = nameFilter(id.Find(dicom.TagPatientName))
	}
}

func uidsOf(a *Attribute) (uids []dicom.UID) {
	if a == nil || a.isUniversal() {
		return nil
	}
	for _, v := range a.Values {
		if v != "" {
			uids = append(uids, dicom.UID(v))
		}
	}
	return uids
}

func textFilter(a *Attribute) spool.TextFilter {
	if a == nil || len(a.Values) != 1 {
		return spool.TextFilter{}
	}
	prefix, whole := literalPrefix(a.Values[0])
	return spool.TextFilter{Text: prefix, Prefix: !whole}
}

// literals are the values of a key that has no wildcards and is not universal.
func literals(a *Attribute) (values []string) {
	if a == nil || a.isUniversal() {
		return nil
	}
	for _, v := range a.Values {
		if strings.ContainsAny(v, "*?") {
			return nil
		}
		if v != "" {
			values = append(values, v)
		}
	}
	return values
}

// nameFilter looks a name up by the begin of one component group: the index holds the groups with the empty components
// that a name may end with.
func nameFilter(a *Attribute) spool.TextFilter {
	if a == nil || len(a.Values) != 1 {
		return spool.TextFilter{}
	}
	for group := range strings.SplitSeq(a.Values[0], "=") {
		prefix, _ := literalPrefix(group)
		if prefix = strings.TrimRight(prefix, "^ "); prefix != "" { // WANG^* finds WANG
			return spool.TextFilter{Text: prefix, Prefix: true}
		}
	}
	return spool.TextFilter{}
}

func dateRange(a *Attribute) (from, to string) {
	if a == nil || len(a.Values) != 1 || a.isUniversal() {
		return "", ""
	}
	s, ok := parseSpan(a.Values[0], "DA")
	if !ok {
		return "", ""
	}
	if !s.openFrom {
		from = s.from.Format("20060102")
	}
	if !s.openTo {
		to = s.to.Format("20060102")
	}
	return from, to
}
