package qr

import (
	"context"
	"iter"
	"slices"
	"strings"

	"dcmgate/dicom"
)

// Upstream is an archive behind the gateway, which is asked for what the gateway does not hold. Its methods may be called by
// many goroutines.
type Upstream interface {
	// Name is what the archive is called in comments, log lines and metrics.
	Name() string
	// AETitle is the archive's own. What it asks the gateway itself is not put to it.
	AETitle() string
	// Find puts a question to the archive and yields what it answers, as it comes. An error ends it: *Unavailable, or that
	// of ctx, with which it returns at once; closing the association is not waited for. Whoever stops early has the
	// question cancelled.
	Find(ctx context.Context, q Question) iter.Seq2[Match, error]
	// Fetch has the archive send instances to the gateway, and returns when it says that it has: moved is how many, negative
	// if it does not say. Several who want the same share one C-MOVE, which ends when nobody wants it any more. Errors are as
	// of Find; instances may have come all the same, and may still come.
	Fetch(ctx context.Context, w Wanted) (moved int, err error)
	// Arrived tells that an instance of a series has come, from wherever.
	Arrived(study, series dicom.UID)
}

// Wanted is a series, or some of its instances.
type Wanted struct {
	Study, Series dicom.UID
	Instances     []dicom.UID // nil: all
}

// Identifier is that of a C-MOVE in the Study Root model (PS3.4 C.4.2.1.4.1).
func (w Wanted) Identifier() *Identifier {
	level := LevelSeries
	id := &Identifier{}
	set := func(tag dicom.Tag, values ...string) {
		id.set(Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: values})
	}
	set(dicom.TagStudyInstanceUID, string(w.Study))
	set(dicom.TagSeriesInstanceUID, string(w.Series))
	if len(w.Instances) > 0 {
		level = LevelImage
		var uids []string
		for _, uid := range w.Instances {
			uids = append(uids, string(uid))
		}
		set(dicom.TagSOPInstanceUID, uids...)
	}
	set(dicom.TagQueryRetrieveLevel, level.String())
	return id
}

// Unavailable is why an upstream was not asked, or why its answer is not complete.
type Unavailable struct {
	Reason string // few words without patient data, for an Error Comment of 64 characters
	Err    error  // the cause; may be nil
}

// Error implements error.
func (e *Unavailable) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Unavailable) Unwrap() error { return e.Err }

// Match is one match that an upstream has answered.
type Match struct {
	Identifier *Identifier
	Partly     bool // some keys were not matched: FF01
}

// Question is a query as it is put to an upstream. What it refers to is shared: do not change it.
type Question struct {
	SOPClass   dicom.UID // of C-FIND, which names the model
	Level      Level
	Identifier *Identifier

	// What the caller has negotiated (PS3.4 C.5.1.1.1): keys above the level may be missing, dates and times are matched
	// together, person names fuzzily.
	Relational, DateTime, Fuzzy bool
}

// question is the query as its caller has asked it.
func (q *query) question() Question {
	x := Question{
		SOPClass: q.model.find, Level: q.level, Identifier: &Identifier{CharacterSet: q.charset},
		Relational: q.ext.relational && q.checkHierarchy(&Identifier{Attributes: q.keys}) != nil,
		DateTime:   q.ext.dateTime, Fuzzy: q.ext.fuzzy,
	}
	for _, a := range q.keys {
		switch a.Tag {
		case dicom.TagTimezoneOffsetFromUTC:
			continue // nobody negotiates it
		case tagRetrieveAETitle, tagInstanceAvailability:
			a.Values = nil // what there is to match is the gateway's
		}
		x.Identifier.Attributes = append(x.Identifier.Attributes, a)
	}
	if unique := uniqueKeys[q.level]; x.Identifier.Find(unique) == nil {
		x.Identifier.set(Attribute{Tag: unique, VR: dicom.TagVR(unique)})
	}
	return x
}

// set enters an attribute in its place, or replaces it.
func (id *Identifier) set(a Attribute) {
	i, found := slices.BinarySearchFunc(id.Attributes, a.Tag, func(a Attribute, tag dicom.Tag) int { return int(int64(a.Tag) - int64(tag)) })
	if found {
		id.Attributes[i] = a
		return
	}
	id.Attributes = slices.Insert(id.Attributes, i, a)
}

// In puts the question in one of the models that an archive speaks, named by their SOP classes of C-FIND; ok is false if it
// cannot be asked in any of them.
func (q Question) In(spoken []dicom.UID) (_ Question, ok bool) {
	if slices.Contains(spoken, q.SOPClass) {
		return q, true
	}
	if q.Level != LevelPatient && slices.Contains(spoken, StudyRootFind) {
		if q.Level != LevelStudy && !q.Relational {
			q.Identifier = q.Identifier.without(func(tag dicom.Tag) bool { return supported[tag].level == LevelPatient && !supported[tag].computed })
		}
		q.SOPClass = StudyRootFind
		return q, true
	}
	if !slices.Contains(spoken, PatientRootFind) {
		return q, false
	}
	id := q.Identifier.Find(dicom.TagPatientID)
	if q.SOPClass == StudyRootFind && !q.Relational && (id == nil || len(id.Values) != 1 || strings.ContainsAny(id.Values[0], "*?")) && q.Level != LevelPatient {
		return q, false // the key above the level is not known
	}
	q.SOPClass = PatientRootFind
	return q, true
}

// Apart is the question for an archive that does not match dates and times together: the times are left open, so that what
// it answers is too much rather than too little.
func (q Question) Apart() Question {
	id := &Identifier{CharacterSet: q.Identifier.CharacterSet, Attributes: slices.Clone(q.Identifier.Attributes)}
	for _, pair := range momentPairs {
		date, clock := id.Find(pair.date), id.Find(pair.time)
		if date != nil && clock != nil && !date.isUniversal() && !clock.isUniversal() {
			clock.Values = nil
		}
	}
	q.Identifier, q.DateTime = id, false
	return q
}

// without is the identifier without some of its attributes.
func (id *Identifier) without(drop func(tag dicom.Tag) bool) *Identifier {
	out := &Identifier{CharacterSet: id.CharacterSet}
	for _, a := range id.Attributes {
		if !drop(a.Tag) {
			out.Attributes = append(out.Attributes, a)
		}
	}
	return out
}

// Labelled is the identifier in a character set, or in UTF-8 if that does not have all its characters; with "" in its own.
func (id *Identifier) Labelled(charset string) *Identifier {
	if charset == "" {
		charset = id.CharacterSet
	}
	if !id.readable(charset) {
		charset = charsetUTF8
	}
	return &Identifier{CharacterSet: charset, Attributes: id.Attributes}
}
