package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// received gives a folder an instance, as its association would.
func received(f *folder, uid dicom.UID, data io.Reader) dimse.Status {
	status, _ := f.store(context.Background(), &dimse.Request{
		Context: dimse.NegotiatedContext{AbstractSyntax: dicom.CTImageStorage, TransferSyntax: dicom.ExplicitVRLittleEndian, SCP: true},
		Command: dimse.Command{AffectedSOPClassUID: dicom.CTImageStorage, AffectedSOPInstanceUID: uid}, Data: data,
	})
	return status
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Nothing is replaced, nothing is written twice, and what is incomplete leaves no trace.
func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for _, row := range []struct {
		uid      dicom.UID
		data     io.Reader
		status   dimse.Status
		files    int
		existing int
	}{
		{"1.2.3", strings.NewReader("data set"), dimse.StatusSuccess, 1, 0},
		{"1.2.3", strings.NewReader("data set"), dimse.StatusSuccess, 1, 1},
		{"1.2.3", strings.NewReader("another"), dimse.StatusSuccess, 2, 1},
		{"1.2.3", strings.NewReader("another"), dimse.StatusSuccess, 2, 2},
		{"1.2.4", io.MultiReader(strings.NewReader("begin"), failing{}), dimse.StatusProcessingFailure, 2, 2},
		{"", strings.NewReader("data set"), dimse.StatusInvalidSOPInstance, 2, 2},
	} {
		if status := received(f, row.uid, row.data); status != row.status || f.files != row.files || f.existing != row.existing || f.fault != nil {
			t.Errorf("%s: %v, %d files, %d existing, %v", row.uid, status, f.files, f.existing, f.fault)
		}
	}
	if got := namesIn(t, dir); !slices.Equal(got, []string{"1.2.3-2.dcm", "1.2.3.dcm"}) || !slices.Equal(f.renamed, got[:1]) {
		t.Errorf("files %v, renamed %v", got, f.renamed)
	}
	b, err := os.ReadFile(filepath.Join(dir, "1.2.3.dcm"))
	if err != nil {
		t.Fatal(err)
	}
	meta, n, err := dicom.ReadFileMeta(bytes.NewReader(b))
	if err != nil || meta.SOPInstanceUID != "1.2.3" || meta.SOPClassUID != dicom.CTImageStorage || meta.TransferSyntaxUID != dicom.ExplicitVRLittleEndian || string(b[n:]) != "data set" {
		t.Errorf("%+v, %v", meta, err)
	}
	if err := f.sync(); err != nil {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("association aborted") }

// Whatever a peer calls its instances, files are written to the folder alone, and to no link in it.
func TestNamesOfHostileInstances(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "in")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(parent, "outside"), filepath.Join(dir, "1.2.9.dcm")); err != nil {
		t.Fatal(err)
	}
	f, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	hostile := []dicom.UID{"../1.2.3", "/etc/passwd", "..", ".", "a/b", "1.2\x00.3", `C:\x`, dicom.UID(strings.Repeat("1.", 5000)), "NUL", "-rf", "1.2.9", "\xff\n", "~"}
	for _, uid := range hostile {
		if status := received(f, uid, strings.NewReader("x")); status != dimse.StatusSuccess {
			t.Errorf("%.20q: %v, %v", uid, status, f.fault)
		}
	}
	if got := namesIn(t, parent); !slices.Equal(got, []string{"in"}) {
		t.Errorf("beside the folder: %v", got)
	}
	got := namesIn(t, dir)
	if len(got) != len(hostile)+1 {
		t.Errorf("%d files: %v", len(got), got)
	}
	for _, name := range got {
		if strings.ContainsAny(name, "/\\\x00\n~") || len(name) > 80 || strings.HasPrefix(name, "-") {
			t.Errorf("%q", name)
		}
	}
}

// 127 contexts: all transfer syntaxes of what is sure before anything else, then each likely class in the first ones.
func TestStorageProposal(t *testing.T) {
	var likely []dicom.UID
	for i := range 60 {
		likely = append(likely, dicom.UID(fmt.Sprint("1.9.", i)))
	}
	contexts, roles := storageProposal([]dicom.UID{"1.1", "1.2", "1.1"}, append(likely, "1.2"), []dicom.UID{"1.8.1", "1.8.2", "1.8.3"})
	if len(contexts) != 127 || len(roles) != 62 || contexts[0].ID != 3 || contexts[126].ID != 255 {
		t.Errorf("%d contexts, %d roles, %d to %d", len(contexts), len(roles), contexts[0].ID, contexts[126].ID)
	}
	var pairs []string
	for i := range contexts {
		if c := &contexts[i]; len(c.TransferSyntaxes) != 1 {
			t.Errorf("%+v", c)
		} else {
			pairs = append(pairs, c.AbstractSyntax+" "+c.TransferSyntaxes[0])
		}
	}
	if want := []string{"1.1 1.8.1", "1.2 1.8.1", "1.1 1.8.2", "1.2 1.8.2", "1.1 1.8.3", "1.2 1.8.3", "1.9.0 1.8.1", "1.9.1 1.8.1"}; !slices.Equal(pairs[:8], want) {
		t.Errorf("%v", pairs[:8])
	}
	if pairs[66] != "1.9.0 1.8.2" || pairs[126] != "1.9.0 1.8.3" {
		t.Errorf("%v", pairs[60:])
	}
	for _, r := range roles {
		if r.SCU || !r.SCP {
			t.Errorf("%+v", r)
		}
	}
	for _, m := range modalityClasses {
		for _, c := range m.classes {
			if !dicom.IsStorageSOPClass(c) {
				t.Errorf("%s: %s is no storage SOP class", m.modality, c)
			}
		}
	}
}
