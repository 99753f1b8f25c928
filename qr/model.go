package qr

import (
	"slices"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// SOP classes of C-FIND in the Query/Retrieve service class (PS3.4 C.6).
const (
	PatientRootFind      dicom.UID = "1.2.840.10008.5.1.4.1.2.1.1"
	StudyRootFind        dicom.UID = "1.2.840.10008.5.1.4.1.2.2.1"
	PatientStudyOnlyFind dicom.UID = "1.2.840.10008.5.1.4.1.2.3.1" // retired
)

// SOP classes of C-MOVE, likewise.
const (
	PatientRootMove      = dicom.PatientRootMoveSOPClass
	StudyRootMove        = dicom.StudyRootMoveSOPClass
	PatientStudyOnlyMove = dicom.PatientStudyOnlyMoveSOPClass // retired
)

// SOP classes of C-GET, likewise.
const (
	PatientRootGet      dicom.UID = "1.2.840.10008.5.1.4.1.2.1.3"
	StudyRootGet        dicom.UID = "1.2.840.10008.5.1.4.1.2.2.3"
	PatientStudyOnlyGet dicom.UID = "1.2.840.10008.5.1.4.1.2.3.3" // retired
)

// Level is a Query/Retrieve Level (0008,0052).
type Level uint8

// The levels of PS3.4 C.3, from the top. The zero value is none.
const (
	LevelPatient Level = iota + 1
	LevelStudy
	LevelSeries
	LevelImage
)

var levelNames = [...]string{"none", "PATIENT", "STUDY", "SERIES", "IMAGE"}

// String is the level's defined term.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a defined term of (0008,0052).
func ParseLevel(term string) (Level, bool) {
	i := slices.Index(levelNames[1:], term)
	return Level(i + 1), i >= 0
}

// uniqueKeys are the unique key attributes of the levels (PS3.4 C.6.1.1, C.6.2.1).
var uniqueKeys = [...]dicom.Tag{
	LevelPatient: dicom.TagPatientID,
	LevelStudy:   dicom.TagStudyInstanceUID,
	LevelSeries:  dicom.TagSeriesInstanceUID,
	LevelImage:   dicom.TagSOPInstanceUID,
}

// model is an information model: a hierarchy of levels, with its SOP class for each operation.
type model struct {
	find, move, get dicom.UID
	name            string
	levels          []Level // from the top
}

var models = []model{
	{PatientRootFind, PatientRootMove, PatientRootGet, "patient root", []Level{LevelPatient, LevelStudy, LevelSeries, LevelImage}},
	{StudyRootFind, StudyRootMove, StudyRootGet, "study root", []Level{LevelStudy, LevelSeries, LevelImage}},
	{PatientStudyOnlyFind, PatientStudyOnlyMove, PatientStudyOnlyGet, "patient/study only", []Level{LevelPatient, LevelStudy}},
}

// sopClass is that of an operation.
func (m *model) sopClass(operation dimse.CommandField) dicom.UID {
	switch operation {
	case dimse.CFindRQ:
		return m.find
	case dimse.CMoveRQ:
		return m.move
	}
	return m.get
}

// FindSOPClasses returns the SOP classes that [SCP.Find] serves. The slice is the caller's.
func FindSOPClasses() []dicom.UID { return sopClasses(dimse.CFindRQ) }

// MoveSOPClasses returns the SOP classes that [SCP.Move] serves. The slice is the caller's.
func MoveSOPClasses() []dicom.UID { return sopClasses(dimse.CMoveRQ) }

// GetSOPClasses returns the SOP classes that [SCP.Get] serves. The slice is the caller's.
func GetSOPClasses() []dicom.UID { return sopClasses(dimse.CGetRQ) }

func sopClasses(operation dimse.CommandField) (uids []dicom.UID) {
	for _, m := range models {
		uids = append(uids, m.sopClass(operation))
	}
	return uids
}

// modelOf finds the model of an operation's SOP class.
func modelOf(operation dimse.CommandField, sopClass dicom.UID) (model, bool) {
	i := slices.IndexFunc(models, func(m model) bool { return m.sopClass(operation) == sopClass })
	if i < 0 {
		return model{}, false
	}
	return models[i], true
}

// above lists the levels over l, from the top.
func (m model) above(l Level) []Level { return m.levels[:max(slices.Index(m.levels, l), 0)] }
