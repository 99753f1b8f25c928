package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"dcmgate/dicom"
)

// Limits of identifiers, in characters: those of the standard's columns (4.2.5).
const (
	maxAccessionNumber  = 64
	maxStudyInstanceUID = 512 // of all
	maxPatID            = 64
)

// Identifiers say what an image belongs to. Their names are those of the standard's columns; all are needed.
type Identifiers struct {
	AccessionNumber  string
	StudyInstanceUID string // of several they are joined with commas
	PatID            string
}

// Names of identifiers, in the order of the standard.
const (
	FieldAccessionNumber  = "AccessionNumber"
	FieldStudyInstanceUID = "StudyInstanceUID"
	FieldPatID            = "PatID"
)

// IdentifierError says which identifier is not as it has to be, without its value, which may tell of a patient.
type IdentifierError struct{ Field, Reason string }

// Error implements error.
func (e *IdentifierError) Error() string { return e.Field + ": " + e.Reason }

// Normalize takes spaces around values away, and joins UIDs by the comma that the standard means (errata 35). The error is
// an *[IdentifierError].
func (id Identifiers) Normalize() (Identifiers, error) {
	var err error
	if id.AccessionNumber, err = plain(FieldAccessionNumber, id.AccessionNumber, maxAccessionNumber); err != nil {
		return id, err
	}
	if id.StudyInstanceUID, err = plain(FieldStudyInstanceUID, id.StudyInstanceUID, maxStudyInstanceUID); err != nil {
		return id, err
	}
	uids := strings.FieldsFunc(id.StudyInstanceUID, func(r rune) bool { return r == ',' || r == '，' || r == ' ' })
	for _, uid := range uids {
		if err := dicom.UID(uid).Valid(); err != nil {
			return id, &IdentifierError{FieldStudyInstanceUID, err.Error()}
		}
	}
	if len(uids) == 0 {
		return id, &IdentifierError{FieldStudyInstanceUID, "holds no UID"}
	}
	id.StudyInstanceUID = strings.Join(uids, ",")
	id.PatID, err = plain(FieldPatID, id.PatID, maxPatID)
	return id, err
}

func plain(field, value string, most int) (string, error) {
	value = strings.TrimSpace(value)
	switch {
	case value == "":
		return "", &IdentifierError{field, "is missing"}
	case !utf8.ValidString(value) || strings.ContainsRune(value, utf8.RuneError):
		return "", &IdentifierError{field, "is not text in UTF-8"}
	case strings.ContainsFunc(value, unicode.IsControl):
		return "", &IdentifierError{field, "holds a control character"}
	case utf8.RuneCountInString(value) > most:
		return "", &IdentifierError{field, fmt.Sprintf("has more than %d characters", most)}
	}
	return value, nil
}

// set sets the field of a name.
func (id *Identifiers) set(field, value string) error {
	switch field {
	case FieldAccessionNumber:
		id.AccessionNumber = value
	case FieldStudyInstanceUID:
		id.StudyInstanceUID = value
	case FieldPatID:
		id.PatID = value
	default:
		return &IdentifierError{fmt.Sprintf("%.40q", field), "is not one of " + FieldAccessionNumber + ", " + FieldStudyInstanceUID + ", " + FieldPatID}
	}
	return nil
}

// MaxSidecar bounds a file of identifiers, in bytes.
const MaxSidecar = 64 << 10

// ParseSidecar reads identifiers from a JSON object of strings, in UTF-8 or else in GB18030, such as
// {"AccessionNumber": "A1", "StudyInstanceUID": "1.2.3", "PatID": "P1"}. Nothing else may be in it, and nothing twice.
func ParseSidecar(data []byte) (Identifiers, error) {
	var id Identifiers
	if len(data) > MaxSidecar {
		return id, fmt.Errorf("has more than %d bytes", MaxSidecar)
	}
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	if !utf8.Valid(data) {
		decoded, err := simplifiedchinese.GB18030.NewDecoder().Bytes(data)
		if err != nil || bytes.ContainsRune(decoded, utf8.RuneError) {
			return id, errors.New("is neither UTF-8 nor GB18030")
		}
		data = decoded
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := delimiter(d, '{'); err != nil {
		return id, err
	}
	seen := map[string]bool{}
	for d.More() {
		field, value, err := member(d)
		if err == nil {
			err = id.set(field, value)
		}
		if err != nil {
			return id, err
		}
		if seen[field] {
			return id, &IdentifierError{field, "is there twice"}
		}
		seen[field] = true
	}
	if err := delimiter(d, '}'); err != nil {
		return id, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return id, errors.New("goes on after its JSON object")
	}
	return id.Normalize()
}

func delimiter(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	if err != nil || token != want {
		return errors.New("is not a JSON object")
	}
	return nil
}

// member reads a name and a value, which has to be a string: numbers lose zeros.
func member(d *json.Decoder) (field, value string, err error) {
	token, err := d.Token()
	if err != nil {
		return "", "", errors.New("is not a JSON object")
	}
	field = token.(string) // of an object's member it is one
	if token, err = d.Token(); err != nil {
		return "", "", errors.New("is not a JSON object")
	}
	value, ok := token.(string)
	if !ok {
		return "", "", &IdentifierError{fmt.Sprintf("%.40q", field), "is not a string in quotes"}
	}
	return field, value, nil
}
