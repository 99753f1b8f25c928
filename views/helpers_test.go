package views

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// object are the elements of an instance by keyword.
type object map[string]string

// with is a copy with other elements.
func (o object) with(more object) object {
	out := maps.Clone(o)
	maps.Copy(out, more)
	return out
}

// raw is a value that is written as it stands, not in the character set.
const raw = "raw:"

// encode makes an Explicit VR Little Endian data set.
func (o object) encode(t testing.TB) []byte {
	t.Helper()
	var tags []dicom.Tag
	byTag := map[dicom.Tag]string{}
	for keyword, value := range o {
		tag, ok := dicom.TagByKeyword(keyword)
		if !ok {
			t.Fatal(keyword)
		}
		tags, byTag[tag] = append(tags, tag), value
	}
	slices.Sort(tags)
	var b []byte
	for _, tag := range tags {
		value, isRaw := strings.CutPrefix(byTag[tag], raw)
		if encoded, err := dicom.EncodeText(o["SpecificCharacterSet"], value); !isRaw && err == nil {
			value = string(encoded)
		}
		if len(value)%2 == 1 {
			value += " "
		}
		b = binary.LittleEndian.AppendUint16(b, tag.Group())
		b = binary.LittleEndian.AppendUint16(b, tag.Element())
		b = append(b, dicom.TagVR(tag)...)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
		b = append(b, value...)
	}
	return b
}

// metadata is what the spool's index would hold of an object.
func (o object) metadata(t testing.TB) spool.Metadata {
	t.Helper()
	s := dicom.NewScanner(dicom.ExplicitVRLittleEndian, dicom.DefaultTags())
	if _, err := s.Write(o.encode(t)); err != nil {
		t.Fatal(err)
	}
	return spool.Metadata{Elements: s.Elements()}
}

const ctImage = "1.2.840.10008.5.1.4.1.1.2"

// complete is an image that lacks nothing.
var complete = object{
	"SpecificCharacterSet": "GB18030", "SOPClassUID": ctImage, "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1",
	"PatientName": "Zhang^San=张^三", "PatientID": "P1", "PatientBirthDate": "19700102", "PatientSex": "M", "PatientAge": "054Y",
	"AccessionNumber": "A1", "Modality": "CT", "StudyDate": "20240131", "StudyTime": "235901.5", "SeriesDate": "20240131", "SeriesTime": "235902",
	"AcquisitionDate": "20240201", "AcquisitionTime": "000003", "SeriesNumber": "2", "AcquisitionNumber": "3", "InstanceNumber": "4", "Manufacturer": "联影",
}

// image names instance k of series j of study i.
func image(i, j, k int) object {
	study := fmt.Sprintf("1.%d", i)
	return complete.with(object{
		"StudyInstanceUID": study, "SeriesInstanceUID": fmt.Sprintf("%s.%d", study, j), "SOPInstanceUID": fmt.Sprintf("%s.%d.%d", study, j, k),
		"InstanceNumber": fmt.Sprint(k), "AccessionNumber": fmt.Sprintf("A%d", i),
	})
}

func openSpool(t testing.TB, o spool.Options) *spool.Spool {
	t.Helper()
	o.SegmentSize, o.AllocateStep, o.ReserveBytes, o.MinFree = 16<<20, 1<<20, -1, -1
	s, err := spool.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func store(t testing.TB, s *spool.Spool, o object) spool.Receipt {
	t.Helper()
	w, err := s.Begin(spool.Incoming{SOPClassUID: ctImage, SOPInstanceUID: dicom.UID(o["SOPInstanceUID"]), TransferSyntaxUID: dicom.ExplicitVRLittleEndian, CallingAETitle: "CT1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(o.encode(t)); err != nil {
		t.Fatal(err)
	}
	r, err := w.Commit(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var hospital = Institution{"12511000000000000X", "内江市示例医院"}

func sqliteFile(t testing.TB) *Source {
	t.Helper()
	source, err := ParseSource("sqlite:"+filepath.Join(t.TempDir(), "views ?#%.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// runPublisher runs a publisher until the test ends or stop is called.
func runPublisher(t testing.TB, o Options) (p *Publisher, stop func()) {
	t.Helper()
	if o.Name == "" {
		o.Name = "test"
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-ended; err != nil {
				t.Errorf("publisher: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return p, stop
}

// caughtUp waits until everything that the spool holds is published.
func caughtUp(t testing.TB, s *spool.Spool, p *Publisher) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	peertest.Eventually(t, 30*time.Second, "everything is published", func() bool {
		st := p.Status()
		return st.State == StateRunning && st.Sequence >= s.LastSequence()
	})
}

// exported reads a view as its readers do, without the columns that say when.
func exported(t testing.TB, source *Source, view string) [][]any {
	t.Helper()
	db, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tab *table
	for _, candidate := range tables {
		if candidate.view.Name == view {
			tab = candidate
		}
	}
	d := source.dialect
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+d.name1(view)+" ORDER BY "+d.name1("StudyInstanceUID"))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out [][]any
	for rows.Next() {
		values, err := scanValues(rows, tab.published())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, values)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
