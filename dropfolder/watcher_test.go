package dropfolder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"dcmgate/internal/peertest"
)

// bench is a Watcher on a folder of a test, with a clock of its own.
type bench struct {
	*Watcher
	t      *testing.T
	clock  time.Time
	log    bytes.Buffer
	mu     sync.Mutex
	asked  []string // paths of files that the handler was asked about
	answer func(f *File) Verdict
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{t: t, clock: time.Unix(1_700_000_000, 0)}
	o.Name, o.Quiet = "ct", 2*time.Second
	if o.Folder == "" {
		o.Folder = t.TempDir()
	}
	o.Logger = slog.New(slog.NewTextHandler(&b.log, nil))
	w, err := New(o, func(_ context.Context, f *File) Verdict {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked = append(b.asked, f.Path)
		if b.answer == nil {
			return Taken()
		}
		return b.answer(f)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.begin()
	b.Watcher = w
	w.now = func() time.Time { return b.clock }
	t.Cleanup(w.hints.reset)
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.o.Folder, name) }

func (b *bench) write(name, content string) {
	b.t.Helper()
	must(b.t, os.MkdirAll(filepath.Dir(b.path(name)), 0o755))
	must(b.t, os.WriteFile(b.path(name), []byte(content), 0o644))
}

// after lets time pass and looks.
func (b *bench) after(d time.Duration) {
	b.clock = b.clock.Add(d)
	b.pass(b.t.Context())
}

// settle looks twice with the quiet time in between.
func (b *bench) settle() {
	b.after(0)
	b.after(b.o.Quiet)
}

// files lists the files below the folder.
func (b *bench) files() []string {
	b.t.Helper()
	list := []string{}
	must(b.t, filepath.WalkDir(b.o.Folder, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			below, _ := filepath.Rel(b.o.Folder, name)
			list = append(list, below)
		}
		return err
	}))
	return list
}

func (b *bench) has(want ...string) {
	b.t.Helper()
	slices.Sort(want)
	if got := b.files(); !slices.Equal(got, want) {
		b.t.Errorf("files are %q, want %q", got, want)
	}
}

func (b *bench) askedFor(want ...string) {
	b.t.Helper()
	slices.Sort(b.asked)
	slices.Sort(want)
	if !slices.Equal(b.asked, want) {
		b.t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.asked = nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTakesQuietFiles(t *testing.T) {
	b := newBench(t, Options{})
	b.write("a", "1")
	b.write("sub/deeper/b", "2")
	b.write("name\xff\xfe\n", "not UTF-8")
	b.after(0)
	b.after(b.o.Quiet - 1)
	b.askedFor()
	b.after(1)
	b.askedFor("a", "sub/deeper/b", "name\xff\xfe\n")
	b.has()
	if s := b.Status(); s.Taken != 3 || s.Aside != 0 || s.Waiting != 0 || s.State != StateWatching || s.Trouble != "" {
		t.Errorf("status %+v", s)
	}
	if b.log.String() == "" || strings.Contains(b.log.String(), "deeper") || strings.Contains(b.log.String(), "name") {
		t.Errorf("log holds file names: %s", b.log.String())
	}
}

func TestKeepsWhatWasTaken(t *testing.T) {
	folder := t.TempDir()
	b := newBench(t, Options{Folder: folder, Done: filepath.Join(folder, "done")})
	for range 3 {
		b.write("sub/a", "1")
		b.settle()
	}
	b.has("done/sub/a", "done/sub/a.2", "done/sub/a.3")
	b.askedFor("sub/a", "sub/a", "sub/a")
}

func TestGrowingFilesWait(t *testing.T) {
	b := newBench(t, Options{})
	f, err := os.Create(b.path("slow"))
	must(t, err)
	defer f.Close()
	for i := range 5 {
		_, err := f.WriteString("more")
		must(t, err)
		b.after(b.o.Quiet)
		if len(b.asked) != 0 {
			t.Fatalf("taken after %d writes", i)
		}
	}
	b.after(b.o.Quiet)
	b.askedFor("slow")
	b.has()
}

// A copying program sets an old modification time, and the clock of the file system may be anybody's: neither makes a file
// complete.
func TestTimesOfFilesAreNotBelieved(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Now().Add(100 * 365 * 24 * time.Hour)} {
		b := newBench(t, Options{})
		b.write("a", "1")
		must(t, os.Chtimes(b.path("a"), at, at))
		b.after(0)
		b.askedFor()
		b.write("a", "2")
		must(t, os.Chtimes(b.path("a"), at, at))
		b.after(b.o.Quiet)
		b.askedFor()
		b.after(b.o.Quiet)
		b.askedFor("a")
	}
}

func TestWhatIsNoFileIsMovedAside(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	for _, tc := range []struct {
		name, code string
		make       func(name string) error
	}{
		{"symbolic link to a file", CodeLink, func(n string) error { return os.Symlink(secret, n) }},
		{"symbolic link to a folder", CodeLink, func(n string) error { return os.Symlink(filepath.Dir(secret), n) }},
		{"dangling link", CodeLink, func(n string) error { return os.Symlink("/nowhere", n) }},
		{"hard link", CodeLink, func(n string) error { return os.Link(secret, n) }},
		{"FIFO", CodeSpecial, func(n string) error { return unix.Mkfifo(n, 0o644) }},
		{"socket", CodeSpecial, func(n string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: n})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}},
		{"too large", CodeTooLarge, func(n string) error {
			f, err := os.Create(n)
			if err == nil {
				err = errors.Join(f.Truncate(1<<40), f.Close())
			}
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			b := newBench(t, Options{MaxSize: 1 << 30, Metrics: NewMetrics(registry)})
			if err := tc.make(b.path("x")); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EFBIG) {
				peertest.Missing(t, "this file system or user cannot make one: "+err.Error())
			} else {
				must(t, err)
			}
			b.settle()
			b.askedFor()
			b.has("rejected/x", "rejected/x.reason.txt")
			reason, err := os.ReadFile(b.path("rejected/x.reason.txt"))
			must(t, err)
			if !strings.Contains(string(reason), "Code: "+tc.code+"\n") {
				t.Errorf("reason is %q", reason)
			}
			if n := testutil.ToFloat64(b.metrics.files.WithLabelValues("ct", tc.code)); n != 1 {
				t.Errorf("%v files of code %s", n, tc.code)
			}
			if content, err := os.ReadFile(secret); err != nil || string(content) != "secret" {
				t.Errorf("the file linked to was touched: %q %v", content, err)
			}
		})
	}
}

func TestEmptyFilesGetPatience(t *testing.T) {
	b := newBench(t, Options{Patience: time.Minute})
	b.write("later", "")
	b.write("never", "")
	b.settle()
	b.write("later", "1")
	b.settle()
	b.askedFor("later")
	b.has("never")
	b.after(time.Minute)
	b.has("rejected/never", "rejected/never.reason.txt")
}

// asNobody runs the test again as a user whom modes of files keep from something, which they do not keep root from. It tells
// whether that was done.
func asNobody(t *testing.T) bool {
	t.Helper()
	const nobody = 65534
	if os.Geteuid() != 0 {
		return false
	}
	program, err := os.Executable()
	must(t, err)
	data, err := os.ReadFile(program)
	must(t, err)
	dir, err := os.MkdirTemp("", "dcmgate-nobody-") // all that is above t.TempDir is root's alone
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	own := filepath.Join(dir, "test")
	must(t, os.WriteFile(own, data, 0o755))
	must(t, os.Chown(dir, nobody, nobody))
	again := exec.Command(own, "-test.run=^"+t.Name()+"$", "-test.v")
	again.Dir, again.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v: %s", err, out)
	}
	return true
}

func TestUnreadableFiles(t *testing.T) {
	if asNobody(t) {
		return
	}
	b := newBench(t, Options{Patience: time.Minute})
	b.write("a", "1")
	must(t, os.Chmod(b.path("a"), 0))
	b.settle()
	b.has("a")
	b.after(time.Minute)
	b.has("rejected/a", "rejected/a.reason.txt")
}

func TestNamesOfFilesUnderWay(t *testing.T) {
	b := newBench(t, Options{})
	names := []string{".hidden", ".rsync.XYZ", ".git/config", "a.part", "b.FILEPART", "c.tmp", "d.crdownload", "e.partial"}
	for _, name := range names {
		b.write(name, "1")
	}
	b.settle()
	b.askedFor()
	b.has(names...)
}

func TestRejectedFiles(t *testing.T) {
	b := newBench(t, Options{})
	b.answer = func(*File) Verdict { return Rejected("odd", "it is odd") }
	long := strings.Repeat("n", 255)
	for range 3 {
		b.write("sub/a", "1")
		b.write(long, "1")
		b.settle()
	}
	got := b.files()
	if len(got) != 12 {
		t.Errorf("files are %q", got)
	}
	for _, name := range []string{"sub/a", "sub/a.2", "sub/a.3"} {
		reason, err := os.ReadFile(b.path("rejected/" + name + ".reason.txt"))
		if err != nil || !strings.HasPrefix(string(reason), "Not taken: it is odd\n") {
			t.Errorf("%s: %q %v", name, reason, err)
		}
	}
	if s := b.Status(); s.Aside != 6 || s.Rejected != 6 {
		t.Errorf("status %+v", s)
	}
	// People clear up, and it is noticed.
	must(t, os.RemoveAll(b.path("rejected")))
	b.after(countEvery)
	if s := b.Status(); s.Rejected != 0 {
		t.Errorf("status %+v after clearing up", s)
	}
}

// rejected is somebody's file or a link: what is to go there stays, and nothing leaves the folder.
func TestTargetIsNoFolder(t *testing.T) {
	elsewhere := t.TempDir()
	for name, make := range map[string]func(string) error{
		"link": func(n string) error { return os.Symlink(elsewhere, n) },
		"file": func(n string) error { return os.WriteFile(n, nil, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{})
			b.answer = func(*File) Verdict { return Rejected("odd", "it is odd") }
			must(t, make(b.path("rejected")))
			b.write("a", "1")
			b.settle()
			b.has("a", "rejected")
			if s := b.Status(); s.State != StateTrouble || !strings.Contains(s.Trouble, "rejected") || s.Since.IsZero() {
				t.Errorf("status %+v", s)
			}
			must(t, os.Remove(b.path("rejected")))
			b.after(firstRetry)
			b.has("rejected/a", "rejected/a.reason.txt")
			b.askedFor("a") // once: the verdict was kept
			if s := b.Status(); s.State != StateWatching {
				t.Errorf("status %+v", s)
			}
			if entries, _ := os.ReadDir(elsewhere); len(entries) != 0 {
				t.Error("the link was followed")
			}
		})
	}
}

func TestHoldKeepsEverything(t *testing.T) {
	b := newBench(t, Options{Workers: 2})
	b.answer = func(*File) Verdict { return Hold("no room") }
	for i := range 50 {
		b.write(fmt.Sprint(i), "1")
	}
	b.settle()
	if len(b.asked) > 5 {
		t.Errorf("asked %d times although nothing can be taken", len(b.asked))
	}
	if s := b.Status(); s.Trouble != "no room" || s.Waiting != 50 {
		t.Errorf("status %+v", s)
	}
	b.asked = nil
	b.after(firstRetry - 1)
	b.askedFor()
	b.after(1)
	b.answer = nil
	b.after(2*firstRetry - 1)
	if len(b.files()) != 50 {
		t.Error("the second pause is no longer than the first")
	}
	b.after(1)
	b.has()
	if s := b.Status(); s.Trouble != "" || s.Taken != 50 {
		t.Errorf("status %+v", s)
	}
	if n := strings.Count(b.log.String(), "cannot be worked off"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestRetryPutsOffOneFile(t *testing.T) {
	b := newBench(t, Options{})
	b.answer = func(f *File) Verdict {
		if f.Path == "bad" {
			return Retry(unix.EIO)
		}
		return Taken()
	}
	b.write("bad", "1")
	b.write("good", "1")
	b.settle()
	b.has("bad")
	if s := b.Status(); s.State != StateTrouble || !strings.Contains(s.Trouble, "input/output error") {
		t.Errorf("status %+v", s)
	}
	for range 30 {
		b.after(lastRetry)
	}
	b.answer = nil
	b.after(lastRetry)
	b.has()
}

func TestWaitEndsWithTheFilesChange(t *testing.T) {
	b := newBench(t, Options{})
	b.answer = func(f *File) Verdict {
		if content, _ := io.ReadAll(f); string(content) == "whole" {
			return Taken()
		}
		if f.Unchanged >= time.Minute {
			return Rejected("half", "half")
		}
		return Wait(0)
	}
	b.write("a", "half")
	b.write("b", "half")
	b.settle()
	b.write("a", "whole")
	b.settle()
	b.has("b")
	b.after(time.Minute)
	b.has("rejected/b", "rejected/b.reason.txt")
}

// A file that is written to or replaced while it is read stays.
func TestChangeWhileReading(t *testing.T) {
	for name, change := range map[string]func(b *bench){
		"written":  func(b *bench) { b.write("a", "new content") },
		"replaced": func(b *bench) { b.write("tmp", "new content"); must(b.t, os.Rename(b.path("tmp"), b.path("a"))) },
	} {
		for _, done := range []string{"", "done"} {
			t.Run(name+done, func(t *testing.T) {
				o := Options{Folder: t.TempDir()}
				if done != "" {
					o.Done = filepath.Join(o.Folder, done)
				}
				b := newBench(t, o)
				b.write("a", "1")
				b.answer = func(f *File) Verdict {
					change(b)
					if err := f.Changed(); (name == "written") != errors.Is(err, ErrChanged) && name == "written" {
						t.Errorf("Changed: %v", err)
					}
					return Taken()
				}
				b.settle()
				b.has("a")
				content, err := os.ReadFile(b.path("a"))
				if err != nil || string(content) != "new content" {
					t.Errorf("content %q %v", content, err)
				}
				b.answer = nil
				b.after(b.o.Quiet)
				b.askedFor("a", "a")
			})
		}
	}
}

func TestVanishedFiles(t *testing.T) {
	b := newBench(t, Options{})
	b.write("a", "1")
	b.write("sub/b", "1")
	b.write("c", "1")
	b.after(0)
	must(t, os.Remove(b.path("a")))
	must(t, os.RemoveAll(b.path("sub")))
	b.answer = func(f *File) Verdict {
		must(t, os.Remove(b.path(f.Path)))
		return Taken()
	}
	b.after(b.o.Quiet)
	b.askedFor("c")
	if s := b.Status(); s.Waiting != 0 || s.Trouble != "" {
		t.Errorf("status %+v", s)
	}
}

// A folder on the way to a known file becomes a link to another place with such a file.
func TestFolderBecomesALink(t *testing.T) {
	elsewhere := t.TempDir()
	must(t, os.WriteFile(filepath.Join(elsewhere, "a"), []byte("1"), 0o644))
	b := newBench(t, Options{})
	b.write("sub/a", "1")
	b.after(0)
	must(t, os.RemoveAll(b.path("sub")))
	must(t, os.Symlink(elsewhere, b.path("sub")))
	b.after(b.o.Quiet)
	b.askedFor()
	if _, err := os.Stat(filepath.Join(elsewhere, "a")); err != nil {
		t.Error(err)
	}
}

func TestFolderComesAndGoes(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "drop")
	b := newBench(t, Options{Folder: folder})
	for range 3 {
		b.after(0)
		if s := b.Status(); s.State != StateTrouble || !strings.Contains(s.Trouble, "no such file") {
			t.Errorf("status %+v", s)
		}
		b.write("a", "1")
		b.settle()
		b.askedFor("a")
		if s := b.Status(); s.State != StateWatching {
			t.Errorf("status %+v", s)
		}
		must(t, os.RemoveAll(folder))
	}
}

func TestWriteRemedy(t *testing.T) {
	for err, want := range map[error]string{unix.EROFS: "ReadWritePaths= of the service", unix.EACCES: "give the user of dcmgate the right to write"} {
		if got := writeRemedy(fmt.Errorf("the folder: %w", err)); !strings.Contains(got, want) {
			t.Errorf("%v: %s", err, got)
		}
	}
}

func TestReadOnlyFolder(t *testing.T) {
	if asNobody(t) {
		return
	}
	b := newBench(t, Options{})
	b.write("sub/a", "1")
	b.write("b", "1")
	must(t, os.Chmod(b.path("sub"), 0o555))
	b.settle()
	b.askedFor("b")
	if s := b.Status(); !strings.Contains(s.Trouble, "right to write") {
		t.Errorf("status %+v", s)
	}
	must(t, os.Chmod(b.path("sub"), 0o755))
	b.after(firstRetry)
	b.has()
}

// TestStopIsNoTrouble stops while a file is read: it stays, and nobody is told of trouble.
func TestStopIsNoTrouble(t *testing.T) {
	b := newBench(t, Options{})
	ctx, stop := context.WithCancel(t.Context())
	b.answer = func(*File) Verdict {
		stop()
		return Retry(ctx.Err())
	}
	b.write("a", "1")
	b.after(0)
	b.clock = b.clock.Add(b.o.Quiet)
	b.pass(ctx)
	b.askedFor("a")
	b.has("a")
	if b.log.Len() > 0 {
		t.Errorf("log %s", &b.log)
	}
}

// TestReadOnlyFolderLeavesRoom has more files that may not be removed than are known at a time, as a copy of a CD by somebody
// else leaves them: others are taken all the same.
func TestReadOnlyFolderLeavesRoom(t *testing.T) {
	if asNobody(t) {
		return
	}
	b := newBench(t, Options{})
	b.most = 10
	for i := range 2 * b.most {
		b.write(fmt.Sprintf("sub/%d", i), "1")
	}
	must(t, os.Chmod(b.path("sub"), 0o555))
	b.settle()
	b.write("b", "1")
	b.settle()
	b.askedFor("b")
	if s := b.Status(); s.Waiting != b.most/2 || !strings.Contains(s.Trouble, "right to write") {
		t.Errorf("status %+v", s)
	}
	must(t, os.Chmod(b.path("sub"), 0o755))
	for range 5 {
		b.after(firstRetry)
		b.settle()
	}
	b.has()
}

// TestEmptyFilesLeaveRoom has more empty files than are known at a time, as a copy that has run out of room leaves them: others
// are taken all the same, and the empty ones are moved aside in their time.
func TestEmptyFilesLeaveRoom(t *testing.T) {
	b := newBench(t, Options{})
	b.most = 10
	for i := range 2 * b.most {
		b.write(fmt.Sprintf("a%02d", i), "")
	}
	b.settle()
	b.write("b", "1")
	b.settle()
	b.askedFor("b")
	if s := b.Status(); s.Waiting != b.most/2 {
		t.Errorf("status %+v", s)
	}
	for range 8 {
		b.after(b.o.Patience)
		b.settle()
	}
	if s := b.Status(); s.Waiting != 0 || s.Rejected != 2*b.most {
		t.Errorf("status %+v", s)
	}
}

func TestDepthIsBounded(t *testing.T) {
	b := newBench(t, Options{})
	deep := strings.Repeat("d/", maxDepth)
	b.write(deep+"a", "1")
	b.write(deep+"d/b", "1")
	b.settle()
	b.askedFor(deep + "a")
	if s := b.Status(); !strings.Contains(s.Trouble, "deeper") {
		t.Errorf("status %+v", s)
	}
}

func TestCandidatesAreBounded(t *testing.T) {
	b := newBench(t, Options{})
	const n, most = 250, 100
	b.most = most
	for i := range n {
		must(t, os.WriteFile(b.path(fmt.Sprint(i)), []byte("1"), 0o644))
	}
	b.after(0)
	if len(b.candidates) != most {
		t.Errorf("%d candidates", len(b.candidates))
	}
	passes := 0
	for b.Status().Taken < n {
		if b.after(b.o.Quiet); len(b.candidates) > most {
			t.Fatalf("%d candidates", len(b.candidates))
		}
		if passes++; passes > n/most+5 {
			t.Fatalf("%d taken in %d passes", b.Status().Taken, passes)
		}
	}
	b.has()
}

func TestSiblings(t *testing.T) {
	b := newBench(t, Options{})
	b.answer = func(f *File) Verdict {
		if strings.HasSuffix(f.Path, ".json") {
			return Wait(0)
		}
		for _, bad := range []string{"", ".", "..", "../x", "/etc/passwd", "link.json", "nothing"} {
			if s, err := f.Sibling(bad); err == nil {
				t.Errorf("sibling %q was opened as %s", bad, s.Path)
			}
		}
		s, err := f.Sibling("a.json")
		if errors.Is(err, fs.ErrNotExist) {
			return Wait(0)
		}
		must(t, err)
		defer s.Close()
		if s.Path != "sub/a.json" {
			t.Errorf("path %q", s.Path)
		}
		return Taken().With(s)
	}
	b.write("sub/a.jpg", "1")
	must(t, os.Symlink("a.jpg", b.path("sub/link.json")))
	b.settle()
	b.has("rejected/sub/link.json", "rejected/sub/link.json.reason.txt", "sub/a.jpg")
	b.write("sub/a.json", "{}")
	b.settle()
	b.has("rejected/sub/link.json", "rejected/sub/link.json.reason.txt")
}

// What a crash left between the two steps of a removal is found again.
func TestStagedFilesAreFound(t *testing.T) {
	b := newBench(t, Options{})
	b.write(ownPrefix+"ABCDEFGH-a", "1")
	b.settle()
	b.askedFor(ownPrefix + "ABCDEFGH-a")
	b.has()
}

func TestMovesToAnotherFileSystem(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "dropfolder")
	if err != nil {
		peertest.Missing(t, "no other file system at /dev/shm: "+err.Error())
	}
	t.Cleanup(func() { os.RemoveAll(other) })
	b := newBench(t, Options{Rejected: other})
	var here, there unix.Stat_t
	must(t, unix.Stat(b.o.Folder, &here))
	must(t, unix.Stat(other, &there))
	if here.Dev == there.Dev {
		peertest.Missing(t, "/dev/shm is no other file system")
	}
	b.answer = func(*File) Verdict { return Rejected("odd", "it is odd") }
	for range 2 {
		b.write("sub/a", "content")
		b.settle()
	}
	b.has()
	for _, name := range []string{"sub/a", "sub/a.2"} {
		content, err := os.ReadFile(filepath.Join(other, name))
		if err != nil || string(content) != "content" {
			t.Errorf("%s: %q %v", name, content, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(other, "sub"))
	if err != nil || len(entries) != 4 {
		t.Errorf("%v %v", entries, err)
	}
}

// Run finds files by notification long before a rescan, in folders made meanwhile, too.
func TestRunIsNotified(t *testing.T) {
	o := Options{Name: "n", Folder: t.TempDir(), Quiet: 20 * time.Millisecond, Rescan: time.Hour}
	took := make(chan string, 10)
	w, err := New(o, func(_ context.Context, f *File) Verdict {
		took <- f.Path
		return Taken()
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	for i := range 3 {
		name := fmt.Sprintf("sub%d/deeper/a", i)
		must(t, os.MkdirAll(filepath.Join(o.Folder, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(o.Folder, name), []byte("1"), 0o644))
		select {
		case got := <-took:
			if got != name {
				t.Errorf("took %q", got)
			}
		case <-time.After(time.Minute):
			t.Fatal("not noticed within a minute")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Without notifications rescans find files.
func TestRunWithoutNotifications(t *testing.T) {
	o := Options{Name: "n", Folder: t.TempDir(), Quiet: 10 * time.Millisecond, Rescan: 20 * time.Millisecond}
	took := make(chan struct{}, 1)
	w, err := New(o, func(context.Context, *File) Verdict {
		took <- struct{}{}
		return Taken()
	})
	must(t, err)
	w.hints.folders[o.Folder] = struct{}{} // as if it were watched
	w.identity = identityOf(t, o.Folder)
	go w.Run(t.Context())
	must(t, os.WriteFile(filepath.Join(o.Folder, "a"), []byte("1"), 0o644))
	select {
	case <-took:
	case <-time.After(time.Minute):
		t.Fatal("not found within a minute")
	}
}

func identityOf(t *testing.T, folder string) [2]uint64 {
	t.Helper()
	d, err := openFolder(folder)
	must(t, err)
	defer d.Close()
	s, err := d.stat(".")
	must(t, err)
	return [2]uint64{s.dev, s.ino}
}
