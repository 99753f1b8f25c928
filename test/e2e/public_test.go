package e2e

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/mrdata"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// site203 is a gateway that serves interface 203.
type site203 struct {
	*gate
	public string // base URL
}

func newSite203(t testing.TB, more string) *site203 {
	t.Helper()
	address := peertest.Address(t)
	return &site203{public: "http://" + address, gate: newGate(t, fmt.Sprintf(
		"institution: {platform_code: '05871212', name: 内江市示例医院}\npublic: {listen: %q}\nretrieve: {clients: [{access_key: pacs, access_secret: s3cret}]}\n%s", address, more))}
}

// query is a signed query for a study, made as the documentation tells.
func (s *site203) query(study string) string {
	q := "HospitalCode=05871212&StudyInstanceUID=" + study
	return fmt.Sprintf("%s/Viewer/DICOMStudyRetrieve?%s&Signature=%X", s.public, q, md5.Sum([]byte("pacs"+q+"s3cret")))
}

// list gets the images of a study with curl, and the address of the archive.
func (s *site203) list(t testing.TB, study string) (images []cloud.Image, archive string) {
	t.Helper()
	head := filepath.Join(t.TempDir(), "head")
	out, status := peertest.Run(t, nil, peertest.Require(t, "curl"), "-sS", "-H", "accessKey: pacs", "-D", head, s.query(study))
	var a cloud.Answer
	if err := json.Unmarshal([]byte(out), &a); err != nil || status != 0 || a.Code != cloud.CodeOK {
		t.Fatalf("status %d, %v: %s", status, err, out)
	}
	text, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	_, link, _ := strings.Cut(string(text), "Link: <")
	archive, _, _ = strings.Cut(link, ">")
	return a.Result, archive
}

// writeMR writes the real MR series of a scanner and returns the data sets' digests by study.
func writeMR(t testing.TB, scanner string) (dir string, studies map[string]sums) {
	t.Helper()
	dir, studies = t.TempDir(), map[string]sums{}
	err := mrdata.Walk(func(f mrdata.File) error {
		if !strings.Contains(f.Name, scanner) {
			return nil
		}
		meta, at, err := dicom.ReadFileMeta(bytes.NewReader(f.Data))
		if err != nil {
			return err
		}
		scan := dicom.NewScanner(meta.TransferSyntaxUID, []dicom.Tag{dicom.TagStudyInstanceUID})
		scan.Write(f.Data[at:])
		study := string(dicom.ParseUID(scan.Elements()[0].Value))
		if studies[study] == nil {
			studies[study] = sums{}
		}
		studies[study][meta.SOPInstanceUID] = sha256.Sum256(f.Data[at:])
		return os.WriteFile(filepath.Join(dir, strings.ReplaceAll(f.Name, "/", "-")), f.Data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, studies
}

// The real MR series through curl, one by one and as an archive.
func TestRetrieveWithCurl(t *testing.T) {
	curl := peertest.Require(t, "curl")
	s := newSite203(t, "")
	s.start(t)
	dir, studies := writeMR(t, "Si/")
	if out, status := peertest.Run(t, nil, binary, "send", s.address, dir); status != 0 {
		t.Fatal(out)
	}
	for study, want := range studies {
		images, archive := s.list(t, study)
		if len(images) != len(want) {
			t.Fatalf("%d images are listed, want %d", len(images), len(want))
		}
		for _, image := range images {
			path := filepath.Join(t.TempDir(), "image.dcm")
			out, status := peertest.Run(t, nil, curl, "-sS", "--fail", "-o", path, "-w", "%{content_type}", image.DownloadURL)
			if status != 0 || out != "application/dicom" {
				t.Fatalf("status %d: %s", status, out)
			}
			if meta, sum := dataSet(t, path); string(meta.SOPInstanceUID) != image.SOPInstanceUID || sum != want[meta.SOPInstanceUID] {
				t.Errorf("%s has other bytes", image.SOPInstanceUID)
			}
		}
		path := filepath.Join(t.TempDir(), "study.zip")
		if out, status := peertest.Run(t, nil, curl, "-sS", "--fail", "-o", path, archive); status != 0 {
			t.Fatal(out)
		}
		unpacked := t.TempDir()
		if out, status := peertest.Run(t, nil, "python3", "-m", "zipfile", "-e", path, unpacked); status != 0 {
			t.Errorf("python3 -m zipfile: %s", out)
		}
		files, _ := filepath.Glob(filepath.Join(unpacked, "*", "*.dcm"))
		if got := folderSums(t, files); !maps.Equal(got, want) {
			t.Errorf("%d files in the archive, %d wanted; or other bytes", len(got), len(want))
		}
	}
	if out, status := peertest.Run(t, nil, curl, "-sS", strings.Replace(s.query("1.2"), "&Signature=", "&Signature=0", 1)); status != 0 || !strings.Contains(out, "E0002") {
		t.Errorf("wrong signature: %s", out)
	}
}

// storeStream stores one instance of about size bytes.
func storeStream(t testing.TB, address string, size int64) (o synth.Object, digest [32]byte, length int64) {
	t.Helper()
	r, n, o := synth.Stream(size, 1)
	h := sha256.New()
	a, err := (&dimse.Dialer{}).Dial(t.Context(), address, dimse.Proposal{CalledAETitle: "DCMGATE", CallingAETitle: "CT1",
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{synth.ExplicitVRLittleEndian}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	response, err := a.Store(ctx, dimse.StoreRequest{ContextID: 1, SOPClassUID: synth.CTImageStorage,
		SOPInstanceUID: dicom.UID(o.SOPInstanceUID), Data: io.TeeReader(r, h), Size: n})
	if err != nil || response.Status != dimse.StatusSuccess {
		t.Fatalf("C-STORE of %d bytes: %v %v", n, response.Status, err)
	}
	_ = a.Release(ctx)
	return o, [32]byte(h.Sum(nil)), n
}

// sumOf is the digest of a file's data set.
func sumOf(t testing.TB, path string) [32]byte {
	t.Helper()
	_, sum := dataSet(t, path)
	return sum
}

// A large object with what people use for them: aria2 in eight ranges at once, wget taking up a download that broke off.
// The gateway's memory stays as it is for small ones.
func TestDownloadManagers(t *testing.T) {
	aria, wget := peertest.Require(t, "aria2c"), peertest.Require(t, "wget")
	size := int64(512 << 20)
	if testing.Short() {
		size = 128 << 20
	}
	s := newSite203(t, "")
	p := s.start(t)
	o, want, _ := storeStream(t, s.address, size)
	images, _ := s.list(t, o.StudyInstanceUID)
	if len(images) != 1 {
		t.Fatalf("%d images", len(images))
	}
	dir := t.TempDir()
	out, status := peertest.Run(t, nil, aria, "-q", "-x", "8", "-s", "8", "-k", "1M", "--file-allocation=none", "-d", dir, "-o", "aria.dcm", images[0].DownloadURL)
	if status != 0 || sumOf(t, filepath.Join(dir, "aria.dcm")) != want {
		t.Errorf("aria2: status %d, or other bytes: %s", status, out)
	}
	half := filepath.Join(dir, "half.dcm")
	if err := os.Rename(filepath.Join(dir, "aria.dcm"), half); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(half, size/2); err != nil {
		t.Fatal(err)
	}
	out, status = peertest.Run(t, nil, wget, "-nv", "-c", "-O", half, images[0].DownloadURL)
	if status != 0 || sumOf(t, half) != want {
		t.Errorf("wget -c: status %d, or other bytes: %s", status, out)
	}
	if sent := s.metric(t, "dcmgate_public_bytes_total"); sent > float64(size)*1.6 {
		t.Errorf("%.0f bytes were sent for one and a half downloads of %d", sent, size)
	}
	peak := residentPeak(t, p.PID())
	t.Logf("%d bytes downloaded in ranges with a resident peak of %d MiB", size, peak>>20)
	if peak > residentLimit {
		t.Errorf("resident memory peaked at %d MiB, the limit is %d MiB", peak>>20, residentLimit>>20)
	}
	s.stop(t)
	os.RemoveAll(s.data)
}

// A PACS gets back what it has lost: the real MR series from a gateway that plays the cloud, over interface 203 into the
// spool of the hospital's gateway, and from there by C-STORE to DCMTK's storescp, byte for byte.
func TestRestoreToPACS(t *testing.T) {
	scp := peertest.Storescp(t, nil, "+B")
	clouds := newSite203(t, "")
	clouds.start(t)
	dir, studies := writeMR(t, "GE/")
	if out, status := peertest.Run(t, nil, binary, "send", "--associations", "4", clouds.address, dir); status != 0 {
		t.Fatal(out)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGate(t, fmt.Sprintf("institution: {platform_code: '05871212'}\nretrieve: {cloud: {url: %q, access_key: pacs, access_secret: 'file:%s', timestamp: true}}\npeers: [{ae_title: PACS, address: %q}]\n",
		clouds.public, secret, scp.Address))
	g.start(t)
	for study, want := range studies {
		for run, text := range []string{fmt.Sprintf("%d images restored", len(want)), fmt.Sprintf("%d stored already", len(want))} {
			removeAll(t, scp.Files())
			out, status := g.run(t, "restore", study, "--to", "PACS")
			if status != 0 || !strings.Contains(out, text) || !strings.Contains(out, fmt.Sprintf("%d instances sent to PACS", len(want))) {
				t.Fatalf("run %d: status %d: %s", run, status, out)
			}
			if got := folderSums(t, scp.Files()); !maps.Equal(got, want) {
				t.Errorf("run %d: the PACS has %d instances, want %d; or other bytes", run, len(got), len(want))
			}
		}
	}
	for _, row := range []struct {
		args   []string
		status int
		out    string
	}{
		{[]string{"restore", "1.2.3.4"}, 1, "nobody who was asked has images"},
		{[]string{"restore", "1.2.3.4", "--to", "NOBODY"}, 1, "NOBODY is not"},
		{[]string{"restore", "../etc"}, 2, "no Study Instance UID"},
		{[]string{"restore"}, 2, "accepts 1 arg"},
	} {
		if out, status := g.run(t, row.args...); status != row.status || !strings.Contains(out, row.out) {
			t.Errorf("%v: status %d: %s", row.args, status, out)
		}
	}
	if n := g.metric(t, "dcmgate_cloud_images_total", `outcome="restored"`); int(n) != totalOf(studies) {
		t.Errorf("%v images counted", n)
	}
}

func totalOf(studies map[string]sums) (n int) {
	for _, s := range studies {
		n += len(s)
	}
	return n
}

// A gateway asked for a study that it does not have gets it from the cloud while the client waits; addresses end by command.
func TestRetrieveThroughTheCloud(t *testing.T) {
	clouds := newSite203(t, "")
	clouds.start(t)
	dir, studies := writeMR(t, "Si/")
	if out, status := peertest.Run(t, nil, binary, "send", clouds.address, dir); status != 0 {
		t.Fatal(out)
	}
	address := peertest.Address(t)
	s := &site203{public: "http://" + address, gate: newGate(t, fmt.Sprintf(
		"institution: {platform_code: '05871212'}\npublic: {listen: %q}\nretrieve:\n  clients: [{access_key: pacs, access_secret: s3cret}]\n  cloud: {url: %q, access_key: pacs, access_secret: s3cret, wait: 30s}\n", address, clouds.public))}
	s.start(t)
	curl := peertest.Require(t, "curl")
	for study, want := range studies {
		images, _ := s.list(t, study)
		if len(images) != len(want) {
			t.Fatalf("%d images, want %d", len(images), len(want))
		}
		path := filepath.Join(t.TempDir(), "image.dcm")
		if out, status := peertest.Run(t, nil, curl, "-sS", "--fail", "-o", path, images[0].DownloadURL); status != 0 {
			t.Fatal(out)
		}
		if meta, sum := dataSet(t, path); sum != want[meta.SOPInstanceUID] {
			t.Error("an image has other bytes")
		}
		if out, status := s.run(t, "links", "revoke", "--study", study); status != 0 {
			t.Fatal(out)
		}
		if out, status := peertest.Run(t, nil, curl, "-sS", "-o", os.DevNull, "-w", "%{http_code}", images[0].DownloadURL); status != 0 || out != "410" {
			t.Errorf("after the revocation: %s", out)
		}
	}
	if images, _ := s.list(t, "1.2.3.4"); len(images) != 0 {
		t.Errorf("%d images of a study that nobody has", len(images))
	}
	clouds.process.Kill()
	out, status := peertest.Run(t, nil, curl, "-sS", s.query("1.2.3.5"))
	if status != 0 || !strings.Contains(out, "E0000") {
		t.Errorf("with the cloud down: %s", out)
	}
	if out, status := s.run(t, "links", "revoke", "--all"); status != 0 {
		t.Error(out)
	}
	if out, status := s.run(t, "links", "revoke"); status != 2 {
		t.Errorf("status %d: %s", status, out)
	}
}
