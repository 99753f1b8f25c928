package restore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

// platform is a stand-in cloud with one study. Paths choose how an image is served.
type platform struct {
	*httptest.Server
	study  dicom.UID
	images []cloud.Image
	files  map[string][]byte // by path

	mu    sync.Mutex
	asked map[string]int
	gate  chan struct{} // lists wait for it; nil: they do not
	lists atomic.Int64
}

func newPlatform(t *testing.T, n int) *platform {
	t.Helper()
	p := &platform{files: map[string][]byte{}, asked: map[string]int{}}
	template := synth.NewTemplate(100_000, 5)
	for i := range n {
		o := template.Object(1, 1, i)
		p.study = dicom.UID(o.StudyInstanceUID)
		path := "/" + o.SOPInstanceUID
		p.files[path] = o.Part10()
		p.images = append(p.images, cloud.Image{SOPInstanceUID: o.SOPInstanceUID, DownloadURL: path})
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == cloud.RetrievePath {
		p.lists.Add(1)
		if p.gate != nil {
			<-p.gate
		}
		a := cloud.Answer{Code: cloud.CodeOK, Result: []cloud.Image{}}
		if r.URL.Query().Get("StudyInstanceUID") == string(p.study) {
			a.Result = p.images
		}
		json.NewEncoder(w).Encode(a)
		return
	}
	kind, path := r.URL.Query().Get("as"), r.URL.Path
	file := p.files[path]
	p.mu.Lock()
	p.asked[path]++
	n := p.asked[path]
	p.mu.Unlock()
	_, at, _ := dicom.ReadFileMeta(strings.NewReader(string(file)))
	sum := sha256.Sum256(file[at:])
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	switch kind {
	case "damaged", "damaged once":
		if kind == "damaged" || n == 1 {
			file = append([]byte(nil), file...)
			file[len(file)-1]++
		}
	case "text":
		w.Header().Del("ETag")
		file = []byte("<html>not found</html>")
	case "another":
		for other := range p.files {
			if other != path {
				file = p.files[other]
				break
			}
		}
	case "gone":
		w.WriteHeader(http.StatusGone)
		return
	case "broken":
		if n == 1 {
			w.Header().Set("Content-Length", strconv.Itoa(len(file)))
			w.Write(file[:5000])
			panic(http.ErrAbortHandler)
		}
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(file)))
}

// as has an image served in a way.
func (p *platform) as(i int, kind string) {
	p.images[i].DownloadURL += "?as=" + strings.ReplaceAll(kind, " ", "+")
}

func openSpool(t *testing.T) *spool.Spool {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{SegmentSize: 16 << 20, AllocateStep: 1 << 20, MinFree: -1, ReserveBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newRestorer(t *testing.T, p *platform, s *spool.Spool) *Restorer {
	t.Helper()
	c, err := cloud.NewClient(cloud.ClientOptions{BaseURL: p.URL, HospitalCode: "1", Rule: cloud.RuleNone, Timeout: 5 * time.Second, Attempts: 3})
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Cloud: c, Store: s, AETitle: "DCMGATE", Source: "cloud", Parallel: 3})
}

func TestStudy(t *testing.T) {
	p, s := newPlatform(t, 8), openSpool(t)
	r := newRestorer(t, p, s)
	p.as(2, "broken")
	p.as(3, "damaged once")
	steps := 0
	got, err := r.Study(t.Context(), p.study, func(Report) { steps++ })
	if err != nil || got.Listed != 8 || got.Restored != 8 || got.Failed != 0 || steps != 8 {
		t.Fatalf("%+v, %v after %d steps", got, err, steps)
	}
	n := 0
	for in, err := range s.Latest(t.Context(), p.study, "") {
		if err != nil {
			t.Fatal(err)
		}
		file := p.files["/"+string(in.SOPInstanceUID)]
		_, at, _ := dicom.ReadFileMeta(strings.NewReader(string(file)))
		if in.Digest != sha256.Sum256(file[at:]) || in.Flags&spool.FlagRequested == 0 || len(in.Destinations()) != 0 {
			t.Errorf("%+v", in)
		}
		n++
	}
	if n != 8 {
		t.Errorf("%d instances are stored", n)
	}
	before := p.asked["/"+p.images[0].SOPInstanceUID]
	if got, err := r.Study(t.Context(), p.study, nil); err != nil || got.Present != 8 || got.Restored != 0 || got.Bytes != 0 {
		t.Errorf("again: %+v, %v", got, err)
	}
	if p.asked["/"+p.images[0].SOPInstanceUID] != before {
		t.Error("what is stored was downloaded again")
	}
}

// What is wrong with one image leaves the others alone, and nothing of it is stored.
func TestImagesThatAreWrong(t *testing.T) {
	p, s := newPlatform(t, 8), openSpool(t)
	for i, kind := range []string{"damaged", "text", "another", "gone"} {
		p.as(i, kind)
	}
	p.images[4].DownloadURL = "http://127.0.0.1:1/elsewhere"
	p.images[5].DownloadURL = ""
	p.images[6].SOPInstanceUID = "../../etc/passwd"
	got, err := newRestorer(t, p, s).Study(t.Context(), p.study, nil)
	if err != nil || got.Restored != 1 || got.Failed != 7 || len(got.Failures) != 7 {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Instances; n != 1 {
		t.Errorf("%d instances are stored", n)
	}
	for _, f := range got.Failures {
		t.Logf("%s: %s", f.Instance, f.Reason)
		if f.Reason == "" {
			t.Errorf("%+v", f)
		}
	}
}

func TestAnotherStudy(t *testing.T) {
	p, s := newPlatform(t, 1), openSpool(t)
	p.study = "1.2.3" // the list says nothing of the study; its image is of another
	got, err := newRestorer(t, p, s).Study(t.Context(), "1.2.3", nil)
	if err != nil || got.Failed != 1 || !strings.Contains(got.Failures[0].Reason, "another study") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBackground(t *testing.T) {
	p, s := newPlatform(t, 2), openSpool(t)
	p.gate = make(chan struct{})
	b := NewBackground(newRestorer(t, p, s))
	defer b.Close()
	short, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if err := b.Fetch(short, p.study); !errors.Is(err, ErrUnderWay) {
			t.Fatal(err)
		}
	}
	for i := range maxStudies - 1 {
		if err := b.Fetch(short, dicom.UID("1.9."+string(rune('1'+i)))); !errors.Is(err, ErrUnderWay) {
			t.Fatal(err)
		}
	}
	if err := b.Fetch(t.Context(), "1.8"); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	close(p.gate)
	if err := b.Fetch(t.Context(), p.study); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil || s.Stats().Instances != 2 {
		t.Errorf("%d instances, %v", s.Stats().Instances, err)
	}
	for range 3 { // the end is remembered
		if err := b.Fetch(t.Context(), p.study); err != nil {
			t.Error(err)
		}
	}
	for i := range maxStudies - 1 {
		if err := b.Fetch(t.Context(), dicom.UID("1.9."+string(rune('1'+i)))); err != nil {
			t.Error(err)
		}
	}
	if n := p.lists.Load(); n != maxStudies {
		t.Errorf("the cloud was asked %d times for %d studies", n, maxStudies)
	}
}

// What is wrong with the spool ends it all.
func TestClosedSpool(t *testing.T) {
	p, s := newPlatform(t, 3), openSpool(t)
	s.Close()
	if _, err := newRestorer(t, p, s).Study(t.Context(), p.study, nil); err == nil {
		t.Error("images are said to be restored into a spool that is closed")
	}
}

// onceAsked is a source that has nothing, and says so when it may.
type onceAsked struct {
	asked atomic.Int64
	err   error
	gate  chan struct{} // nil: at once
}

// Study implements [Source].
func (o *onceAsked) Study(context.Context, dicom.UID, func(Report)) (Report, error) {
	o.asked.Add(1)
	if o.gate != nil {
		<-o.gate
	}
	return Report{}, o.err
}

// Another source is asked for what the one before could not give; what is under way goes on, and is not taken for what the
// other says.
func TestBackgroundUsesAnotherSource(t *testing.T) {
	first, second, third := &onceAsked{err: errors.New("wrong key"), gate: make(chan struct{})}, &onceAsked{}, &onceAsked{}
	b := NewBackground(first)
	defer b.Close()
	waiting := make(chan error)
	go func() { waiting <- b.Fetch(t.Context(), "1.2") }()
	for first.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	b.Use(second)
	go func() { waiting <- b.Fetch(t.Context(), "1.2") }() // joins
	close(first.gate)
	for range 2 {
		if err := <-waiting; err != first.err && err != nil {
			t.Errorf("%v", err)
		}
	}
	for range 2 {
		if err := b.Fetch(t.Context(), "1.2"); err != nil {
			t.Errorf("%v", err)
		}
	}
	b.Use(third)
	if err := b.Fetch(t.Context(), "1.2"); err != nil {
		t.Errorf("%v", err)
	}
	if a, b, c := first.asked.Load(), second.asked.Load(), third.asked.Load(); a != 1 || b != 1 || c != 1 {
		t.Errorf("asked %d, %d and %d times", a, b, c)
	}
}
