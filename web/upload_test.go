package web

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	goimage "image"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/images"
)

func TestUpload(t *testing.T) {
	full := false
	store, err := images.Open(t.Context(), t.TempDir(), images.Options{MaxSize: 1000, Room: func() error {
		if full {
			return images.ErrFull
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	links, _, err := OpenLinks(filepath.Join(t.TempDir(), "links.json"))
	if err != nil {
		t.Fatal(err)
	}
	key := cloud.Key{AccessKey: "scope", AccessSecret: "s"}
	signer, err := cloud.NewSigner(cloud.RuleMD5, key)
	if err != nil {
		t.Fatal(err)
	}
	limits := Limits{RequestsPerSecond: 1000, RequestsPerClient: 1000}
	w, err := New(Options{Settings: Settings{Links: links, Rule: cloud.RuleMD5, Keys: []cloud.Key{key}, LinkLifetime: time.Hour, Images: store, Uploads: true, WriteTimeout: time.Minute, Limits: limits}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.Handler())
	defer server.Close()

	var picture bytes.Buffer
	if err := png.Encode(&picture, goimage.NewGray(goimage.Rect(0, 0, 30, 20))); err != nil {
		t.Fatal(err)
	}
	body := picture.String()
	noise := goimage.NewGray(goimage.Rect(0, 0, 400, 400))
	for i := range noise.Pix {
		noise.Pix[i] = byte(i * i >> 7)
	}
	var large bytes.Buffer
	if err := png.Encode(&large, noise); err != nil {
		t.Fatal(err)
	}
	// post sends a body with a request that is changed before or, by after, once it is signed.
	post := func(body string, before, after func(url.Values)) (*http.Response, string) {
		t.Helper()
		q := url.Values{"AccessionNumber": {"A1"}, "StudyInstanceUID": {"1.2.3"}, "PatID": {"王1"},
			"sha256": {fmt.Sprintf("%x", sha256.Sum256([]byte(body)))}, "timeStamp": {fmt.Sprint(time.Now().Unix())}}
		if before != nil {
			before(q)
		}
		var parameters []cloud.Parameter
		for name := range q {
			parameters = append(parameters, cloud.Parameter{Name: name, Value: q.Get(name)})
		}
		q.Set("Signature", signer.Sign(parameters))
		if after != nil {
			after(q)
		}
		answer, err := http.Post(server.URL+ImagePath+"?"+q.Encode(), "application/octet-stream", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		return answer, string(text)
	}
	set := func(name, value string) func(url.Values) {
		return func(q url.Values) { q.Set(name, value) }
	}
	for _, c := range []struct {
		name          string
		body          string
		before, after func(url.Values)
		status        int
		says          string
	}{
		{"junk", "no image", nil, nil, http.StatusUnprocessableEntity, "E0001"},
		{"cut", body[:len(body)-5], nil, nil, http.StatusUnprocessableEntity, "E0001"},
		{"too large", large.String(), nil, nil, http.StatusRequestEntityTooLarge, "too large"},
		{"another file", body, set("sha256", strings.Repeat("ab", 32)), nil, http.StatusUnprocessableEntity, "another SHA-256"},
		{"no digest", body, func(q url.Values) { q.Del("sha256") }, nil, http.StatusBadRequest, "sha256"},
		{"no patient", body, func(q url.Values) { q.Del("PatID") }, nil, http.StatusUnprocessableEntity, "PatID"},
		{"no study", body, set("StudyInstanceUID", "../x"), nil, http.StatusUnprocessableEntity, "StudyInstanceUID"},
		{"changed on the way", body, nil, set("PatID", "P2"), http.StatusForbidden, "E0002"},
		{"no signature", body, nil, func(q url.Values) { q.Del("Signature") }, http.StatusForbidden, "E0002"},
		{"no time", body, func(q url.Values) { q.Del("timeStamp") }, nil, http.StatusForbidden, "timeStamp"},
		{"repeated later", body, set("timeStamp", fmt.Sprint(time.Now().Add(-time.Hour).Unix())), nil, http.StatusForbidden, "timeStamp"},
		{"twice", body, nil, func(q url.Values) { q.Add("PatID", "x") }, http.StatusBadRequest, "twice"},
	} {
		if answer, text := post(c.body, c.before, c.after); answer.StatusCode != c.status || !strings.Contains(text, c.says) || strings.Contains(text, "N0000") {
			t.Errorf("%s: %s %q, want %d and %q", c.name, answer.Status, text, c.status, c.says)
		}
	}
	if store.LastSequence() != 0 {
		t.Fatal("something was stored")
	}
	full = true
	if answer, _ := post(body, nil, nil); answer.StatusCode != http.StatusInsufficientStorage || answer.Header.Get("Retry-After") == "" {
		t.Errorf("without room %s", answer.Status)
	}
	full = false
	answer, text := post(body, nil, nil)
	if answer.StatusCode != http.StatusCreated || !strings.Contains(text, `"code":"N0000"`) {
		t.Fatalf("%s %q", answer.Status, text)
	}
	at := answer.Header.Get("Location")
	if again, _ := post(body, nil, nil); again.StatusCode != http.StatusOK || again.Header.Get("Location") != at || store.LastSequence() != 1 {
		t.Errorf("again %s at %s, %d changes", again.Status, again.Header.Get("Location"), store.LastSequence())
	}
	fetched, err := http.Get(server.URL + at)
	if err != nil {
		t.Fatal(err)
	}
	defer fetched.Body.Close()
	if got, err := io.ReadAll(fetched.Body); err != nil || string(got) != body || fetched.Header.Get("Content-Type") != "image/png" {
		t.Errorf("fetched %d bytes of %s, %v", len(got), fetched.Header.Get("Content-Type"), err)
	}
}

// Without signatures, or unless it is asked for, nobody can add anything.
func TestNoUpload(t *testing.T) {
	for _, o := range []Settings{{Rule: cloud.RuleNone, Uploads: true}, {Rule: cloud.RuleMD5, Keys: []cloud.Key{{AccessKey: "k", AccessSecret: "s"}}}} {
		o.Images, o.Limits = (*images.Store)(nil), Limits{RequestsPerSecond: 1000, RequestsPerClient: 1000}
		w, err := New(Options{Settings: o})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRecorder()
		w.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodPost, ImagePath, nil))
		if r.Code != http.StatusNotFound && r.Code != http.StatusMethodNotAllowed {
			t.Errorf("%+v: %d", o.Rule, r.Code)
		}
	}
}
