package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/mrdata"
	"dcmgate/internal/peertest"
)

// dropConfig is a drop folder with little patience for tests.
const dropConfig = "drop: [{name: cd, folder: %q, calling_ae_title: CDIMPORT, quiet: 100ms, rescan: 1s}]\n"

// mrFiles returns real MR images and the digests of their data sets by SOP Instance UID.
func mrFiles(t *testing.T, n int) (files [][]byte, digests map[dicom.UID][sha256.Size]byte) {
	t.Helper()
	enough := errors.New("enough")
	digests = map[dicom.UID][sha256.Size]byte{}
	err := mrdata.Walk(func(f mrdata.File) error {
		meta, at, err := dicom.ReadFileMeta(bytes.NewReader(f.Data))
		if err != nil {
			return err
		}
		files = append(files, f.Data)
		digests[meta.SOPInstanceUID] = sha256.Sum256(f.Data[at:])
		if len(files) == n {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return files, digests
}

// filesBelow counts files.
func filesBelow(t *testing.T, folder string) (n int) {
	t.Helper()
	err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // taken meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDropFolderSurvivesKills ends the gateway with SIGKILL again and again while files are copied into its drop folder and
// the cloud receives: in the end every file has left the folder, and is in the spool and the cloud once, intact.
func TestDropFolderSurvivesKills(t *testing.T) {
	const n, kills = 300, 6
	cloud, address := startArchive(t, archive.Options{})
	folder := t.TempDir()
	g := newGate(t, fmt.Sprintf(dropConfig, folder), destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "retry: {initial: 100ms}"})
	g.start(t)
	files, digests := mrFiles(t, n)
	random := rand.New(rand.NewPCG(1, 2))
	for i, data := range files {
		name := filepath.Join(folder, fmt.Sprintf("PAT%d/IM%04d", i%3, i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
		if (i+1)%(n/kills) == 0 {
			// Somewhere in the middle of working off what is there.
			left := random.IntN(n / kills)
			peertest.Eventually(t, time.Minute, "some of the files to be taken", func() bool { return filesBelow(t, folder) <= left })
			g.process.Kill()
			g.start(t)
		}
	}
	peertest.Eventually(t, time.Minute, "an empty drop folder", func() bool { return filesBelow(t, folder) == 0 })
	for sop, want := range digests {
		peertest.Eventually(t, time.Minute, "every file in the cloud", func() bool { _, ok := cloud.Lookup(sop); return ok })
		if got, _ := cloud.Digest(sop); got != want {
			t.Errorf("%s arrived with other bytes", sop)
		}
	}
	out, code := g.run(t, "status", "--json")
	var status struct {
		Spool struct{ Instances int }
		Drop  []struct {
			State   string
			Waiting int
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || code != 0 {
		t.Fatalf("status: exit status %d, %v\n%s", code, err, out)
	}
	if status.Spool.Instances != n || len(status.Drop) != 1 || status.Drop[0].State != "watching" {
		t.Errorf("%d instances of %d files; drop folders %+v", status.Spool.Instances, n, status.Drop)
	}
	if out, code := g.verifyOffline(t); code != 0 {
		t.Errorf("verify: exit status %d\n%s", code, out)
	}
}

// TestDropFolderWaitsForCopies copies a file with cp, from a pipe that stalls for much longer than the quiet time: nothing is
// taken before the copy is complete.
func TestDropFolderWaitsForCopies(t *testing.T) {
	folder := t.TempDir()
	g := newGate(t, fmt.Sprintf(dropConfig, folder))
	g.start(t)
	files, _ := mrFiles(t, 1)
	copying := exec.Command("cp", "/dev/stdin", filepath.Join(folder, "IM0001"))
	pipe, err := copying.StdinPipe()
	if err == nil {
		err = copying.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Write(files[0][:len(files[0])/2]); err != nil {
		t.Fatal(err)
	}
	peertest.Eventually(t, time.Minute, "a file that waits for long", func() bool { return g.metric(t, "dcmgate_drop_oldest_seconds") > 1 })
	if n := g.metric(t, "dcmgate_drop_files_total"); n != 0 || filesBelow(t, folder) != 1 {
		t.Errorf("%v files left the folder before they were complete", n)
	}
	_, err = pipe.Write(files[0][len(files[0])/2:])
	if err := errors.Join(err, pipe.Close(), copying.Wait()); err != nil {
		t.Fatal(err)
	}
	peertest.Eventually(t, time.Minute, "the file to be taken", func() bool { return g.metric(t, "dcmgate_drop_files_total", `result="taken"`) == 1 })
	if n := filesBelow(t, folder); n != 0 {
		t.Errorf("%d files are left", n)
	}
}
