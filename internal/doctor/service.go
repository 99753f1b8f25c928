package doctor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
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

// database looks at one that metadata rows are published to.
func (x *examiner) database(ctx context.Context, e *Examined, v gateway.View) {
	source, err := v.Source(x.cfg.DataDir)
	if err != nil {
		e.problem("config", err.Error(), "write the data source name in the form of docs/views.md")
		return
	}
	if source.User == "" { // SQLite, which opening would make
		if _, err := os.Stat(source.Database); err != nil {
			e.add("connect", Note, fmt.Sprintf("%s is not there yet", source.Database), "the gateway makes it when it first runs")
			x.publishing(e, v.Name)
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	db, err := source.Open()
	if err != nil {
		e.problem("connect", err.Error(), "check the path and who may write there")
		return
	}
	defer db.Close()
	begun := x.o.Now()
	if err := db.PingContext(ctx); err != nil {
		e.problem("connect", "cannot be connected to: "+databaseWords(err), databaseAdvice(err))
		return
	}
	e.ok("connect", "%v answers in %s", source, millis(x.o.Now().Sub(begun)))
	x.tables(ctx, e, db, source.User != "")
	x.publishing(e, v.Name)
}

func (x *examiner) tables(ctx context.Context, e *Examined, db *sql.DB, server bool) {
	if server {
		begun := x.o.Now()
		var seconds float64
		// Both servers reckon in seconds since 1970, whatever their time zone.
		query := "SELECT EXTRACT(EPOCH FROM now())"
		if err := db.QueryRowContext(ctx, query).Scan(&seconds); err != nil {
			err = db.QueryRowContext(ctx, "SELECT UNIX_TIMESTAMP(NOW(3))").Scan(&seconds)
			if err != nil {
				e.add("clock", Note, "its clock is not known: "+plainly(err), "")
				seconds = 0
			}
		}
		if seconds > 0 {
			x.skewed(e, time.UnixMilli(int64(seconds*1000)), begun)
		}
	}
	for _, view := range []string{"V_StudyInfo", "V_DocImage"} {
		var n sql.NullInt64
		if err := db.QueryRowContext(ctx, "SELECT max(ChangeSeq) FROM "+view).Scan(&n); err != nil {
			if server && x.status != nil {
				e.problem("tables", fmt.Sprintf("%s cannot be read: %s", view, plainly(err)), "dcmgate views init makes tables, views and accounts")
			} else {
				e.add("tables", Note, view+" is not there yet", "the gateway makes it when it first runs; or dcmgate views init")
			}
			return
		}
		e.ok("tables", "%s has come to change %d", view, n.Int64)
	}
}

// databaseWords are a server's own, without what it repeats of the data source name.
func databaseWords(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return plainly(op)
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 && strings.Contains(text, "failed to connect") {
		text = text[i+2:]
	}
	return text
}

func databaseAdvice(err error) string {
	switch text := strings.ToLower(err.Error()); {
	case strings.Contains(text, "password") || strings.Contains(text, "access denied") || strings.Contains(text, "authentication"):
		return "check account and password of the data source name; dcmgate views init makes the account"
	case strings.Contains(text, "does not exist") || strings.Contains(text, "unknown database"):
		return "create the database first; dcmgate views init makes what belongs into it"
	case strings.Contains(text, "refused"):
		return "check address and port, that the server runs, and that it listens on the network and not on its own machine alone"
	case strings.Contains(text, "no pg_hba.conf entry"):
		return "allow this machine in the server's pg_hba.conf"
	}
	return "see to address, port, server and the network in between"
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
