package synth

import (
	"bytes"
	"io"
	"testing"

	"dcmgate/dicom"
)

func TestObjectsDifferAndRepeat(t *testing.T) {
	tmpl := NewTemplate(20000, 7)
	a, b := tmpl.Object(1, 2, 3), tmpl.Object(1, 2, 4)
	if again := tmpl.Object(1, 2, 3); !bytes.Equal(a.Data, again.Data) || a.SOPInstanceUID != again.SOPInstanceUID {
		t.Error("the same numbers gave another object")
	}
	if bytes.Equal(a.Data, b.Data) || a.SOPInstanceUID == b.SOPInstanceUID {
		t.Error("other numbers gave the same object")
	}
	if n := len(a.Data); n != tmpl.Size() || n%2 != 0 || n < 19998 || n > 20000 {
		t.Errorf("%d bytes, want about 20000", n)
	}
	for _, uid := range []string{a.StudyInstanceUID, a.SeriesInstanceUID, a.SOPInstanceUID} {
		if len(uid) != uidLength || !bytes.Contains(a.Data, []byte(uid)) {
			t.Errorf("UID %q of %d characters is not in the data", uid, len(uid))
		}
	}
}

func TestStreamHasTheLengthItSays(t *testing.T) {
	r, size, o := Stream(10<<20, 1)
	scan := dicom.NewScanner(ExplicitVRLittleEndian, []dicom.Tag{dicom.TagStudyInstanceUID})
	n, err := io.Copy(io.MultiWriter(scan, io.Discard), r)
	if err != nil || n != size || n < 10<<20 {
		t.Errorf("%d bytes and %v, want %d", n, err, size)
	}
	if found := scan.Elements(); scan.Err() != nil || len(found) != 1 || string(dicom.ParseUID(found[0].Value)) != o.StudyInstanceUID {
		t.Errorf("scanned %v, %v", found, scan.Err())
	}
	if o.SOPInstanceUID == "" || o.Data != nil {
		t.Errorf("object %+v", o)
	}
}
