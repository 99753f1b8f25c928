package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
)

// encodings are files of one study in transfer syntaxes that not everybody takes, by the SOP Instance UID.
func encodings(t testing.TB) (dir string, files map[string]string) {
	t.Helper()
	dir, files = t.TempDir(), map[string]string{}
	pydicom := map[string]string{}
	for _, f := range peertest.PydicomFiles(t) {
		pydicom[filepath.Base(f)] = f
	}
	run := func(program string, args ...string) {
		t.Helper()
		if out, status := peertest.Run(t, nil, peertest.Require(t, program), args...); status != 0 {
			t.Fatalf("%s %v: %s", program, args, out)
		}
	}
	colour := filepath.Join(t.TempDir(), "colour.dcm")
	run("dcmdrle", pydicom["SC_rgb_rle_2frame.dcm"], colour)
	for n, e := range []struct {
		source, program string
		options         []string
	}{
		{pydicom["MR_small.dcm"], "dcmcrle", nil},
		{colour, "dcmcrle", nil},
		{pydicom["CT_small.dcm"], "dcmcjpeg", []string{"+e1"}},
		{colour, "dcmcjpeg", []string{"+el", "+sv", "4"}},
		{colour, "dcmcjpeg", []string{"+eb", "+un"}},
		{pydicom["MR_small.dcm"], "dcmcjpeg", []string{"+ee", "+un"}},
		{pydicom["MR_small.dcm"], "dcmconv", []string{"+td"}},
		{pydicom["rtplan.dcm"], "dcmconv", []string{"+tb"}},
		{pydicom["CT_small.dcm"], "dcmconv", []string{"+te"}},
	} {
		uid := fmt.Sprint("1.2.9.", n+1)
		file := filepath.Join(dir, fmt.Sprint(n, ".dcm"))
		copied := filepath.Join(t.TempDir(), "copy.dcm")
		data, err := os.ReadFile(e.source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, data, 0o600); err != nil {
			t.Fatal(err)
		}
		run("dcmodify", "-nb", "-m", "SOPInstanceUID="+uid, "-i", "StudyInstanceUID=1.2.9", "-i", fmt.Sprint("SeriesInstanceUID=1.2.9.0.", n+1), copied)
		run(e.program, append(append([]string{"-q"}, e.options...), copied, file)...)
		files[uid] = file
	}
	return dir, files
}

// decoded is the data set that DCMTK makes of a file in one of the encodings, in implicit or explicit VR little endian.
func decoded(t testing.TB, file, option string) []byte {
	t.Helper()
	meta, _ := dataSet(t, file)
	program := "dcmconv"
	switch meta.TransferSyntaxUID {
	case dicom.RLELossless:
		program = "dcmdrle"
	case dicom.JPEGBaseline, dicom.JPEGExtended, dicom.JPEGLossless, dicom.JPEGLosslessSV1:
		program = "dcmdjpeg"
	}
	dir := t.TempDir()
	plain, out := filepath.Join(dir, "plain.dcm"), filepath.Join(dir, "out.dcm")
	env := []string{"DCMDICTPATH=/usr/share/libdcmtk17/dicom.dic"} // without VRs for private attributes
	for _, step := range [][]string{{program, "-q", file, plain}, {"dcmconv", "-q", "-g", option, plain, out}} {
		if said, status := peertest.Run(t, env, peertest.Require(t, step[0]), step[1:]...); status != 0 {
			t.Fatalf("%v: %s", step, said)
		}
	}
	return dataSetBytes(t, out)
}

func dataSetBytes(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, begin, err := dicom.ReadFileMeta(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return data[begin:]
}

// compareConverted compares what a storescp has with what DCMTK makes of the files: implicit, or what is not compressed as
// it was stored and the rest explicit.
func compareConverted(t testing.TB, scp *peertest.Peer, files map[string]string, implicit bool) (converted int) {
	t.Helper()
	arrived := map[string]string{}
	for _, f := range scp.Files() {
		meta, _ := dataSet(t, f)
		arrived[string(meta.SOPInstanceUID)] = f
	}
	for uid, file := range files {
		stored, _ := dataSet(t, file)
		option, want := "+ti", dicom.ImplicitVRLittleEndian
		if !implicit {
			option, want = "+te", dicom.ExplicitVRLittleEndian
		}
		as := stored.TransferSyntaxUID
		kept := !implicit && (as == dicom.ExplicitVRLittleEndian || as == dicom.ExplicitVRBigEndian)
		f, ok := arrived[uid]
		if !ok {
			t.Errorf("%s in %s did not arrive", uid, as)
			continue
		}
		got, _ := dataSet(t, f)
		switch {
		case kept && (got.TransferSyntaxUID != as || !bytes.Equal(dataSetBytes(t, f), dataSetBytes(t, file))):
			t.Errorf("%s in %s was to arrive as it is stored, and came in %s", uid, as, got.TransferSyntaxUID)
		case !kept && (got.TransferSyntaxUID != want || !bytes.Equal(dataSetBytes(t, f), decoded(t, file, option))):
			t.Errorf("%s in %s came in %s, other than DCMTK converts it", uid, as, got.TransferSyntaxUID)
		}
		if !kept {
			converted++
		}
	}
	return converted
}

// Destinations that take nothing but implicit VR, or what is not compressed, get what they can take where the configuration
// says so; elsewhere it is parked.
func TestConvertingDestinations(t *testing.T) {
	dir, files := encodings(t)
	implicit, plain := peertest.Storescp(t, nil, "+B", "+xi"), peertest.Storescp(t, nil, "+B", "+xe")
	unasked := peertest.Storescp(t, nil, "+B", "+xi")
	g := newGate(t, "", destination{name: "implicit", aeTitle: implicit.AETitle, address: implicit.Address, more: "convert: true"},
		destination{name: "plain", aeTitle: plain.AETitle, address: plain.Address, more: "convert: true"},
		destination{name: "unasked", aeTitle: unasked.AETitle, address: unasked.Address})
	g.start(t)
	if out, status := peertest.Run(t, nil, binary, "send", g.address, dir); status != 0 {
		t.Fatal(out)
	}
	g.delivered(t, "implicit", len(files), 30*time.Second)
	g.delivered(t, "plain", len(files), 30*time.Second)
	n := compareConverted(t, implicit, files, true) + compareConverted(t, plain, files, false)
	if got := g.metric(t, "dcmgate_conversions_total", `result="converted"`); int(got) != n {
		t.Errorf("%v conversions counted, want %d", got, n)
	}
	peertest.Eventually(t, 30*time.Second, "the rest is parked", func() bool {
		return int(g.metric(t, "dcmgate_jobs", `destination="unasked"`, `state="parked"`)) == len(files)
	})
	if len(unasked.Files()) != 0 {
		t.Errorf("%d files arrived converted that were not to be", len(unasked.Files()))
	}
}

// What a destination of C-MOVE, or who asks by C-GET, does not take as it is stored comes converted, without being asked for.
func TestConvertingRetrievals(t *testing.T) {
	dir, files := encodings(t)
	implicit, plain := peertest.Storescp(t, nil, "+B", "+xi"), peertest.Storescp(t, nil, "+B", "+xe")
	g := mover(t, map[string]string{"IMPLICIT": implicit.Address, "PLAIN": plain.Address})
	if out, status := peertest.Run(t, nil, binary, "send", g.address, dir); status != 0 {
		t.Fatal(out)
	}
	study := []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.9"}
	n := 0
	for title, scp := range map[string]*peertest.Peer{"IMPLICIT": implicit, "PLAIN": plain} {
		if out, status := movescu(t, g, title, study...); status != 0 {
			t.Fatalf("movescu: %s", out)
		}
		n += compareConverted(t, scp, files, title == "IMPLICIT")
	}
	host, port, _ := strings.Cut(g.address, ":")
	got := &peertest.Peer{Dir: t.TempDir()}
	args := append([]string{"-aet", "WS", "-aec", "DCMGATE", "+x=", "+B", "-od", got.Dir}, study...)
	if out, status := peertest.Run(t, nil, peertest.Require(t, "getscu"), append(args, host, port)...); status != 0 {
		t.Fatalf("getscu: %s", out)
	}
	n += compareConverted(t, got, files, false)
	if got := g.metric(t, "dcmgate_conversions_total", `result="converted"`); int(got) != n {
		t.Errorf("%v conversions counted, want %d", got, n)
	}
	if got := g.metric(t, "dcmgate_conversions_total", `result="failed"`); got != 0 {
		t.Errorf("%v conversions failed", got)
	}
}

// An instance whose compressed pixel data is cut does not arrive, the others do, and the answer tells.
func TestAConversionThatFailsIsTold(t *testing.T) {
	dir, files := encodings(t)
	rle := files["1.2.9.1"]
	data, err := os.ReadFile(rle)
	if err != nil {
		t.Fatal(err)
	}
	begin := bytes.LastIndex(data, []byte("\xFE\xFF\x00\xE0")) + 8
	data[begin] = 9 // segments
	if err := os.WriteFile(rle, data, 0o600); err != nil {
		t.Fatal(err)
	}
	implicit := peertest.Storescp(t, nil, "+B", "+xi")
	g := mover(t, map[string]string{"IMPLICIT": implicit.Address})
	if out, status := peertest.Run(t, nil, binary, "send", g.address, dir); status != 0 {
		t.Fatal(out)
	}
	out, status := peertest.Run(t, nil, binary, "move", g.address, "--dest", "IMPLICIT", "-k", "StudyInstanceUID=1.2.9", "--json")
	if status == 0 || !strings.Contains(out, `"status":"B000"`) || !strings.Contains(out, "1 of 9 failed: an instance cannot be converted") || !strings.Contains(out, "1.2.9.1") {
		t.Errorf("status %d: %s", status, out)
	}
	delete(files, "1.2.9.1")
	compareConverted(t, implicit, files, true)
	if len(implicit.Files()) != len(files) {
		t.Errorf("%d files arrived", len(implicit.Files()))
	}
}
