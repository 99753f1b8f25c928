package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/gateway"
)

// maxSkew is how far another machine's clock may be off before that is said.
const maxSkew = 30 * time.Second

// skewed says how far a clock that showed there at a moment between begun and now is off.
func (x *examiner) skewed(e *Examined, there, begun time.Time) {
	now := x.o.Now()
	early, late := begun.Sub(there), there.Sub(now)
	switch off := max(early, late); {
	case off <= maxSkew:
		e.ok("clock", "its clock agrees with this one")
	case off == early:
		e.add("clock", Warning, fmt.Sprintf("its clock is %v behind this one", off.Round(time.Second)), "have both machines follow a time server")
	default:
		e.add("clock", Warning, fmt.Sprintf("its clock is %v ahead of this one", off.Round(time.Second)), "have both machines follow a time server")
	}
}

// publishing says how the gateway that runs gets on with it.
func (x *examiner) publishing(e *Examined, name string) {
	if x.status == nil {
		return
	}
	for _, v := range x.status.Views {
		if v.Name != name {
			continue
		}
		if v.Error != "" {
			e.problem("publishing", "the gateway cannot publish: "+v.Error, "it tries again by itself; what was received meanwhile follows")
		} else {
			e.ok("publishing", "the gateway publishes")
		}
	}
}

// unlikely is a study that nobody has; it is asked for to see whether requests are accepted.
const unlikely dicom.UID = "2.25.1"

// cloud looks at the platform that studies are fetched from.
func (x *examiner) cloud(ctx context.Context, e *Examined, c gateway.Cloud) {
	client, err := c.Client()
	if err != nil {
		e.problem("config", err.Error(), "mend the files that retrieve.cloud names")
		return
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		e.problem("config", "retrieve.cloud.url is no URL", "write https://HOST")
		return
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if !x.connected(ctx, e, address) {
		return
	}
	if u.Scheme == "https" {
		config, err := gateway.ClientTLS{Enabled: true, CA: c.CA}.Load(address)
		if err != nil {
			e.problem("config", err.Error(), "mend the file, or have retrieve.cloud.ca name another one")
			return
		}
		if sound, _ := x.secured(ctx, e, address, config); !sound {
			return
		}
		config.ServerName = u.Hostname()
		x.webClock(ctx, e, c.URL, &http.Transport{TLSClientConfig: config})
	} else {
		x.webClock(ctx, e, c.URL, &http.Transport{})
	}
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	_, err = client.Images(ctx, unlikely)
	refused, ok := errors.AsType[*cloud.RefusedError](err)
	switch {
	case err == nil || ok && !refused.Code.BadSignature() && refused.Code != cloud.CodeBadParameters:
		e.ok("request", "accepts a request of interface 203")
	case ok:
		e.problem("request", "it does not accept a request of interface 203: "+refused.Error(), "compare signature, access_key, access_secret and hospital_code with what the platform has handed out; with timestamp: true, the clocks, too")
	default:
		e.problem("request", "a request of interface 203 failed: "+plainly(err), "ask the platform for the path and the address of its interface 203")
	}
}

// webClock compares clocks by the header Date.
func (x *examiner) webClock(ctx context.Context, e *Examined, address string, transport *http.Transport) {
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	defer transport.CloseIdleConnections()
	rq, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return // the request that follows says so
	}
	begun := x.o.Now()
	answer, err := transport.RoundTrip(rq)
	if err != nil {
		return // likewise
	}
	answer.Body.Close()
	if there, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		x.skewed(e, there, begun.Add(-time.Second)) // the header has whole seconds
	}
}
