package web

import (
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
)

func TestRates(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := newRates(Limits{RequestsPerSecond: 100, RequestsPerClient: 10}, func() time.Time { return now })
	gone, cancel := context.WithCancel(t.Context())
	cancel() // whoever would have to wait is refused
	admitted := func(ctx context.Context, name string, n int) (count int) {
		for range n {
			if r.admit(ctx, name) {
				count++
			}
		}
		return count
	}
	if n := admitted(gone, "a", 15); n != 10 {
		t.Errorf("%d requests of one client at once", n)
	}
	if n := admitted(gone, "b", 5); n != 5 {
		t.Errorf("%d of 5 requests of another", n)
	}
	total := 15
	for i := range 100 {
		total += admitted(gone, fmt.Sprint("c", i), 1)
	}
	if total != 100 {
		t.Errorf("%d requests in all at once", total)
	}
	now = now.Add(time.Second)
	if n := admitted(gone, "d", 15); n != 10 {
		t.Errorf("%d requests a second later", n)
	}
	for i := range 3 * maxClients {
		r.of(fmt.Sprint(i))
	}
	if len(r.clients) != maxClients || r.order.Len() != maxClients {
		t.Errorf("%d clients are kept", len(r.clients))
	}
}

func TestTooManyRequests(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Limits.RequestsPerClient = 3 })
	s.setClock(time.Now()) // nothing is ever given back
	study, _ := s.study(1, 2000)
	address := s.list(study)[0].DownloadURL
	for range 3 { // who would have to wait no more than a second is let wait
		s.web.rates.of("127.0.0.1").ReserveN(s.clock(), 3)
	}
	a, resp := s.ask(signed(hospital, study))
	if resp.StatusCode != 429 || a.Code != cloud.CodeFailed || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v %+v", resp.Status, a)
	}
	if resp, _, err := s.get("GET", address); err != nil || resp.StatusCode != 429 {
		t.Errorf("%v, %v", resp, err)
	}
}

// dials opens n connections and tells how many are still open: a request over them is answered.
func dials(t *testing.T, address string, n int) (open []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, err := c.Read(make([]byte, 10)); err == nil {
			open = append(open, c)
		}
	}
	return open
}

func TestConnectionsOfAnAddress(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Limits.ConnectionsPerAddress = 3 })
	address := s.http.Listener.Addr().String()
	open := dials(t, address, 6)
	if len(open) != 3 {
		t.Fatalf("%d connections are open", len(open))
	}
	open[0].Close()
	for limit := time.Now().Add(2 * time.Minute); len(dials(t, address, 1)) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the place of one that was closed is not given to another")
		}
	}
}

func TestConnectionsInAllWait(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Limits.Connections = 2 })
	address := s.http.Listener.Addr().String()
	open := dials(t, address, 2)
	served := make(chan int)
	go func() { served <- len(dials(t, address, 1)) }()
	select {
	case <-served:
		t.Fatal("a third connection was served")
	case <-time.After(50 * time.Millisecond):
	}
	open[0].Close()
	if n := <-served; n != 1 {
		t.Error("the third connection was closed")
	}
}

// Ten thousand requests at once, right and wrong ones: each gets its answer, and nothing else is touched.
func TestTenThousandRequests(t *testing.T) {
	s := newSite(t, nil)
	study, files := s.study(3, 2000)
	images := s.list(study)
	forged := tampered(images[0].DownloadURL, 20)
	if err := s.spool.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := s.spool.Stats()
	wrong := hospital
	wrong.AccessSecret = "guess"
	kinds := []struct {
		address string
		status  int
		in      string // in the body
	}{
		{s.http.URL + cloud.RetrievePath + "?" + signed(hospital, study), 200, `"code":"N0000"`},
		{s.http.URL + cloud.RetrievePath + "?" + signed(wrong, study), 200, `"code":"E0002"`},
		{s.http.URL + cloud.RetrievePath + "?HospitalCode=05871212&StudyInstanceUID=1%27or%271", 200, `"code":"E0001"`},
		{images[0].DownloadURL, 200, string(files[images[0].SOPInstanceUID])},
		{forged, 404, "no such"},
		{s.http.URL + "/Viewer/dicom/..%2f..%2flinks.json", 404, "no such"},
		{s.http.URL + "/no/such/path", 404, "no such"},
		{images[1].DownloadURL, 200, string(files[images[1].SOPInstanceUID])},
	}
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 200, MaxIdleConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	var failed atomic.Int64
	var wait sync.WaitGroup
	for i := range 10_000 {
		wait.Go(func() {
			k := kinds[i%len(kinds)]
			resp, err := client.Get(k.address)
			if err != nil {
				t.Log(err)
				failed.Add(1)
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != k.status || !strings.Contains(string(body), k.in) {
				t.Logf("%s: %v, %d bytes, %v", k.address, resp.Status, len(body), err)
				failed.Add(1)
			}
		})
	}
	wait.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of 10000 requests were not answered as they should be", n)
	}
	if after := s.spool.Stats(); after.Instances != before.Instances || after.Bytes != before.Bytes {
		t.Errorf("the spool changed: %+v, %+v", before, after)
	}
	if lines := strings.Count(s.log.String(), "request refused"); lines > 10 {
		t.Errorf("%d lines about refusals", lines)
	}
}
