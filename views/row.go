package views

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// FileState says what FilePathName of an image's row names.
type FileState string

// States of files.
const (
	FileReady   FileState = "ready"   // the whole file
	FileEvicted FileState = "evicted" // nothing any more: the bytes were given up after delivery
	FileMissing FileState = "missing" // nothing: the instance cannot be read

	FileWithdrawn FileState = "withdrawn" // nothing any more: the image, which is not DICOM, is not to be shown
)

// File is where the cloud finds an instance.
type File struct {
	Path  string // absolute path or URL, "" unless ready
	State FileState
}

// Row is what one row says. Two rows of the same content have the same Hash.
type Row struct {
	Key      string   // of the study or instance, 32 hexadecimal digits
	Values   []any    // of the view's columns in their order: string, int64 or nil
	Gaps     []string // what is wrong, such as "PatID missing"
	Lacking  bool     // a required column is empty
	Complete bool
	State    FileState // of an image
	Received time.Time // when the study grew last
	Hash     string
}

// subject is what a row is about.
type subject struct {
	set            *Settings
	in             *spool.Instance // the image, or the one that stands for the study
	modalities     []string
	series, images int
	file           File
}

func (s *subject) text(tag dicom.Tag) any { return text(s.in.Metadata.Text(tag)) }

// makers make the columns, those of the same name in every view alike.
var makers = map[string]func(*subject) any{
	"HospCode": func(s *subject) any { return text(s.set.InstitutionOf(s.in.CallingAETitle).Code) },
	"HostName": func(s *subject) any { return text(s.set.InstitutionOf(s.in.CallingAETitle).Name) },
	"PatName":  func(s *subject) any { return text(personName(s.in.Metadata.Text(dicom.TagPatientName))) },
	"BirthDate": func(s *subject) any {
		return dated(parseDate(s.in.Metadata.Text(dicom.TagPatientBirthDate)))
	},
	"PatSex": func(s *subject) any { return text(sex(s.in.Metadata.Text(dicom.TagPatientSex))) },
	"PatAge": func(s *subject) any {
		m := &s.in.Metadata
		return text(age(m.Text(dicom.TagPatientAge), m.Text(dicom.TagPatientBirthDate), m.Text(dicom.TagStudyDate)))
	},
	"AccessionNumber":   func(s *subject) any { return s.text(dicom.TagAccessionNumber) },
	"StudyInstanceUID":  func(s *subject) any { return text(string(s.in.StudyInstanceUID)) },
	"PatID":             func(s *subject) any { return s.text(dicom.TagPatientID) },
	"SeriesInstanceUID": func(s *subject) any { return text(string(s.in.SeriesInstanceUID)) },
	"SOPInstanceUID":    func(s *subject) any { return text(string(s.in.SOPInstanceUID)) },
	"Modality":          func(s *subject) any { return text(s.set.ModalityOf(s.modalities)) },
	"StudyDate": func(s *subject) any {
		if t, ok := s.at(dicom.TagStudyDate, dicom.TagStudyTime); ok {
			return dated(t, ok)
		}
		return dated(parseDate(s.in.Metadata.Text(dicom.TagStudyDate)))
	},
	"StudyTime":         func(s *subject) any { return timed(s.at(dicom.TagStudyDate, dicom.TagStudyTime)) },
	"SeriesTime":        func(s *subject) any { return timed(s.at(dicom.TagSeriesDate, dicom.TagSeriesTime)) },
	"AcquisitionTime":   func(s *subject) any { return timed(acquired(&s.in.Metadata, s.set.location())) },
	"SeriesNumber":      func(s *subject) any { return s.text(dicom.TagSeriesNumber) },
	"AcquisitionNumber": func(s *subject) any { return s.text(dicom.TagAcquisitionNumber) },
	"InstanceNumber":    func(s *subject) any { return s.text(dicom.TagInstanceNumber) },
	"Manufacturer":      func(s *subject) any { return s.text(dicom.TagManufacturer) },
	"RelationField":     func(s *subject) any { return s.in.ID.String() },
	"FilePathName":      func(s *subject) any { return text(s.file.Path) },
	// The standard's Chinese counts: the series first, then the images (errata 45).
	"Instancecount": func(s *subject) any { return s.count(!s.set.SwapCounts) },
	"imagecount":    func(s *subject) any { return s.count(s.set.SwapCounts) },
}

func (s *subject) at(date, clock dicom.Tag) (time.Time, bool) {
	return moment(&s.in.Metadata, date, clock, s.set.location())
}

func (s *subject) count(series bool) any {
	if series {
		return int64(s.series)
	}
	return int64(s.images)
}

// StudyRow makes the row of V_StudyInfo for a study with so many series and images known, as of now.
func (s *Settings) StudyRow(study *spool.Study, series, images int, now time.Time) Row {
	r := s.row(StudyInfo, &subject{set: s, in: &study.Newest, modalities: study.Modalities, series: series, images: images})
	r.Key = rowKey(study.StudyInstanceUID)
	r.Received = study.LastReceived
	r.Complete = now.Sub(study.LastReceived) >= s.Quiet
	return r
}

// ImageRow makes the row of V_DocImage for an instance whose file is known. It is complete if the file is there.
func (s *Settings) ImageRow(in *spool.Instance, file File) Row {
	modality := []string{clean(in.Metadata.Text(dicom.TagModality))}
	r := s.row(DocImage, &subject{set: s, in: in, modalities: modality, file: file})
	r.Key = imageKey(in)
	r.State, r.Complete = file.State, file.State == FileReady
	r.Received = in.Received
	return r
}

func rowKey[T ~string](uids ...T) string {
	h := sha256.New()
	for _, uid := range uids {
		fmt.Fprintf(h, "%d %s", len(uid), string(uid))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func imageKey(in *spool.Instance) string {
	return rowKey(in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID)
}

// row makes the columns of a view, fills gaps by rule and notes those that remain.
func (s *Settings) row(v View, about *subject) Row {
	r := Row{Values: make([]any, len(v.Columns))}
	for i, c := range v.Columns {
		value := s.fill(c, makers[c.Name](about), about.in)
		if str, ok := value.(string); ok && c.Length > 0 && utf8.RuneCountInString(str) > c.Length {
			value = string([]rune(str)[:c.Length])
			r.Gaps = append(r.Gaps, c.Name+" too long")
		}
		if value == nil && c.Required == "required" {
			r.Gaps = append(r.Gaps, c.Name+" missing")
			r.Lacking = true
		}
		r.Values[i] = value
	}
	return r
}

// sum fills in Hash. Complete of a study is not part of it: that passes with time, not by a change.
func (r *Row) sum() {
	b := make([]byte, 0, 1024)
	for _, v := range r.Values {
		switch v := v.(type) {
		case string:
			b = strconv.AppendQuote(append(b, "string "...), v)
		case int64:
			b = strconv.AppendInt(append(b, `int64 "`...), v, 10)
			b = append(b, '"')
		default:
			b = append(b, `<nil> "<nil>"`...)
		}
		b = append(b, 0)
	}
	b = append(append(append(b, r.gaps()...), 0), r.State...)
	hash := sha256.Sum256(b)
	r.Hash = hex.EncodeToString(hash[:16])
}

// maxGaps bounds the text of gaps, in characters.
const maxGaps = 500

func (r *Row) gaps() string {
	text := strings.Join(r.Gaps, "; ")
	return text[:min(len(text), maxGaps)]
}
