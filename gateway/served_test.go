package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	goimage "image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/images"
	"dcmgate/internal/synth"
)

// client203 asks a gateway by interface 203.
type client203 struct {
	key      cloud.Key
	hospital string
}

var askingClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

var knownClient = client203{cloud.Key{AccessKey: "k", AccessSecret: "s"}, "05871212"}

// ask asks for a study.
func (c client203) ask(t *testing.T, g *configured, study dicom.UID) (a cloud.Answer, err error) {
	t.Helper()
	signer, err := cloud.NewSigner(cloud.RuleMD5, c.key)
	if err != nil {
		t.Fatal(err)
	}
	q := []cloud.Parameter{{Name: "HospitalCode", Value: c.hospital}, {Name: "StudyInstanceUID", Value: string(study)}}
	resp, err := askingClient.Get(fmt.Sprintf("http://%s%s?HospitalCode=%s&StudyInstanceUID=%s&Signature=%s", g.Listeners().Public, cloud.RetrievePath, c.hospital, study, signer.Sign(q)))
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	return a, json.NewDecoder(resp.Body).Decode(&a)
}

// What a change of each key does to a gateway that runs, which begins with nothing served.
func TestServingFollowsTheConfiguration(t *testing.T) {
	const (
		known  = "{access_key: k, access_secret: s}"
		in     = "institution: {platform_code: '05871212', name: 内江}\n"
		public = "public: {listen: 127.0.0.1:0}\n"
	)
	g := runFile(t, "")
	sendImages(t, g.Listeners().DICOM, 0, 3)
	other := client203{cloud.Key{AccessKey: "o", AccessSecret: "s"}, "05871212"}
	for _, step := range []struct {
		config  string
		by      client203
		code    cloud.Code // "": nobody listens
		name    string     // of the institution
		address string     // begins so; "": that of the listener
		changed []string
	}{
		{in + public, knownClient, "", "", "", []string{"institution.name", "institution.platform_code", "public.listen"}},
		{in + public + "retrieve: {clients: [" + known + "]}\n", knownClient, "N0000", "内江", "", []string{"retrieve.clients[k] added"}},
		{in + public + "retrieve: {clients: [" + known + "]}\n", other, "E0002", "", "", []string{}},
		{in + public + "retrieve: {clients: [" + known + ", {access_key: o, access_secret: s}]}\n", other, "N0000", "内江", "", []string{"retrieve.clients[o] added"}},
		{in + public + "retrieve: {clients: [{access_key: o, access_secret: s}]}\n", knownClient, "E0002", "", "", []string{"retrieve.clients[k] removed"}},
		{in + public + "retrieve: {clients: [{access_key: o, access_secret: another}]}\n", other, "E0002", "", "", []string{"retrieve.clients[o].access_secret"}},
		{in + public + "retrieve: {clients: [" + known + "], timestamp_needed: true}\n", knownClient, "E0002", "", "",
			[]string{"retrieve.timestamp_needed", "retrieve.clients[o] removed", "retrieve.clients[k] added"}},
		{in + public + "retrieve: {signature: none}\n", other, "N0000", "内江", "", []string{"retrieve.signature", "retrieve.timestamp_needed", "retrieve.clients[k] removed"}},
		{in + "public: {listen: 127.0.0.1:0, url: 'https://h.example'}\nretrieve: {clients: [" + known + "]}\n", knownClient, "N0000", "内江", "https://h.example/",
			[]string{"public.url", "retrieve.signature", "retrieve.clients[k] added"}},
		{"institution: {platform_code: '1', name: 市医院}\n" + public + "retrieve: {clients: [" + known + "]}\n", knownClient, "E0001", "", "",
			[]string{"institution.name", "institution.platform_code", "public.url"}},
		{"institution: {platform_code: '05871212', name: 市医院}\n" + public + "retrieve: {clients: [" + known + "]}\n", knownClient, "N0000", "市医院", "", []string{"institution.platform_code"}},
		{in + "rows: {campuses: [{ae_titles: [CT1], name: 东院}]}\n" + public + "retrieve: {clients: [" + known + "]}\n", knownClient, "N0000", "东院", "",
			[]string{"institution.name", "rows.campuses[#0] added"}},
		{in + "public: {listen: off}\nretrieve: {clients: [" + known + "]}\n", knownClient, "", "", "", []string{"public.listen", "rows.campuses[#0] removed"}},
		{in + public + "retrieve: {clients: [" + known + "]}\n", knownClient, "N0000", "内江", "", []string{"public.listen"}},
		{in + public, knownClient, "", "", "", []string{"retrieve.clients[k] removed"}},
		{in + public + "retrieve: {clients: [" + known + "]}\n", knownClient, "N0000", "内江", "", []string{"retrieve.clients[k] added"}},
	} {
		done := g.take(t, step.config)
		if !slices.Equal(done.Changed, step.changed) || len(done.NeedsRestart) > 0 {
			t.Errorf("%s: changed %q, want %q; restart %q", step.config, done.Changed, step.changed, done.NeedsRestart)
		}
		if step.code == "" {
			if l := g.Listeners().Public; l != "" {
				t.Errorf("%s: listens on %s", step.config, l)
			}
			continue
		}
		a, err := step.by.ask(t, g, "1.2.3.4")
		if err != nil || a.Code != step.code {
			t.Errorf("%s: %+v, %v", step.config, a, err)
			continue
		}
		if a.Code != cloud.CodeOK {
			continue
		}
		if step.address == "" {
			step.address = "http://" + g.Listeners().Public + "/"
		}
		if len(a.Result) != 3 || a.Result[0].HospitalName != step.name || !strings.HasPrefix(a.Result[0].DownloadURL, step.address) {
			t.Errorf("%s: %+v", step.config, a.Result)
		}
	}
}

// upload sends an image as the client k; the status.
func upload(t *testing.T, g *configured, data []byte) int {
	t.Helper()
	signer, err := cloud.NewSigner(cloud.RuleMD5, knownClient.key)
	if err != nil {
		t.Fatal(err)
	}
	parameters := []cloud.Parameter{{Name: "AccessionNumber", Value: "A1"}, {Name: "PatID", Value: "P1"}, {Name: "StudyInstanceUID", Value: "1.2.3"},
		{Name: "sha256", Value: fmt.Sprintf("%x", sha256.Sum256(data))}, {Name: "timeStamp", Value: fmt.Sprint(time.Now().Unix())}}
	q := url.Values{"Signature": {signer.Sign(parameters)}}
	for _, p := range parameters {
		q.Set(p.Name, p.Value)
	}
	resp, err := http.Post("http://"+g.Listeners().Public+"/i/?"+q.Encode(), "image/png", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Images that are not DICOM are kept, bounded, named by another address, taken in, and no longer, as the configuration says.
func TestImagesFollowTheConfiguration(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, goimage.NewGray(goimage.Rect(0, 0, 300, 200))); err != nil {
		t.Fatal(err)
	}
	const served = "public: {listen: 127.0.0.1:0}\n" + publicClients
	g := runFile(t, served)
	operator := g.operations(g.parts())
	id := images.Identifiers{AccessionNumber: "A2", StudyInstanceUID: "1.2.3", PatID: "P"}
	for _, step := range []struct {
		images   string
		uploaded int
		added    error
	}{
		{"", 404, errNoImages},
		{"images: {address: 'http://h'}\n", 404, nil},
		{"images: {address: 'http://h', upload: true, max_size: 1KiB}\n", 201, nil},
		{"images: {address: 'http://other', upload: true}\n", 200, nil},
		{"", 404, errNoImages},
		{"images: {address: 'http://h', upload: true}\n", 200, nil},
	} {
		g.take(t, served+step.images)
		if got := upload(t, g, b.Bytes()); got != step.uploaded {
			t.Errorf("%s: an upload: %d", step.images, got)
		}
		if _, err := operator.AddImage(t.Context(), id, bytes.NewReader(b.Bytes())); !errors.Is(err, step.added) {
			t.Errorf("%s: a command: %v", step.images, err)
		}
	}
	noise := goimage.NewGray(goimage.Rect(0, 0, 100, 100))
	for i := range noise.Pix {
		noise.Pix[i] = byte(i * i >> 7)
	}
	b.Reset()
	if err := png.Encode(&b, noise); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		most string
		want int
	}{{"1KiB", 413}, {"1MiB", 201}} {
		g.take(t, served+"images: {address: 'http://h', upload: true, max_size: "+row.most+"}\n")
		if got := upload(t, g, b.Bytes()); got != row.want {
			t.Errorf("%d bytes where %s are taken: %d", b.Len(), row.most, got)
		}
	}
}

// What is not here is asked for from whoever the configuration names, as soon as it does.
func TestFetchingFollowsTheConfiguration(t *testing.T) {
	o := synth.NewTemplate(50_000, 1).Object(1, 1, 1)
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/image":
			_, _ = w.Write(o.Part10())
		case r.Header.Get("accessKey") != "right":
			_ = json.NewEncoder(w).Encode(cloud.Refusal(cloud.CodeBadSignature, ""))
		default:
			_ = json.NewEncoder(w).Encode(cloud.Answer{Code: cloud.CodeOK, Result: []cloud.Image{{SOPInstanceUID: o.SOPInstanceUID, DownloadURL: "/image"}}})
		}
	}))
	defer platform.Close()
	const served = "public: {listen: 127.0.0.1:0}\ninstitution: {platform_code: '05871212'}\n"
	with := func(key string) string {
		return served + fmt.Sprintf("retrieve: {clients: [{access_key: k, access_secret: s}], cloud: {url: %q, access_key: %s, access_secret: s, attempts: 1}}\n", platform.URL, key)
	}
	g := runFile(t, served+"retrieve: {clients: [{access_key: k, access_secret: s}]}\n")
	study := dicom.UID(o.StudyInstanceUID)
	expect := func(what string, code cloud.Code, n int) {
		t.Helper()
		if a, err := knownClient.ask(t, g, study); err != nil || a.Code != code || len(a.Result) != n {
			t.Errorf("%s: %+v, %v", what, a, err)
		}
	}
	operator := g.operations(g.parts())
	expect("nobody to ask", cloud.CodeOK, 0)
	if _, err := operator.Restore(t.Context(), RestoreRequest{Study: study}, nil); !errors.Is(err, errNoSource) {
		t.Errorf("nobody to restore from: %v", err)
	}
	g.take(t, with("wrong"))
	expect("by a wrong key", cloud.CodeFailed, 0)
	g.take(t, with("right"))
	expect("by the right key", cloud.CodeOK, 1)
	if r, err := operator.Restore(t.Context(), RestoreRequest{Study: study}, nil); err != nil || r.Present != 1 {
		t.Errorf("restore: %+v, %v", r, err)
	}
	g.take(t, served)
	if _, err := operator.Restore(t.Context(), RestoreRequest{Study: study, From: FromCloud}, nil); !errors.Is(err, errNoSource) && !errors.Is(err, errNoCloud) {
		t.Errorf("no cloud any more: %v", err)
	}
}

// A hundred requests at a time are answered while the gateway takes one configuration after another.
func TestReloadsUnderRequests(t *testing.T) {
	const reloads = 12
	config := func(i int) string {
		return fmt.Sprintf("public: {listen: 127.0.0.1:0, url: 'http://h%d', connections: %d, requests_per_second: %d, requests_per_client: %[3]d}\n"+
			"institution: {platform_code: '05871212', name: N%[1]d}\nretrieve: {link_lifetime: %[4]dh, clients: [{access_key: k, access_secret: s}, {access_key: o%[1]d, access_secret: s}]}\n"+
			"%[5]s", i, 200+i, 100_000+i, 1+i%9, []string{"", "images: {address: 'http://h'}\n"}[i%2])
	}
	g := runFile(t, config(0))
	sendImages(t, g.Listeners().DICOM, 0, 3)
	var over atomic.Bool
	var asking sync.WaitGroup
	stop := func() { over.Store(true); asking.Wait() }
	defer stop()
	for range 100 {
		asking.Go(func() {
			for !over.Load() {
				if a, err := knownClient.ask(t, g, "1.2.3.4"); err != nil || a.Code != cloud.CodeOK || len(a.Result) != 3 {
					t.Errorf("%+v, %v", a, err)
					return
				}
			}
		})
	}
	for i := 1; i <= reloads; i++ {
		g.take(t, config(i))
	}
	stop()
	if a, err := knownClient.ask(t, g, "1.2.3.4"); err != nil || a.Result[0].HospitalName != fmt.Sprint("N", reloads) {
		t.Errorf("%+v, %v", a, err)
	}
}

// A mistake anywhere leaves everything as it is: who is served, where, and what of.
func TestServingIsChangedWholeOrNotAtAll(t *testing.T) {
	const before = "public: {listen: 127.0.0.1:0}\n" + publicClients
	g := runFile(t, before)
	sendImages(t, g.Listeners().DICOM, 0, 3)
	address := g.Listeners().Public
	a, err := knownClient.ask(t, g, "1.2.3.4")
	if err != nil {
		t.Fatal(err)
	}
	other := strings.ReplaceAll(publicClients, "access_key: k", "access_key: o")
	for _, wrong := range []string{
		"drop: [{name: d, folder: /proc/self/nowhere/d}]\n",
		"views: [{name: v, dsn: 'file:/nonexistent'}]\n",
		"rows: {fill: [{column: HospName, lookup: /nonexistent}]}\n",
		"dicom: {listen: '192.0.2.1:104', accept: any}\n", // no interface has it
	} {
		g.write(t, "public: {listen: 127.0.0.1:0, url: 'http://h'}\nimages: {address: 'http://h'}\n"+other+wrong)
		if _, err := g.Reload("test"); err == nil {
			t.Fatalf("%s: taken", wrong)
		}
		again, err := knownClient.ask(t, g, "1.2.3.4")
		if err != nil || again.Code != cloud.CodeOK || !strings.HasPrefix(again.Result[0].DownloadURL, "http://"+address) || g.Listeners().Public != address {
			t.Errorf("%s: %+v, %v", wrong, again, err)
		}
		download(t, http.DefaultClient, a)
	}
}
