package cloud

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

func newTestClient(t *testing.T, base string, change func(*ClientOptions)) *Client {
	t.Helper()
	o := ClientOptions{
		BaseURL: base, HospitalCode: "05871212", Rule: RuleMD5, Key: Key{AccessKey: "k", AccessSecret: "s"}, Timeout: 5 * time.Second, Attempts: 3,
	}
	if change != nil {
		change(&o)
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// The request that a client makes is one that a server takes.
func TestImages(t *testing.T) {
	signer, _ := NewSigner(RuleMD5, Key{AccessKey: "k", AccessSecret: "s"})
	var busy atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if busy.Add(1) == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		rq, err := ParseRetrieveRequest(r.URL.RawQuery)
		if err != nil || !signer.Verify(rq.Signed, rq.Signature) || r.Header.Get(AccessKeyHeader) != "k" || r.URL.Path != "/x/Viewer/DICOMStudyRetrieve" || rq.TimeStamp.IsZero() {
			t.Errorf("%v: %+v, %v", r.URL, rq, err)
		}
		io.WriteString(w, `{"code":"N000","message":null,"result":[{"sopInstanceUID":"1.2.3.1"},{"sopinstanceuid":"1.2.3.2","studyInstanceUID":"1.2.3"}],"more":1}`)
	})
	c := newTestClient(t, s.URL+"/x/", func(o *ClientOptions) { o.TimeStamp = true })
	images, err := c.Images(t.Context(), "1.2.3")
	if err != nil || len(images) != 2 || images[1].SOPInstanceUID != "1.2.3.2" {
		t.Errorf("%+v, %v", images, err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for body, want := range map[string]string{
		`{"code":"E0002","message":"签名不正确"}`: "check access key",
		`{"code":"E9000"}`: "check access key",
		`{"code":"E0000","message":"` + strings.Repeat("x", 10000) + `"}`: "E0000",
		`<html>`:                        "no JSON",
		`[]`:                            "no JSON",
		`{"code":"N0000","result":[1]}`: "no list of images",
		`{"code":"N0000","result":[{"studyInstanceUID":"9.9"}]}`: "another study",
		`{}`: "answered",
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		_, err := newTestClient(t, s.URL, nil).Images(t.Context(), "1.2.3")
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.60s: %v", body, err)
		}
	}
	for _, body := range []string{`{"code":"N0000"}`, `{"code":"N0000","result":null}`, `{"code":"N0000","result":{}}`, `{"code":"N0000","result":[]}`} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		if images, err := newTestClient(t, s.URL, nil).Images(t.Context(), "1.2.3"); err != nil || len(images) != 0 {
			t.Errorf("%s: %v, %v", body, images, err)
		}
	}
}

// flaky serves a file and breaks every answer off after a while.
type flaky struct {
	file     []byte
	tag      func() string
	ranges   bool // heeds Range
	breaks   int64
	requests atomic.Int64
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.requests.Add(1)
	from := 0
	w.Header().Set("ETag", f.tag())
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && f.ranges && r.Header.Get("If-Range") == f.tag() {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(f.file)-1, len(f.file)))
		w.Header().Set("Content-Length", strconv.Itoa(len(f.file)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		from = 0
		w.Header().Set("Content-Length", strconv.Itoa(len(f.file)))
	}
	rest := f.file[from:]
	if f.requests.Load() <= f.breaks {
		w.Write(rest[:len(rest)/2])
		panic(http.ErrAbortHandler)
	}
	w.Write(rest)
}

func testFile() []byte {
	file := make([]byte, 300_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range file {
		file[i] = byte(r.Uint32())
	}
	return file
}

func TestDownloadGoesOn(t *testing.T) {
	file := testFile()
	n := 0
	for _, row := range []struct {
		name   string
		tag    func() string
		ranges bool
		breaks int64
		want   error
	}{
		{"ranges", func() string { return `"a"` }, true, 4, nil},
		{"no ranges", func() string { return `"a"` }, false, 1, nil},
		{"changed", func() string { n++; return fmt.Sprintf(`"%d"`, n) }, true, 1, ErrChanged},
		{"no tag", func() string { return "" }, true, 1, ErrChanged},
		{"weak tag", func() string { return `W/"a"` }, true, 1, ErrChanged},
	} {
		s := httptest.NewServer(&flaky{file: file, tag: row.tag, ranges: row.ranges, breaks: row.breaks})
		d, err := newTestClient(t, s.URL, nil).Open(t.Context(), "/f.dcm")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(d)
		if !errors.Is(err, row.want) || err == nil && !bytes.Equal(got, file) {
			t.Errorf("%s: %d bytes, %v", row.name, len(got), err)
		}
		d.Close()
		s.Close()
	}
}

func TestDownloadGivesUp(t *testing.T) {
	f := &flaky{file: testFile(), tag: func() string { return `"a"` }, ranges: true, breaks: 1}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if f.requests.Load() > 0 {
			f.requests.Add(1)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		f.ServeHTTP(w, r)
	})
	d, err := newTestClient(t, s.URL, nil).Open(t.Context(), "/f.dcm")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := io.ReadAll(d); err == nil || f.requests.Load() != 3 {
		t.Errorf("%v after %d requests", err, f.requests.Load())
	}
	for _, status := range []int{400, 403, 404, 410, 501} {
		asked := 0
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(status) })
		if _, err := newTestClient(t, s.URL, nil).Open(t.Context(), "/f.dcm"); err == nil || asked != 1 {
			t.Errorf("status %d: %v after %d requests", status, err, asked)
		}
	}
}

// A platform that says nothing for the timeout is left.
func TestSilentPlatform(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newTestClient(t, s.URL, func(o *ClientOptions) { o.Timeout, o.Attempts = 50*time.Millisecond, 1 })
	var d *Download
	peertest.Eventually(t, 10*time.Second, "the begin comes in time", func() (ok bool) {
		var err error
		d, err = c.Open(t.Context(), "/f.dcm")
		return err == nil
	})
	defer d.Close()
	if _, err := io.ReadAll(d); err == nil {
		t.Error("the end came without the bytes")
	}
}

// A list must not lead the gateway to other hosts, by whatever way.
func TestAddressesOfOtherHosts(t *testing.T) {
	inside := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a host was asked that nobody has named") })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inside.URL+"/secret", http.StatusFound)
	})
	c := newTestClient(t, s.URL, nil)
	for _, address := range []string{
		inside.URL + "/x", "//" + strings.TrimPrefix(inside.URL, "http://") + "/x", "file:///etc/passwd", "gopher://" + strings.TrimPrefix(s.URL, "http://"),
		"http://user@" + strings.TrimPrefix(s.URL, "http://") + "/x", "::", "http://[", strings.Repeat("x", 5000), s.URL + "/redirected",
	} {
		_, err := c.Open(t.Context(), address)
		if !errors.As(err, new(*addressError)) {
			t.Errorf("%.60s: %v", address, err)
		}
	}
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") })
	named := newTestClient(t, s.URL, func(o *ClientOptions) { o.Hosts = []string{strings.TrimPrefix(other.URL, "http://")} })
	if d, err := named.Open(t.Context(), other.URL); err != nil {
		t.Error(err)
	} else {
		d.Close()
	}
	if err := newTestClient(t, "https://h", nil).trusted(mustParse(t, "http://h/x")); err == nil {
		t.Error("from https to http")
	}
}

func TestDigests(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	b64, hexed := base64.StdEncoding.EncodeToString(sum[:]), hex.EncodeToString(sum[:])
	for _, row := range []struct {
		name, value string
		file, tag   bool
	}{
		{"Repr-Digest", "md5=:AAAA:, sha-256=:" + b64 + ":", true, false}, {"Digest", "SHA-256=" + b64, true, false},
		{"Repr-Digest", "sha-256=:AAAA:", false, false}, {"ETag", `"` + hexed + `"`, false, true}, {"ETag", `W/"` + hexed + `"`, false, false},
		{"ETag", `"d41d8cd98f00b204e9800998ecf8427e"`, false, false},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(row.name, row.value)
			io.WriteString(w, "x")
		})
		d, err := newTestClient(t, s.URL, nil).Open(t.Context(), "/")
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(d.Digest(), sum[:]) != row.file || bytes.Equal(d.TagDigest(), sum[:]) != row.tag {
			t.Errorf("%s: %s: %x, %x", row.name, row.value, d.Digest(), d.TagDigest())
		}
		d.Close()
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"code":"N0000","message":"","result":[{"PatNo":"1","dcmDownloadUrl":"/x"}]}`))
	f.Add([]byte(`{"code":"E0001","message":5}`))
	f.Add([]byte(`{"CODE":"N000","result":{"a":[]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		images, err := parseAnswer(body, "1.2")
		if err != nil && (len(images) > 0 || passes(err)) {
			t.Errorf("%d images, %v", len(images), err)
		}
	})
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
