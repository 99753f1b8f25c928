package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/mrdata"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
)

// sums maps SOP Instance UIDs to the SHA-256 of their data sets.
type sums map[dicom.UID][sha256.Size]byte

// dataSet returns the File Meta Information of a Part 10 file and the digest of its data set.
func dataSet(t testing.TB, path string) (dicom.FileMeta, [sha256.Size]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta, at, err := dicom.ReadFileMeta(f)
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(path), err)
	}
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return meta, [sha256.Size]byte(h.Sum(nil))
}

// folderSums are the digests of all Part 10 files of a folder.
func folderSums(t testing.TB, files []string) sums {
	t.Helper()
	all := sums{}
	for _, f := range files {
		meta, sum := dataSet(t, f)
		all[meta.SOPInstanceUID] = sum
	}
	return all
}

// corpus writes files of every transfer syntax that Debian's tools and pydicom's files offer into a folder: pydicom's own
// files, and one real MR image as each of DCMTK's encoders makes it. Each file has a SOP Instance UID of its own.
func corpus(t testing.TB) (string, sums) {
	t.Helper()
	dir, all := t.TempDir(), sums{}
	syntaxes := map[dicom.UID]bool{}
	keep := func(path string) {
		meta, sum := dataSet(t, path)
		if _, there := all[meta.SOPInstanceUID]; there || meta.SOPInstanceUID == "" {
			os.Remove(path)
			return
		}
		all[meta.SOPInstanceUID] = sum
		syntaxes[meta.TransferSyntaxUID] = true
	}
	for _, path := range peertest.PydicomFiles(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) < 132 || string(data[128:132]) != "DICM" || strings.Contains(path, "DICOMDIR") {
			continue
		}
		meta, _, err := dicom.ReadFileMeta(strings.NewReader(string(data)))
		if err != nil || meta.TransferSyntaxUID == "" || meta.SOPClassUID == "" || meta.SOPClassUID == "1.2.840.10008.1.3.10" {
			continue // a file without the identifiers that C-STORE needs, or a DICOMDIR, which is never sent
		}
		to := filepath.Join(dir, "pydicom-"+filepath.Base(path))
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
		keep(to)
	}
	mr := filepath.Join(dir, "mr.dcm")
	writeFirstMR(t, mr)
	keep(mr)
	for name, encode := range map[string][]string{
		"implicit": {"dcmconv", "+ti"}, "explicit": {"dcmconv", "+te"}, "bigendian": {"dcmconv", "+tb"}, "deflated": {"dcmconv", "+td"},
		"jpeg-lossless": {"dcmcjpeg", "+e1"}, "jpeg-process14": {"dcmcjpeg", "+el"}, "jpeg-extended": {"dcmcjpeg", "+ee"},
		"jpeg-ls": {"dcmcjpls", "+el"}, "rle": {"dcmcrle"},
	} {
		to := filepath.Join(dir, name+".dcm")
		out, status := peertest.Run(t, nil, peertest.Require(t, encode[0]), append(append([]string{}, encode[1:]...), mr, to)...)
		if status != 0 {
			t.Fatalf("%s: %s", name, out)
		}
		if out, status := peertest.Run(t, nil, peertest.Require(t, "dcmodify"), "-nb", "-gin", to); status != 0 {
			t.Fatalf("dcmodify %s: %s", name, out)
		}
		keep(to)
	}
	t.Logf("%d files in %d transfer syntaxes", len(all), len(syntaxes))
	if len(all) < 50 || len(syntaxes) < 11 {
		t.Fatalf("a corpus of %d files in %d transfer syntaxes is too small", len(all), len(syntaxes))
	}
	return dir, all
}

// everySyntax adds an object of each transfer syntax of the standard to a corpus. The gateway looks into no pixel data, so
// these hold none that a decoder would take.
func everySyntax(t testing.TB, dir string, all sums) {
	t.Helper()
	for i, syntax := range dicom.TransferSyntaxes() {
		if !syntax.Encapsulated() {
			continue // DCMTK has made those
		}
		o := synth.NewTemplate(3000, 99).Object(1, 1, i)
		data := append(o.Data[:len(o.Data)-2], 0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0)
		meta := dicom.FileMeta{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: syntax}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("syntax-%02d.dcm", i)), append(meta.Append(nil), data...), 0o600); err != nil {
			t.Fatal(err)
		}
		all[meta.SOPInstanceUID] = sha256.Sum256(data)
	}
	if len(all) < 90 {
		t.Fatalf("%d objects; some transfer syntaxes are missing", len(all))
	}
}

// writeFirstMR writes the first of the real MR images.
func writeFirstMR(t testing.TB, path string) {
	t.Helper()
	err := mrdata.Walk(func(f mrdata.File) error {
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			return err
		}
		return io.EOF // one is enough
	})
	if err != io.EOF {
		t.Fatal(err)
	}
}

// expect waits until the archive holds want, and nothing else, byte for byte.
func expect(t testing.TB, a *archive.Archive, want sums) {
	t.Helper()
	peertest.Eventually(t, 30*time.Second, "all instances in the archive", func() bool {
		return a.Counts().Instances >= len(want)
	})
	for uid, sum := range want {
		if e, ok := a.Lookup(uid); !ok {
			t.Errorf("%s did not arrive", uid)
		} else if e.Digest != sum {
			t.Errorf("%s arrived with other bytes", uid)
		} else if e.Answered != 1 {
			t.Errorf("%s was delivered %d times", uid, e.Answered)
		}
	}
	if n := a.Counts().Instances; n != len(want) {
		t.Errorf("%d instances arrived, want %d", n, len(want))
	}
}

// TestEveryTransferSyntax sends the corpus with our own SCU through the gateway, and to a second gateway behind it.
func TestEveryTransferSyntax(t *testing.T) {
	dir, want := corpus(t)
	everySyntax(t, dir, want)
	cloud, address := startArchive(t, archive.Options{})
	second := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	second.start(t)
	first := newGate(t, "", destination{name: "second", aeTitle: "DCMGATE", address: second.address})
	first.start(t)
	out, status := peertest.Run(t, nil, binary, "send", first.address, dir)
	if status != 0 {
		t.Fatalf("send: exit status %d\n%s", status, out)
	}
	expect(t, cloud, want)
}

// TestDCMTKSenders compares what storescp receives from DCMTK's senders directly with what they send through the gateway:
// DCMTK writes data sets anew when it sends, so only this comparison is to the byte.
func TestDCMTKSenders(t *testing.T) {
	dir, _ := corpus(t)
	for _, sender := range []struct {
		name    string
		program string
		args    []string
	}{
		{"dcmsend", "dcmsend", []string{"-dn", "-nh", "-nuc", "+sd", "+r"}},
		{"dcmsend small PDUs", "dcmsend", []string{"-dn", "-nh", "-nuc", "-pdu", "4096", "--max-send-pdu", "4096", "+sd", "+r"}},
		{"storescu", "storescu", []string{"+sd", "+r", "-nh", "-R", "-xr"}},
	} {
		t.Run(sender.name, func(t *testing.T) {
			program := peertest.Require(t, sender.program)
			send := func(address string) {
				host, port, _ := strings.Cut(address, ":")
				args := append(append([]string{}, sender.args...), "-aec", "DCMGATE", host, port, dir)
				out, _ := peertest.Run(t, []string{"TCP_NODELAY=1"}, program, args...)
				t.Logf("%s: %d bytes of output", sender.program, len(out))
			}
			direct := peertest.Storescp(t, []string{"TCP_NODELAY=1"}, "+B", "+xa")
			send(direct.Address)
			want := folderSums(t, direct.Files())
			if len(want) < 20 {
				t.Fatalf("%s sent only %d files to storescp", sender.program, len(want))
			}
			cloud, address := startArchive(t, archive.Options{})
			g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
			g.start(t)
			send(g.address)
			// The gateway may accept more syntaxes than storescp does; what both took must be the same.
			peertest.Eventually(t, 30*time.Second, "instances from "+sender.program, func() bool {
				for uid := range want {
					if _, ok := cloud.Lookup(uid); !ok {
						return false
					}
				}
				return true
			})
			for uid, sum := range want {
				if e, ok := cloud.Lookup(uid); !ok {
					t.Errorf("%s did not arrive", uid)
				} else if e.Digest != sum {
					t.Errorf("%s arrived with other bytes", uid)
				}
			}
		})
	}
}

// TestDCMTKReceiver forwards the corpus to storescp as Debian ships it, and with its limits on syntaxes: what it refuses is
// parked with SOP class and transfer syntax named, at once, and the rest arrives byte for byte.
func TestDCMTKReceiver(t *testing.T) {
	dir, want := corpus(t)
	scp := peertest.Storescp(t, nil, "+B", "+xa", "-aet", "STORESCP")
	g := newGate(t, "", destination{name: "scp", aeTitle: scp.AETitle, address: scp.Address,
		more: "retry: {initial: 100ms, attempts: 2}"}) // one file has an odd length, which storescp aborts upon
	g.start(t)
	if out, status := peertest.Run(t, nil, binary, "send", g.address, dir); status != 0 {
		t.Fatalf("send: exit status %d\n%s", status, out)
	}
	peertest.Eventually(t, time.Minute, "every instance delivered or parked", func() bool {
		done := g.metric(t, "dcmgate_instances_delivered_total", `destination="scp"`) + g.metric(t, "dcmgate_jobs", `destination="scp"`, `state="parked"`)
		return int(done) == len(want)
	})
	got := folderSums(t, scp.Files())
	for uid, sum := range got {
		if want[uid] != sum {
			t.Errorf("%s arrived with other bytes", uid)
		}
	}
	parked := len(want) - len(got)
	t.Logf("%d delivered, %d parked", len(got), parked)
	if len(got) < 50 {
		t.Errorf("only %d instances were delivered", len(got))
	}
	out, status := g.run(t, "queue", "list")
	if status != 0 {
		t.Fatalf("queue list: exit status %d\n%s", status, out)
	}
	if parked > 0 && !strings.Contains(strings.ToLower(out), "transfer syntax") {
		t.Errorf("queue list does not name the transfer syntax that was refused:\n%s", out)
	}
}

// TestOrthanc sends from Orthanc through the gateway to another Orthanc.
func TestOrthanc(t *testing.T) {
	target := peertest.Orthanc(t, nil, nil, nil)
	cloud, address := startArchive(t, archive.Options{})
	g := newGate(t, "", destination{name: "orthanc", aeTitle: target.AETitle, address: target.Address},
		destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	direct := peertest.Storescp(t, nil, "+B", "+xa")
	source := peertest.Orthanc(t, nil, nil, map[string]string{"DCMGATE": g.address, "STORESCP": direct.Address})
	sent := 0
	if err := mrdata.Walk(func(f mrdata.File) error {
		if strings.Contains(f.Name, "Si/") {
			source.REST(t, "POST", "/instances", string(f.Data))
			sent++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, modality := range []string{"STORESCP", "DCMGATE"} {
		source.REST(t, "POST", "/modalities/"+modality+"/store", `{"Resources": ["`+strings.Join(source.Instances(t), `","`)+`"], "Synchronous": true}`)
	}
	expect(t, cloud, folderSums(t, direct.Files()))
	peertest.Eventually(t, 30*time.Second, "all instances in the target", func() bool { return len(target.Instances(t)) == sent })
	for _, id := range target.Instances(t) {
		file := target.REST(t, "GET", "/instances/"+id+"/file", "")
		meta, at, err := dicom.ReadFileMeta(strings.NewReader(string(file)))
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := cloud.Lookup(meta.SOPInstanceUID); !ok || e.Digest != sha256.Sum256(file[at:]) {
			t.Errorf("%s differs between Orthanc and the archive", meta.SOPInstanceUID)
		}
	}
}

// TestSizesOfPDUs sends through gateways with every maximum length that peers are known for, in both directions.
func TestSizesOfPDUs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mr.dcm")
	writeFirstMR(t, path)
	meta, sum := dataSet(t, path)
	for _, maximum := range []string{"1018", "4096", "16384", "131072", "1048576"} {
		t.Run(maximum, func(t *testing.T) {
			cloud, address := startArchive(t, archive.Options{})
			second := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
			limit(t, second, maximum)
			second.start(t)
			g := newGate(t, "", destination{name: "second", aeTitle: "DCMGATE", address: second.address, more: "max_pdu: " + maximum})
			limit(t, g, maximum)
			g.start(t)
			if out, status := peertest.Run(t, nil, binary, "send", g.address, path); status != 0 {
				t.Fatalf("send: exit status %d\n%s", status, out)
			}
			expect(t, cloud, sums{meta.SOPInstanceUID: sum})
		})
	}
}

// limit makes a gateway offer this maximum length to those who send to it.
func limit(t testing.TB, g *gate, maximum string) {
	t.Helper()
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "accept: any}", "accept: any, max_pdu: "+maximum+"}", 1)
	if changed == string(text) {
		t.Fatal("no place for max_pdu in the configuration")
	}
	if err := os.WriteFile(g.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}
