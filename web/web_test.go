package web

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

var hospital = cloud.Key{AccessKey: "hospital-cloud", AccessSecret: "s3cret"}

// site is a server over a spool of its own.
type site struct {
	t     testing.TB
	dir   string
	spool *spool.Spool
	web   *Server
	http  *httptest.Server
	log   *lockedBuffer

	mu  sync.Mutex
	now time.Time // zero: the clock's
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newSite starts a server; change adjusts its options.
func newSite(t testing.TB, change func(*Options)) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	var err error
	if s.spool, err = spool.Open(s.dir, spool.Options{SegmentSize: 16 << 20, AllocateStep: 1 << 20, MinFree: -1, ReserveBytes: -1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.spool.Close() })
	links, _, err := OpenLinks(filepath.Join(s.dir, "links.json"))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Index: s.spool, Settings: Settings{
			Links: links, Describe: func(*spool.Instance) (string, string) { return "内江市示例医院", "CT" },
			HospitalCodes: []string{"05871212", "91511000XXXXXXXXXX"}, Rule: cloud.RuleMD5, Keys: []cloud.Key{hospital},
			ReplayWindow: 10 * time.Minute, LinkLifetime: time.Hour, WriteTimeout: 10 * time.Second,
			Limits: Limits{Connections: 256, ConnectionsPerAddress: 256, RequestsPerSecond: 100000, RequestsPerClient: 100000},
		},
		Logger: slog.New(slog.NewTextHandler(s.log, nil)), Now: s.clock,
	}
	if change != nil {
		change(&o)
	}
	if s.web, err = New(o); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.http = httptest.NewUnstartedServer(s.web.Handler())
	s.http.Listener.Close()
	s.http.Listener = s.web.Limit(l)
	s.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.http.Start()
	t.Cleanup(s.http.Close)
	return s
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.IsZero() {
		return time.Now()
	}
	return s.now
}

func (s *site) setClock(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = t
}

// store puts an object into the spool and returns its Part 10 file.
func (s *site) store(o *synth.Object) (spool.Instance, []byte) {
	s.t.Helper()
	w, err := s.spool.Begin(spool.Incoming{
		SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: synth.ExplicitVRLittleEndian, CallingAETitle: "CT1",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(o.Data); err != nil {
		s.t.Fatal(err)
	}
	receipt, err := w.Commit(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	file := dicom.FileMeta{
		SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: synth.ExplicitVRLittleEndian, SourceAETitle: "CT1",
	}.Append(nil)
	return receipt.Instance, append(file, o.Data...)
}

// study stores n instances of about size bytes and returns the files by SOP Instance UID.
func (s *site) study(n, size int) (dicom.UID, map[string][]byte) {
	s.t.Helper()
	template := synth.NewTemplate(size, 1)
	files := make(map[string][]byte)
	var uid dicom.UID
	for i := range n {
		o := template.Object(1, i%2, i)
		in, file := s.store(&o)
		files[string(in.SOPInstanceUID)], uid = file, in.StudyInstanceUID
	}
	return uid, files
}

// signed is the query of a rightly signed request; more are further parameters, name and value.
func signed(key cloud.Key, study dicom.UID, more ...string) string {
	parameters := []cloud.Parameter{{Name: "HospitalCode", Value: "05871212"}, {Name: "StudyInstanceUID", Value: string(study)}}
	for i := 0; i+1 < len(more); i += 2 {
		parameters = append(parameters, cloud.Parameter{Name: more[i], Value: more[i+1]})
	}
	signer, err := cloud.NewSigner(cloud.RuleMD5, key)
	if err != nil {
		panic(err)
	}
	q := url.Values{"Signature": {signer.Sign(parameters)}}
	for _, p := range parameters {
		q.Set(p.Name, p.Value)
	}
	return q.Encode()
}

// ask sends a request of 203.
func (s *site) ask(query string) (cloud.Answer, *http.Response) {
	s.t.Helper()
	resp, err := http.Get(s.http.URL + cloud.RetrievePath + "?" + query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var a cloud.Answer
	if err := json.Unmarshal(body, &a); err != nil {
		s.t.Fatalf("%s: %v: %s", resp.Status, err, body)
	}
	return a, resp
}

// list asks for a study and fails the test if it is refused.
func (s *site) list(study dicom.UID) []cloud.Image {
	s.t.Helper()
	a, _ := s.ask(signed(hospital, study))
	if a.Code != cloud.CodeOK {
		s.t.Fatalf("%+v", a)
	}
	return a.Result
}

// get sends a request with headers, name and value.
func (s *site) get(method, address string, headers ...string) (*http.Response, []byte, error) {
	s.t.Helper()
	rq, err := http.NewRequestWithContext(s.t.Context(), method, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		rq.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(rq)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func TestListAndDownload(t *testing.T) {
	s := newSite(t, nil)
	study, files := s.study(5, 100_000)
	a, resp := s.ask(signed(hospital, study))
	if resp.StatusCode != 200 || a.Code != "N0000" || len(a.Result) != 5 || resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("%v %+v", resp.Status, a)
	}
	for _, image := range a.Result {
		if image.HospitalCode != "05871212" || image.HospitalName != "内江市示例医院" || image.StudyInstanceUID != string(study) || image.Modality != "CT" ||
			image.SeriesInstanceUID == "" || image.SOPClassUID != "1.2.840.10008.5.1.4.1.1.2" || image.PatNo == "" {
			t.Errorf("%+v", image)
		}
		if len(image.DownloadURL) > cloud.MaxDownloadURL || strings.Contains(image.DownloadURL, image.SOPInstanceUID) {
			t.Errorf("address %s", image.DownloadURL)
		}
		resp, body, err := s.get("GET", image.DownloadURL)
		if err != nil || resp.StatusCode != 200 || !bytes.Equal(body, files[image.SOPInstanceUID]) {
			t.Errorf("%v, %d bytes, %v", resp.Status, len(body), err)
		}
		if resp.Header.Get("Content-Type") != "application/dicom" || resp.ContentLength != int64(len(body)) {
			t.Errorf("%v", resp.Header)
		}
	}
	if text := s.log.String(); strings.Contains(text, string(study)) || strings.Contains(text, a.Result[0].PatNo) || !strings.Contains(text, "client=hospital-cloud") {
		t.Errorf("access log:\n%s", text)
	}
}

func TestAnswersOf203(t *testing.T) {
	s := newSite(t, nil)
	study, _ := s.study(1, 2000)
	wrong := hospital
	wrong.AccessSecret = "other"
	ok := signed(hospital, study)
	unix := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	for _, row := range []struct {
		name, query string
		code        cloud.Code
		images      int
	}{
		{"right", ok, "N0000", 1},
		{"no such study", signed(hospital, "1.2.3.4.5"), "N0000", 0},
		{"time in seconds", signed(hospital, study, "timeStamp", unix(0)), "N0000", 1},
		{"time in milliseconds", signed(hospital, study, "timeStamp", unix(-time.Minute)+"000"), "N0000", 1},
		{"old", signed(hospital, study, "timeStamp", unix(-11*time.Minute)), "E0002", 0},
		{"of the future", signed(hospital, study, "timeStamp", unix(11*time.Minute)), "E0002", 0},
		{"parameter more", signed(hospital, study, "areaId", "7"), "N0000", 1},
		{"parameter more, unsigned", ok + "&areaId=7", "E0002", 0},
		{"wrong secret", signed(wrong, study), "E0002", 0},
		{"no signature", "HospitalCode=05871212&StudyInstanceUID=" + string(study), "E0002", 0},
		{"empty signature", "HospitalCode=05871212&Signature=&StudyInstanceUID=" + string(study), "E0002", 0},
		{"another study's signature", strings.Replace(ok, string(study), "1.2.3.4.5", 1), "E0002", 0},
		{"another key named", ok + "&accessKey=nobody", "E0002", 0},
		{"its key named", ok + "&accessKey=hospital-cloud", "N0000", 1},
		{"another hospital", signedFor(hospital, "99999999", study), "E0001", 0},
		{"18-digit code", signedFor(hospital, "91511000XXXXXXXXXX", study), "N0000", 1},
		{"no parameters", "", "E0001", 0},
		{"SQL in the UID", "HospitalCode=05871212&StudyInstanceUID=1'%3BDROP%20TABLE--&Signature=AA", "E0001", 0},
		{"path in the UID", "HospitalCode=05871212&StudyInstanceUID=..%2F..%2Fetc&Signature=AA", "E0001", 0},
		{"markup in the code, unsigned", "HospitalCode=%3Cscript%3E&StudyInstanceUID=1.2&Signature=AA", "E0002", 0},
		{"control character", "HospitalCode=1%00&StudyInstanceUID=1.2&Signature=AA", "E0001", 0},
		{"percent at the end", "HospitalCode=%&StudyInstanceUID=1.2", "E0001", 0},
	} {
		a, resp := s.ask(row.query)
		if resp.StatusCode != 200 || a.Code != row.code || len(a.Result) != row.images || a.Result == nil || a.Message == "" {
			t.Errorf("%s: %v %+v", row.name, resp.Status, a)
		}
	}
}

// signedFor is signed with another HospitalCode.
func signedFor(key cloud.Key, code string, study dicom.UID) string {
	signer, _ := cloud.NewSigner(cloud.RuleMD5, key)
	parameters := []cloud.Parameter{{Name: "HospitalCode", Value: code}, {Name: "StudyInstanceUID", Value: string(study)}}
	return url.Values{"HospitalCode": {code}, "StudyInstanceUID": {string(study)}, "Signature": {signer.Sign(parameters)}}.Encode()
}

func TestNamesInOtherCase(t *testing.T) {
	s := newSite(t, nil)
	study, _ := s.study(1, 2000)
	signer, _ := cloud.NewSigner(cloud.RuleMD5, hospital)
	sign := signer.Sign([]cloud.Parameter{{Name: "hospitalCode", Value: "05871212"}, {Name: "StudyInstanceUID", Value: string(study)}})
	a, _ := s.ask("hospitalCode=05871212&StudyInstanceUID=" + string(study) + "&signature=" + strings.ToLower(sign))
	if a.Code != cloud.CodeOK || len(a.Result) != 1 {
		t.Errorf("%+v", a)
	}
}

func TestTimeStampNeeded(t *testing.T) {
	s := newSite(t, func(o *Options) { o.TimeStampNeeded = true })
	if a, _ := s.ask(signed(hospital, "1.2")); a.Code != cloud.CodeBadSignature || !strings.Contains(a.Message, "timeStamp") {
		t.Errorf("%+v", a)
	}
}

func TestNoSignature(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Rule, o.Keys = cloud.RuleNone, nil })
	study, files := s.study(1, 2000)
	a, _ := s.ask("HospitalCode=05871212&StudyInstanceUID=" + string(study))
	if a.Code != cloud.CodeOK || len(a.Result) != 1 {
		t.Fatalf("%+v", a)
	}
	if _, body, err := s.get("GET", a.Result[0].DownloadURL); err != nil || !bytes.Equal(body, files[a.Result[0].SOPInstanceUID]) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

func TestBaseURL(t *testing.T) {
	s := newSite(t, func(o *Options) { o.BaseURL = "https://images.example.org/pacs" })
	study, _ := s.study(1, 2000)
	if u := s.list(study)[0].DownloadURL; !strings.HasPrefix(u, "https://images.example.org/pacs/Viewer/dicom/") {
		t.Error(u)
	}
	other := newSite(t, nil)
	for _, host := range []string{"a b", "evil/path", "x@y", `"><`, strings.Repeat("a", 300)} {
		rq := httptest.NewRequest("GET", cloud.RetrievePath+"?"+signed(hospital, "1.2"), nil)
		rq.Host = host
		w := httptest.NewRecorder()
		other.web.Handler().ServeHTTP(w, rq)
		if !strings.Contains(w.Body.String(), string(cloud.CodeBadParameters)) {
			t.Errorf("Host %q: %s", host, w.Body)
		}
	}
}

// Methods and paths that are not served, and paths that would lead elsewhere.
func TestOtherPaths(t *testing.T) {
	s := newSite(t, nil)
	for _, row := range []struct {
		method, path string
		status       int
	}{
		{"POST", "/Viewer/DICOMStudyRetrieve", 405}, {"DELETE", "/Viewer/dicom/x.dcm", 405}, {"GET", "/", 404}, {"GET", "/metrics", 404},
		{"GET", "/Viewer/dicom/", 404}, {"GET", "/Viewer/dicom/..%2f..%2fetc%2fpasswd", 404}, {"GET", "/Viewer/dicom/%00", 404},
		{"GET", "/Viewer/dicom/../../etc/passwd", 404}, {"GET", "/Viewer/dicom/" + strings.Repeat("A", 47) + ".dcm", 404},
		{"GET", "/Viewer/dicom/" + strings.Repeat("A", 8000), 404}, {"GET", "/Viewer/dicom/1.2.3/4.dcm", 404},
	} {
		conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, row.method+" "+row.path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		answer, _ := io.ReadAll(conn)
		conn.Close()
		var status int
		if _, after, ok := strings.Cut(string(answer), " "); ok && len(after) > 3 {
			json.Unmarshal([]byte(after[:3]), &status)
		}
		if status != row.status && !(strings.Contains(row.path, "/../") && status/100 == 3) {
			t.Errorf("%s %.60s: %d\n%.200s", row.method, row.path, status, answer)
		}
		if bytes.Contains(answer, []byte("root:")) {
			t.Errorf("%s gives a file of the system", row.path)
		}
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) == 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
