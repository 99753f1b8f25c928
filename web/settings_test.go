package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/spool"
)

// settings are those in force, to be changed.
func (s *site) settings() Settings { return s.web.current.Load().Settings }

// change puts other settings into force.
func (s *site) change(how func(*Settings)) {
	s.t.Helper()
	o := s.settings()
	how(&o)
	apply, err := s.web.Change(o)
	if err != nil {
		s.t.Fatal(err)
	}
	apply()
}

// asked tells the code of 203 that a client gets for a study, and the images.
func (s *site) asked(key cloud.Key, study dicom.UID, more ...string) (cloud.Code, []cloud.Image) {
	s.t.Helper()
	a, _ := s.ask(signed(key, study, more...))
	return a.Code, a.Result
}

func (s *site) status(address string) int {
	s.t.Helper()
	resp, _, err := s.get("GET", address)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode
}

// What a change of each setting does, seen by a client and by the address that it was given before.
func TestChangedSettings(t *testing.T) {
	other := cloud.Key{AccessKey: "other", AccessSecret: "hers"}
	renewed := cloud.Key{AccessKey: hospital.AccessKey, AccessSecret: "renewed"}
	old := fmt.Sprint(time.Now().Add(-20 * time.Minute).Unix())
	for _, row := range []struct {
		name   string
		change func(*Settings)
		key    cloud.Key
		more   []string // parameters
		before cloud.Code
		after  cloud.Code
		link   int // status of the address of before
	}{
		{"a client is added", func(o *Settings) { o.Keys = append(o.Keys, other) }, other, nil, "E0002", "N0000", 200},
		{"others stay", func(o *Settings) { o.Keys = []cloud.Key{other, hospital} }, hospital, nil, "N0000", "N0000", 200},
		{"it is taken away", func(o *Settings) { o.Keys = []cloud.Key{other} }, hospital, nil, "N0000", "E0002", 404},
		{"its secret is another", func(o *Settings) { o.Keys = []cloud.Key{renewed} }, hospital, nil, "N0000", "E0002", 404},
		{"by the other secret", func(o *Settings) { o.Keys = []cloud.Key{renewed} }, renewed, nil, "E0002", "N0000", 404},
		{"anybody may ask", func(o *Settings) { o.Rule = cloud.RuleNone }, other, nil, "E0002", "N0000", 404},
		{"the institution has another code", func(o *Settings) { o.HospitalCodes = []string{"1"} }, hospital, nil, "N0000", "E0001", 200},
		{"a time is needed", func(o *Settings) { o.TimeStampNeeded = true }, hospital, nil, "N0000", "E0002", 200},
		{"older requests are taken", func(o *Settings) { o.ReplayWindow = time.Hour }, hospital, []string{"timeStamp", old}, "E0002", "N0000", 200},
		{"addresses work for less long", func(o *Settings) { o.LinkLifetime = 0 }, hospital, nil, "N0000", "N0000", 410},
		{"nobody at all", func(o *Settings) { *o = Settings{Limits: o.Limits, WriteTimeout: o.WriteTimeout} }, hospital, nil, "N0000", "E0002", 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, nil)
			in, _, address := s.one(2000)
			if code, _ := s.asked(row.key, in.StudyInstanceUID, row.more...); code != row.before {
				t.Errorf("before: %s", code)
			}
			s.change(row.change)
			if code, _ := s.asked(row.key, in.StudyInstanceUID, row.more...); code != row.after {
				t.Errorf("after: %s", code)
			}
			s.setClock(time.Now().Add(time.Second))
			if got := s.status(address); got != row.link {
				t.Errorf("the address of before: %d", got)
			}
		})
	}
}

func TestChangedAnswers(t *testing.T) {
	s := newSite(t, nil)
	in, _, _ := s.one(2000)
	study := in.StudyInstanceUID
	s.change(func(o *Settings) { o.BaseURL = "https://images.example.org" })
	if u := s.list(study)[0].DownloadURL; !strings.HasPrefix(u, "https://images.example.org/") {
		t.Errorf("address %s", u)
	}
	s.change(func(o *Settings) { o.Describe = func(*spool.Instance) (string, string) { return "市医院", "DX" } })
	if i := s.list(study)[0]; i.HospitalName != "市医院" || i.Modality != "DX" {
		t.Errorf("%+v", i)
	}
	row := s.http.URL + s.settings().Links.RowPath("cloud", &in)
	for i, want := range []int{404, 200, 404} { // rows with links for a while
		s.change(func(o *Settings) { o.Views = [][]string{nil, {"cloud"}, nil}[i] })
		if got := s.status(row); got != want {
			t.Errorf("change %d: an address in a row: %d", i, got)
		}
	}
	s.change(func(o *Settings) {
		o.FetchWait = time.Minute
		o.Fetch = func(context.Context, dicom.UID) (bool, error) { return true, fmt.Errorf("fetched") }
	})
	if a, _ := s.ask(signed(hospital, "1.2.3")); a.Code != cloud.CodeFailed || !strings.Contains(a.Message, "fetched") {
		t.Errorf("%+v", a)
	}
}

// What cannot be taken changes nothing.
func TestChangeThatFails(t *testing.T) {
	s := newSite(t, nil)
	in, _, address := s.one(2000)
	before := s.web.current.Load()
	for name, keys := range map[string][]cloud.Key{"the same twice": {hospital, hospital}, "an IV too short": {hospital, {AccessKey: "b", AccessSecret: "s"}}} {
		o := s.settings()
		o.Keys, o.HospitalCodes = keys, []string{"1"}
		if name != "the same twice" {
			o.Rule = cloud.RuleAES
		}
		if _, err := s.web.Change(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if code, _ := s.asked(hospital, in.StudyInstanceUID); s.web.current.Load() != before || code != cloud.CodeOK || s.status(address) != 200 {
		t.Errorf("changed: %s", code)
	}
}

// Clients keep what they have used of their rates; a rate that changes does so for them, too.
func TestChangedRates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := newRates(Limits{RequestsPerSecond: 100, RequestsPerClient: 10}, func() time.Time { return now })
	left := func(client string, want float64, all float64) {
		t.Helper()
		if c, total := r.of(client).TokensAt(now), r.total.TokensAt(now); c != want || total != all {
			t.Errorf("%s may ask for %v more, all for %v; want %v and %v", client, c, total, want, all)
		}
	}
	for range 10 {
		if !r.admit(t.Context(), "a") {
			t.Error("refused")
		}
	}
	left("a", 0, 90)
	r.set(Limits{RequestsPerSecond: 100, RequestsPerClient: 10})
	left("a", 0, 90)
	r.set(Limits{RequestsPerSecond: 500, RequestsPerClient: 30})
	left("a", 0, 90)
	left("b", 30, 90)
	now = now.Add(time.Second)
	left("a", 30, 500)
	r.set(Limits{RequestsPerSecond: 20, RequestsPerClient: 5})
	left("a", 5, 20)
}

// Who waits for a place gets one as soon as there may be more; fewer send nobody away, also on another listener.
func TestChangedConnections(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Limits.Connections = 2 })
	address := s.http.Listener.Addr().String()
	open := dials(t, address, 2)
	served := make(chan []net.Conn)
	go func() { served <- dials(t, address, 1) }()
	s.change(func(o *Settings) { o.Limits.Connections = 3 })
	open = append(open, <-served...)
	s.change(func(o *Settings) { o.Limits.Connections = 1 })
	for i, c := range open {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, err := c.Read(make([]byte, 10)); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	another := s.web.Limit(l)
	accepted := make(chan error)
	go func() {
		_, err := another.Accept()
		accepted <- err
	}()
	if _, err := net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-accepted:
		t.Fatalf("a connection more: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.change(func(o *Settings) { o.Limits.Connections, o.Limits.ConnectionsPerAddress = 9, 4 })
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if n := len(dials(t, address, 1)); n != 0 {
		t.Error("a fifth connection of an address, on two listeners, is open")
	}
	closed := make(chan struct{})
	s.change(func(o *Settings) { o.Limits.Connections = 1 })
	go func() {
		defer close(closed)
		_, _ = another.Accept()
	}()
	another.Close()
	<-closed
}

// A hundred clients ask and download while the settings change: each is answered by those of before or after, and to the end.
func TestRequestsWhileSettingsChange(t *testing.T) {
	s := newSite(t, nil)
	in, file, _ := s.one(100_000)
	keys := make([]cloud.Key, 100)
	for i := range keys {
		keys[i] = cloud.Key{AccessKey: fmt.Sprint("k", i), AccessSecret: "s"}
	}
	keep := append([]cloud.Key{hospital}, keys[:50]...) // the others come and go
	s.change(func(o *Settings) { o.Keys = keep })
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	get := func(address string) (int, []byte, error) {
		resp, err := client.Get(address)
		if err != nil {
			return 0, nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, body, err
	}
	var over atomic.Bool
	var asking sync.WaitGroup
	stop := func() { over.Store(true); asking.Wait() }
	defer stop()
	for i, key := range keys {
		asking.Go(func() {
			for !over.Load() {
				status, body, err := get(s.http.URL + cloud.RetrievePath + "?" + signed(key, in.StudyInstanceUID))
				begin := bytes.Index(body, []byte("http://"))
				refused := bytes.Contains(body, []byte(`"E0002"`)) && i >= 50
				if err != nil || status != 200 || begin < 0 && !refused {
					t.Errorf("client %d: %d, %v, %.100s", i, status, err, body)
					return
				}
				if refused {
					continue
				}
				address, _, _ := strings.Cut(string(body[begin:]), `"`)
				status, body, err = get(address)
				if whole := status == 200 && bytes.Equal(body, file); err != nil || !whole && (status != 404 || i < 50) {
					t.Errorf("client %d: download: %d, %d bytes, %v", i, status, len(body), err)
					return
				}
			}
		})
	}
	for i := range 60 {
		s.change(func(o *Settings) {
			o.Keys = keep
			if i%2 == 0 {
				o.Keys = append(keep[:51:51], keys[50:]...)
			}
			o.Limits.RequestsPerClient, o.Limits.Connections = 100_000+i, 200+i
			o.WriteTimeout = time.Duration(10+i%2) * time.Second
		})
		time.Sleep(time.Millisecond)
	}
}
