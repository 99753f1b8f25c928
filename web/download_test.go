package web

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

// one stores an instance and returns its file and its address.
func (s *site) one(size int) (spool.Instance, []byte, string) {
	s.t.Helper()
	o := synth.NewTemplate(size, 1).Object(1, 1, 1)
	in, file := s.store(&o)
	return in, file, s.list(in.StudyInstanceUID)[0].DownloadURL
}

func TestConditionsAndRanges(t *testing.T) {
	s := newSite(t, nil)
	in, file, address := s.one(3_000_000)
	sum := sha256.Sum256(file[in.HeaderLength:])
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	size := len(file)
	for _, row := range []struct {
		method  string
		headers []string
		status  int
		body    []byte
		ranged  string // Content-Range
	}{
		{"GET", nil, 200, file, ""},
		{"HEAD", nil, 200, nil, ""},
		{"GET", []string{"If-None-Match", etag}, 304, nil, ""},
		{"HEAD", []string{"If-None-Match", `"other", ` + etag}, 304, nil, ""},
		{"GET", []string{"If-None-Match", `"other"`}, 200, file, ""},
		{"GET", []string{"If-Match", `"other"`}, 412, nil, ""},
		{"GET", []string{"Range", "bytes=0-0"}, 206, file[:1], fmt.Sprintf("bytes 0-0/%d", size)},
		{"GET", []string{"Range", "bytes=1000000-"}, 206, file[1000000:], fmt.Sprintf("bytes 1000000-%d/%d", size-1, size)},
		{"GET", []string{"Range", "bytes=-100"}, 206, file[size-100:], fmt.Sprintf("bytes %d-%d/%d", size-100, size-1, size)},
		{"GET", []string{"Range", "bytes=5-2"}, 200, file, ""},
		{"GET", []string{"Range", "bytes=-"}, 200, file, ""},
		{"GET", []string{"Range", "bytes=0-99999999999999999999"}, 200, file, ""},
		{"GET", []string{"Range", fmt.Sprintf("bytes=%d-", size)}, 416, nil, fmt.Sprintf("bytes */%d", size)},
		{"GET", []string{"Range", "bytes=100-199", "If-Range", etag}, 206, file[100:200], fmt.Sprintf("bytes 100-199/%d", size)},
		{"GET", []string{"Range", "bytes=100-199", "If-Range", `"other"`}, 200, file, ""},
		{"HEAD", []string{"Range", "bytes=100-199"}, 206, nil, fmt.Sprintf("bytes 100-199/%d", size)},
		{"GET", []string{"Range", "bytes=" + strings.Repeat("0-0,", 40) + "1-1"}, 200, file, ""},
		{"GET", []string{"Range", "lines=1-2"}, 200, file, ""},
	} {
		resp, body, err := s.get(row.method, address, row.headers...)
		if err != nil || resp.StatusCode != row.status || resp.Header.Get("Content-Range") != row.ranged {
			t.Errorf("%s %v: %v %v, %v", row.method, row.headers, resp.Status, resp.Header, err)
			continue
		}
		if row.status/100 == 2 && !bytes.Equal(body, row.body) {
			t.Errorf("%s %v: %d bytes", row.method, row.headers, len(body))
		}
		if row.status/100 == 2 && (resp.Header.Get("ETag") != etag || resp.Header.Get("Accept-Ranges") != "bytes" || resp.Header.Get("Content-Length") == "") {
			t.Errorf("%s %v: %v", row.method, row.headers, resp.Header)
		}
	}
}

func TestSeveralRanges(t *testing.T) {
	s := newSite(t, nil)
	_, file, address := s.one(100_000)
	resp, body, err := s.get("GET", address, "Range", "bytes=0-9,50000-50999,-5")
	if err != nil || resp.StatusCode != 206 {
		t.Fatal(resp, err)
	}
	_, parameters, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	for _, want := range [][]byte{file[:10], file[50000:51000], file[len(file)-5:]} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(part); err != nil || !bytes.Equal(got, want) || part.Header.Get("Content-Type") != "application/dicom" {
			t.Errorf("%d bytes, %v, %v", len(got), part.Header, err)
		}
	}
}

// Sixteen ranges at once, as download managers ask for them.
func TestParallelRanges(t *testing.T) {
	s := newSite(t, nil)
	_, file, address := s.one(8_000_000)
	got := make([]byte, len(file))
	var wait sync.WaitGroup
	const parts = 16
	for i := range parts {
		wait.Go(func() {
			from, to := i*len(file)/parts, (i+1)*len(file)/parts
			resp, body, err := s.get("GET", address, "Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
			if err != nil || resp.StatusCode != 206 {
				t.Errorf("%v, %v", resp, err)
				return
			}
			copy(got[from:to], body)
		})
	}
	wait.Wait()
	if !bytes.Equal(got, file) {
		t.Error("the parts do not make the file")
	}
}

// tampered changes one character of the token.
func tampered(address string, at int) string {
	b := []byte(address)
	i := strings.Index(address, linkPath) + len(linkPath) + at
	if b[i]++; b[i] == '_' || b[i] == '{' || b[i] == '[' || b[i] == ':' {
		b[i] = 'A'
	}
	return string(b)
}

func TestLinksEnd(t *testing.T) {
	s := newSite(t, nil)
	in, _, address := s.one(2000)
	status := func(address string) int {
		t.Helper()
		resp, _, err := s.get("GET", address)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	for at := range base64.RawURLEncoding.EncodedLen(tokenLength) {
		if got := status(tampered(address, at)); got != 404 {
			t.Errorf("character %d changed: %d", at, got)
		}
	}
	for _, forged := range []string{address + "x", strings.TrimSuffix(address, ".dcm"), strings.TrimSuffix(address, ".dcm") + ".zip", strings.Replace(address, ".dcm", "A.dcm", 1), address + "/"} {
		if got := status(forged); got != 404 {
			t.Errorf("%s: %d", forged, got)
		}
	}
	now := time.Now()
	for _, row := range []struct {
		after time.Duration
		want  int
	}{{-4 * time.Minute, 200}, {-2 * time.Hour, 200}, {59 * time.Minute, 200}, {61 * time.Minute, 410}, {0, 410}} {
		s.setClock(now.Add(row.after))
		if got := status(address); got != row.want {
			t.Errorf("after %v: %d", row.after, got)
		}
	}
	address = s.list(in.StudyInstanceUID)[0].DownloadURL
	if err := s.web.current.Load().Links.Revoke("1.2.3", s.clock()); err != nil {
		t.Fatal(err)
	}
	if got := status(address); got != 200 {
		t.Errorf("another study revoked: %d", got)
	}
	if err := s.web.current.Load().Links.Revoke(in.StudyInstanceUID, s.clock()); err != nil {
		t.Fatal(err)
	}
	if got := status(address); got != 410 {
		t.Errorf("revoked: %d", got)
	}
	newer := s.list(in.StudyInstanceUID)[0].DownloadURL
	if got := status(newer); got != 200 {
		t.Errorf("made after the revocation: %d", got)
	}
	if err := s.web.current.Load().Links.RevokeAll(); err != nil {
		t.Fatal(err)
	}
	if got := status(newer); got != 404 {
		t.Errorf("all revoked: %d", got)
	}
}

// Links work after a restart, not for another client, nor after the client's secret was changed.
func TestLinksOfClients(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "links.json")
	server := func(secret string) *set {
		links, renewed, err := OpenLinks(path)
		if err != nil || renewed {
			t.Fatal(renewed, err)
		}
		key := hospital
		key.AccessSecret = secret
		w, err := New(Options{Settings: Settings{Links: links, Rule: "md5", Keys: []cloud.Key{key, {AccessKey: "other", AccessSecret: "x"}}, LinkLifetime: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		return w.current.Load()
	}
	a := server("s3cret")
	l := link{kind: kindDICOM, client: a.clients[0].id, made: time.UnixMilli(time.Now().UnixMilli()), id: 7}
	name := strings.TrimPrefix(l.path(a.Links.key(a.clients[0])), linkPath)
	if got, err := parseLink(name, server("s3cret").keyOf); err != nil || got != l {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	if _, err := parseLink(name, server("changed").keyOf); !errors.Is(err, errNoLink) {
		t.Errorf("after a change of the secret: %v", err)
	}
	wrong := l
	wrong.client = a.clients[1].id
	if _, err := parseLink(strings.TrimPrefix(wrong.path(a.Links.key(a.clients[0])), linkPath), a.keyOf); !errors.Is(err, errNoLink) {
		t.Errorf("under another client's name: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, renewed, err := OpenLinks(path); err != nil || !renewed {
		t.Errorf("a damaged file: %v, %v", renewed, err)
	}
}

// spoil changes a byte of an instance on disk, from a place in its file on.
func (s *site) spoil(file []byte, at int) {
	s.t.Helper()
	done := false
	err := filepath.WalkDir(filepath.Join(s.dir, "segments"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || done {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		begin := bytes.Index(data, file)
		if begin < 0 {
			return nil
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte{file[at] ^ 1}, int64(begin+at))
		done = true
		return err
	})
	if err != nil || !done {
		s.t.Fatal(done, err)
	}
}

func TestDamageIsNeverServedAsGood(t *testing.T) {
	for _, row := range []struct {
		name    string
		headers []string
	}{{"whole", nil}, {"range", []string{"Range", "bytes=0-99"}}, {"ranges", []string{"Range", "bytes=0-99,200-300"}}} {
		s := newSite(t, nil)
		_, file, address := s.one(600_000)
		s.spoil(file, len(file)-1000)
		resp, body, err := s.get("GET", address, row.headers...)
		if err == nil && resp.StatusCode < 500 {
			t.Errorf("%s: %v, %d bytes", row.name, resp.Status, len(body))
		}
		if err != nil && len(body) >= len(file) {
			t.Errorf("%s: all bytes came", row.name)
		}
		for known := false; !known; { // once the index has the mark, which nobody waits for
			resp, body, err := s.get("GET", address)
			known = err == nil && resp.StatusCode == http.StatusInternalServerError
			if !known && (err == nil || len(body) >= len(file)) {
				t.Fatalf("%s, again: %v, %d bytes, %v", row.name, resp.Status, len(body), err)
			}
		}
	}
}

func TestArchive(t *testing.T) {
	s := newSite(t, nil)
	study, files := s.study(7, 50_000)
	s.study(1, 999) // of the same study, another instance, replaced below
	_, resp := s.ask(signed(hospital, study))
	address, rest, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	if !ok || !strings.HasPrefix(rest, `; rel="alternate"; type="application/zip"`) {
		t.Fatalf("Link: %s", resp.Header.Get("Link"))
	}
	resp, body, err := s.get("GET", address)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/zip" {
		t.Fatal(resp, err)
	}
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		sop := strings.TrimSuffix(filepath.Base(f.Name), ".dcm")
		if err != nil || f.Method != zip.Store || strings.Contains(f.Name, "..") {
			t.Errorf("%s: %v", f.Name, err)
		}
		if bytes.Equal(data, files[sop]) {
			n++
		}
	}
	if n < 6 || len(z.File) != 7 {
		t.Errorf("%d of %d files are right", n, len(z.File))
	}
	if _, _, err := s.get("HEAD", address); err != nil {
		t.Error(err)
	}
}

func TestDamagedArchiveIsNotComplete(t *testing.T) {
	s := newSite(t, nil)
	study, files := s.study(3, 50_000)
	for _, file := range files {
		s.spoil(file, 40_000)
		break
	}
	_, resp := s.ask(signed(hospital, study))
	address, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
	_, body, err := s.get("GET", address)
	if err == nil {
		t.Error("the answer ended as if it were complete")
	}
	if _, err := zip.NewReader(bytes.NewReader(body), int64(len(body))); err == nil {
		t.Error("the archive has a directory")
	}
}

func TestHostileNames(t *testing.T) {
	for uid, want := range map[dicom.UID]string{"1.2.3": "1.2.3"} {
		if got := fileName(uid); got != want {
			t.Errorf("%s: %s", uid, got)
		}
	}
	for _, uid := range []dicom.UID{"", "..", "../../etc/passwd", "1/2", `1\2`, "1.02", "a\x00b", dicom.UID(strings.Repeat("1", 65))} {
		if got := fileName(uid); len(got) != 32 || strings.Trim(got, "0123456789abcdef") != "" {
			t.Errorf("%q: %s", uid, got)
		}
	}
}

// A client that takes nothing is left after the write timeout.
func TestSlowClient(t *testing.T) {
	s := newSite(t, nil)
	_, _, address := s.one(12_000_000)
	s.change(func(o *Settings) { o.WriteTimeout = 300 * time.Millisecond })
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", strings.TrimPrefix(address, s.http.URL)); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(2 * time.Minute); !strings.Contains(s.log.String(), "outcome=aborted"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("it is still waited for:\n%s", s.log)
		}
	}
}

func FuzzParseLink(f *testing.F) {
	key := []byte("key")
	l := link{kind: kindDICOM, made: time.UnixMilli(1_700_000_000_000), id: 0x1234}
	f.Add(strings.TrimPrefix(l.path(key), linkPath))
	f.Add("AAAA.dcm")
	f.Add(strings.Repeat("_", 47) + ".zip")
	f.Fuzz(func(t *testing.T, name string) {
		got, err := parseLink(name, func(clientID) []byte { return key })
		if err == nil && strings.TrimPrefix(got.path(key), linkPath) != name {
			t.Errorf("%q is taken for %+v", name, got)
		}
	})
}
