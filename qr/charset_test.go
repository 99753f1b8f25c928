package qr

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// queryCharsets are what callers ask in.
var queryCharsets = []string{"", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126", "ISO_IR 127", "ISO_IR 138", "ISO_IR 144", "ISO_IR 148",
	"ISO_IR 166", "ISO_IR 13", "ISO_IR 192", "GB18030", "GBK", `\ISO 2022 IR 58`, `\ISO 2022 IR 87`, `ISO 2022 IR 13\ISO 2022 IR 87`, `\ISO 2022 IR 149`, `\ISO 2022 IR 126\ISO 2022 IR 144`}

// named is an instance whose name is that of a character set file.
type named struct{ file, name string }

// characterSetFiles stores the names of pydicom's files as the files have them.
func characterSetFiles(t *testing.T, s *spool.Spool) (all []named) {
	t.Helper()
	for _, path := range peertest.PydicomFiles(t) {
		file := strings.TrimSuffix(filepath.Base(path), ".dcm")
		if filepath.Base(filepath.Dir(path)) != "charset_files" || strings.HasPrefix(file, "chrSQ") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		meta, at, err := dicom.ReadFileMeta(strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		scan := dicom.NewScanner(meta.TransferSyntaxUID, []dicom.Tag{dicom.TagSpecificCharacterSet, dicom.TagPatientName})
		_, _ = scan.Write(data[at:])
		charset, _ := scan.Value(dicom.TagSpecificCharacterSet)
		name, _ := scan.Value(dicom.TagPatientName)
		encoded, err := dicom.EncodeElements([]dicom.DataElement{
			{Tag: dicom.TagSpecificCharacterSet, VR: "CS", Value: charset}, {Tag: dicom.TagSOPClassUID, VR: "UI", Value: []byte(ctImage)},
			{Tag: dicom.TagSOPInstanceUID, VR: "UI", Value: []byte("1." + string(rune('1'+len(all))))}, {Tag: dicom.TagPatientName, VR: "PN", Value: name},
			{Tag: dicom.TagPatientID, VR: "LO", Value: []byte(file)}, {Tag: dicom.TagStudyInstanceUID, VR: "UI", Value: []byte("1.2." + file[3:])},
			{Tag: dicom.TagSeriesInstanceUID, VR: "UI", Value: []byte("1.3")},
		}, dicom.ExplicitVRLittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		storeBytes(t, s, dicom.UID(ctImage), dicom.UID("1.4."+file[3:]), dicom.ExplicitVRLittleEndian, encoded)
		all = append(all, named{file, strings.TrimRight(dicom.Text(charset, name, "PN"), " ")})
	}
	if len(all) < 12 {
		t.Fatalf("only %d files", len(all))
	}
	return all
}

// A name is found in every character set that has its characters, and is answered in one that has them: that of the query,
// else UTF-8. (0008,0005) is always there.
func TestCharacterSetFilesBothWays(t *testing.T) {
	s := patients(t)
	all := characterSetFiles(t, s)
	scp := newSCP(t, s)
	for _, n := range all {
		asked := 0
		for _, charset := range queryCharsets {
			_, err := dicom.EncodeText(charset, n.name)
			keys := object{"QueryRetrieveLevel": "STUDY", "PatientID": n.file, "PatientName": ""}
			if err == nil {
				asked++
				keys["PatientName"] = n.name
			}
			ids, _ := ask(t, scp, Caller{}, StudyRootFind, charset, keys)
			want := charset
			switch {
			case err != nil:
				want = "ISO_IR 192"
			case charset == "":
				want = "ISO_IR 100"
			}
			if len(ids) != 1 {
				t.Errorf("%s in %q: %d matches", n.file, charset, len(ids))
				continue
			}
			if name := ids[0].Find(dicom.TagPatientName).Values; !slices.Equal(name, []string{n.name}) || ids[0].CharacterSet != want {
				t.Errorf("%s in %q: %q in %q, want %q in %q", n.file, charset, name, ids[0].CharacterSet, n.name, want)
			}
		}
		if asked < 2 {
			t.Errorf("%s: %q can be asked for in %d sets", n.file, n.name, asked)
		}
	}
}
