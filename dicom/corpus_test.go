package dicom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	godicom "github.com/grailbio/go-dicom"
	"github.com/grailbio/go-dicom/dicomio"

	"dcmgate/internal/peertest"
)

// corpusFile is one of pydicom's files.
type corpusFile struct {
	name string
	meta FileMeta
	data []byte // from the begin of the data set
}

// corpus reads pydicom's files, which are of nearly every transfer syntax and
// character set, and some of which are broken.
func corpus(t *testing.T) []corpusFile {
	t.Helper()
	var files []corpusFile
	for _, path := range peertest.PydicomFiles(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		meta, offset, err := ReadFileMeta(bytes.NewReader(content))
		if filepath.Base(path) == "no_meta.dcm" {
			// Its first element lacks a byte; DCMTK refuses it as well.
			if !errors.Is(err, ErrNotDICOM) {
				t.Errorf("no_meta.dcm: %v", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
			continue
		}
		files = append(files, corpusFile{name: filepath.Base(path), meta: meta, data: content[offset:]})
	}
	if len(files) < 50 {
		t.Fatalf("%d files, want more", len(files))
	}
	return files
}

// The scanner finds what go-dicom finds, where that can read the file.
func TestScannerAgainstGoDicom(t *testing.T) {
	compared := 0
	for _, file := range corpus(t) {
		s := NewScanner(file.meta.TransferSyntaxUID, defaultTags)
		s.Write(file.data)
		if err := s.Err(); err != nil {
			t.Errorf("%s: %v", file.name, err)
		}
		for _, e := range oracle(file) {
			tag := NewTag(e.Tag.Group, e.Tag.Element)
			value, found := s.Value(tag)
			if text := strings.Trim(string(value), " \x00"); found && isText(e) && text != strings.Join(stringsOf(e), `\`) {
				t.Errorf("%s: %s: %d bytes are not go-dicom's value", file.name, tag, len(value))
			} else if found {
				compared++
			}
			if wanted := strings.Contains(tagList, tag.String()); wanted && !found && len(e.Value) < 100 {
				t.Errorf("%s: %s is not found", file.name, tag)
			}
		}
	}
	if compared < 1000 {
		t.Errorf("%d elements compared, want more", compared)
	}
}

var tagList = func() string {
	var b strings.Builder
	for _, tag := range defaultTags {
		b.WriteString(tag.String())
	}
	return b.String()
}()

// oracle reads elements of the data set with go-dicom until it stumbles.
func oracle(file corpusFile) []*godicom.Element {
	ts := file.meta.TransferSyntaxUID
	if ts.Deflated() {
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if ts.BigEndian() {
		order = binary.BigEndian
	}
	vr := dicomio.ExplicitVR
	if ts.ImplicitVR() {
		vr = dicomio.ImplicitVR
	}
	d := dicomio.NewBytesDecoder(file.data, order, vr)
	var elements []*godicom.Element
	for !d.EOF() {
		e := godicom.ReadElement(d, godicom.ReadOptions{DropPixelData: true})
		if d.Error() != nil || e.Tag.Group >= 0x7FE0 {
			break
		}
		elements = append(elements, e)
	}
	return elements
}

func isText(e *godicom.Element) bool {
	v, ok := vrNamed(e.VR)
	return ok && v.text
}

func stringsOf(e *godicom.Element) []string {
	var values []string
	for _, v := range e.Value {
		if s, ok := v.(string); ok {
			values = append(values, s)
		}
	}
	return values
}

// The tree agrees with the scanner on every file that is not cut off.
func TestParseElementsOfCorpus(t *testing.T) {
	for _, file := range corpus(t) {
		tree, err := ParseElements(file.data, file.meta.TransferSyntaxUID)
		switch {
		case file.name == "rtplan_truncated.dcm":
			if err == nil {
				t.Errorf("%s: no error", file.name)
			}
		case err != nil:
			t.Errorf("%s: %v", file.name, err)
		case !file.meta.TransferSyntaxUID.Deflated():
			compareWithScanner(t, tree, file.data, file.meta.TransferSyntaxUID)
		}
	}
}

// Files without File Meta Information, or without all of it.
func TestReadFileMetaOfCorpus(t *testing.T) {
	guessed := map[string]UID{
		"ExplVR_BigEndNoMeta.dcm": ExplicitVRBigEndian,
		"ExplVR_LitEndNoMeta.dcm": ExplicitVRLittleEndian,
		"rtstruct.dcm":            ImplicitVRLittleEndian,
		// It has no data set either.
		"meta_missing_tsyntax.dcm": ImplicitVRLittleEndian,
	}
	for _, file := range corpus(t) {
		want, ok := guessed[file.name]
		if ok && file.meta.TransferSyntaxUID != want || file.meta.Guessed && !ok {
			t.Errorf("%s: %+v", file.name, file.meta)
		}
		if file.meta.SOPInstanceUID != "" && file.meta.SOPClassUID == "" {
			t.Errorf("%s: instance without class: %+v", file.name, file.meta)
		}
	}
}

// Names in all character sets of pydicom's charset files.
func TestTextOfCorpus(t *testing.T) {
	want := map[string]string{
		"chrArab.dcm":                "قباني^لنزار",
		"chrFren.dcm":                "Buc^Jérôme",
		"chrFrenMulti.dcm":           "Buc^Jérôme",
		"chrGerm.dcm":                "Äneas^Rüdiger",
		"chrGreek.dcm":               "Διονυσιος",
		"chrH31.dcm":                 "Yamada^Tarou=山田^太郎=やまだ^たろう",
		"chrH32.dcm":                 "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
		"chrHbrw.dcm":                "שרון^דבורה",
		"chrI2.dcm":                  "Hong^Gildong=洪^吉洞=홍^길동",
		"chrJapMulti.dcm":            "やまだ^たろう",
		"chrJapMultiExplicitIR6.dcm": "やまだ^たろう",
		"chrKoreanMulti.dcm":         "김희중",
		"chrRuss.dcm":                "Люкceмбypг",
		"chrX1.dcm":                  "Wang^XiaoDong=王^小東=",
		"chrX2.dcm":                  "Wang^XiaoDong=王^小东=",
	}
	for _, file := range corpus(t) {
		text, ok := want[file.name]
		if !ok {
			continue
		}
		delete(want, file.name)
		s := NewScanner(file.meta.TransferSyntaxUID, defaultTags)
		s.Write(file.data)
		charset, _ := s.Value(TagSpecificCharacterSet)
		raw, _ := s.Value(TagPatientName)
		if got := Text(charset, raw, "PN"); got != text {
			t.Errorf("%s: %q, want %q", file.name, got, text)
		}
		if got, err := EncodeText(string(charset), text); err != nil || Text(charset, got, "PN") != text {
			t.Errorf("%s: encoded as %q, %v", file.name, got, err)
		}
	}
	if len(want) > 0 {
		t.Errorf("files not found: %v", want)
	}
}

// Items may have a character set of their own, else that around them.
func TestTextInItemsOfCorpus(t *testing.T) {
	want := map[string]string{"chrSQEncoding.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", "chrSQEncoding1.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"}
	for _, file := range corpus(t) {
		name, ok := want[file.name]
		if !ok {
			continue
		}
		tree, err := ParseElements(file.data, file.meta.TransferSyntaxUID)
		if err != nil || !strings.Contains(outline(tree), name) {
			t.Errorf("%s: %v\n%s", file.name, err, outline(tree))
		}
	}
}

// A file read from its reader goes on with the data set.
func TestReadFileMetaSeek(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, append(testMeta.Append(nil), "data set"...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, offset, err := ReadFileMeta(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(f); err != nil || string(rest) != "data set" {
		t.Errorf("%q, %v", rest, err)
	}
}
