package spool

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/spool/segment"
)

const childDir, childRound = "SPOOL_TEST_CHILD_DIR", "SPOOL_TEST_CHILD_ROUND"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		crashChild(dir)
		return
	}
	peertest.Main(m)
}

func crashObject(round, writer, n int) synth.Object {
	return synth.NewTemplate(20_000+writer*40_000, 9).Object(round, writer, n)
}

// crashChild stores instances until it is killed. It prints a line for each acknowledged one, and it delivers some.
func crashChild(dir string) {
	round, _ := strconv.Atoi(os.Getenv(childRound))
	s, err := Open(dir, small())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var mu sync.Mutex
	for w := range 4 {
		go func() {
			for n := 0; ; n++ {
				o := crashObject(round, w, n)
				r, err := send(s, incoming(o), o.Data, to("cloud", "pacs")...)
				if err != nil {
					fmt.Println("error", err)
					return
				}
				mu.Lock()
				fmt.Println("ack", round, w, n, hex.EncodeToString(r.Instance.Digest[:]))
				mu.Unlock()
			}
		}()
	}
	for {
		jobs, err := s.Claim("pacs", 5)
		if err != nil {
			return
		}
		for i := range jobs {
			_ = s.Complete(Delivered(jobs[i].Key(), 0))
		}
		if len(jobs) == 0 {
			<-s.Ready("pacs")
		}
	}
}

// TestKilledAtAnyMoment kills a process that stores instances, again and again, and looks for everything that it
// acknowledged.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 16
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	acked := map[string]dicom.UID{} // digest to SOP Instance UID
	for round := range rounds {
		for _, a := range runAndKill(t, dir, round, time.Duration(40+17*round%120)*time.Millisecond) {
			var r, w, n int
			var digest string
			if _, err := fmt.Sscanf(a, "ack %d %d %d %s", &r, &w, &n, &digest); err != nil {
				t.Fatalf("%q: %v", a, err)
			}
			o := crashObject(r, w, n)
			if sum := sha256.Sum256(o.Data); hex.EncodeToString(sum[:]) != digest {
				t.Fatal("acknowledged another object")
			}
			acked[digest] = dicom.UID(o.SOPInstanceUID)
		}
		checkAcked(t, dir, acked)
	}
	if len(acked) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	t.Logf("%d acknowledged in %d rounds", len(acked), rounds)
}

func runAndKill(t *testing.T, dir string, round int, after time.Duration) (acks []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childRound+"="+strconv.Itoa(round))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if timer == nil { // the clock runs from the first acknowledgement on
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		if line := lines.Text(); strings.HasPrefix(line, "ack ") && strings.Count(line, " ") == 4 && len(line) > 70 {
			acks = append(acks, line)
		} else if strings.HasPrefix(line, "error") {
			t.Error(line)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return acks
}

// checkAcked opens the spool and compares it with what was acknowledged. There may be more: what was durable when the
// process was killed before it could say so.
func checkAcked(t *testing.T, dir string, acked map[string]dicom.UID) {
	t.Helper()
	s, err := Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	report := verifyClean(t, s)
	stored := map[string]int{}
	changes, err := s.Changes(0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range changes {
		if c.Sequence != uint64(i)+1 {
			t.Fatalf("change %d after %d", c.Sequence, i)
		}
		in, err := s.Instance(c.ID)
		if err != nil {
			t.Fatal(err)
		}
		stored[hex.EncodeToString(in.Digest[:])]++
	}
	for digest, sop := range acked {
		if stored[digest] != 1 {
			t.Errorf("%s was acknowledged and is there %d times", sop, stored[digest])
		}
	}
	cloud, pacs := s.Counts()["cloud"], s.Counts()["pacs"]
	if cloud.Pending != report.Instances || pacs.Pending+pacs.Delivered != report.Instances {
		t.Errorf("%d instances, jobs %+v and %+v", report.Instances, cloud, pacs)
	}
}

// damage changes one byte of a record's payload on disk.
func damage(t *testing.T, s *Spool, l segment.Location) {
	t.Helper()
	var found bool
	err := filepath.WalkDir(filepath.Join(s.dir, segmentsDir), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || found || !strings.Contains(d.Name(), fmt.Sprintf("%x", uint32(l.Segment))) {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, l.PayloadOffset()+1000); err != nil {
			return nil
		}
		b[0] ^= 0xFF
		_, err = f.WriteAt(b, l.PayloadOffset()+1000)
		found = err == nil
		return err
	})
	if err != nil || !found {
		t.Fatal("no segment file to damage", err)
	}
}
