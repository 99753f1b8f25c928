package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"dcmgate/dicom"
	"dcmgate/images"
	"dcmgate/spool"
)

// Operator is what a person may ask of a spool. It is implemented over the
// control socket of a running gateway and over a spool opened directly.
type Operator interface {
	Status(ctx context.Context) (Status, error)
	// Jobs lists a page of jobs from an opaque cursor ("" to begin) on.
	Jobs(ctx context.Context, f JobFilter, cursor string, limit int) (JobPage, error)
	// Retry makes the selected jobs pending, ready at once; without a state in
	// the filter, the parked and refused ones. Versions of which a destination has
	// a later one are left alone unless the filter says otherwise.
	Retry(ctx context.Context, f JobFilter, reason string) (Changed, error)
	// Drop gives the selected pending, parked and refused jobs up, and the waiting
	// for commitment if that is the state selected.
	Drop(ctx context.Context, f JobFilter, reason string) (Changed, error)
	// Verify reads every stored instance back. progress may be nil.
	Verify(ctx context.Context, progress func(done, total int64)) (VerifyReport, error)
	// RebuildViews publishes the metadata rows of everything stored to a database
	// again. progress may be nil.
	RebuildViews(ctx context.Context, name string, progress func(studies int64)) error
	// Restore fetches a study from upstreams or the cloud. progress may be nil.
	Restore(ctx context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error)
	// RevokeLinks ends the addresses of interface 203 that were given out for a
	// study, or all if it is empty.
	RevokeLinks(ctx context.Context, study dicom.UID) error
	// Reload has the running gateway take its configuration again.
	Reload(ctx context.Context) (Reloaded, error)
	ImageOperator
}

// IsRunning reports whether a gateway is running on a data directory.
func IsRunning(ctx context.Context, dataDir string) bool {
	conn, err := dialControl(ctx, dataDir)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Connect returns the operator of the gateway that is running on the data
// directory of cfg or, if none is, of its spool, which then is locked until
// close is called.
func Connect(ctx context.Context, cfg Config) (op Operator, close func() error, err error) {
	op, close, err = ConnectRunning(ctx, cfg)
	if isNotRunning(err) {
		return openOffline(cfg)
	}
	return op, close, err
}

// ConnectRunning returns the operator of the gateway that is running on the data
// directory of cfg, and fails if none is or this user may not ask it.
func ConnectRunning(ctx context.Context, cfg Config) (op Operator, close func() error, err error) {
	conn, err := dialControl(ctx, cfg.DataDir)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the running gateway: %w", err)
	}
	conn.Close()
	c := newClient(cfg.DataDir)
	return c, c.close, nil
}

// isNotRunning tells whether connecting to the control socket failed because
// there is no gateway.
func isNotRunning(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func openOffline(cfg Config) (Operator, func() error, error) {
	// Opening would make an empty spool where there is none.
	if _, err := os.Stat(cfg.DataDir); err != nil {
		return nil, nil, fmt.Errorf("no gateway is running, and there is no data directory: %w; name the one to use with --config or --data-dir", err)
	}
	evicted := newEvictions()
	options := spoolOptions(cfg, nil, nil)
	options.Evicted = evicted.tell
	s, err := spool.Open(cfg.DataDir, options)
	if err != nil {
		return nil, nil, fmt.Errorf("no gateway answers at %s, and its spool cannot be opened: %w", cfg.DataDir, err)
	}
	kept := newKeptImages(cfg.DataDir, s, nil, nil)
	closeAll := func() error {
		evicted.use(nil) // or the spool would wait for it
		return errors.Join(kept.close(), s.Close())
	}
	trail := cfg
	trail.Audit.Syslog.Address = "" // the gateway sends it, once it runs
	a, err := openAudit(&settings{Config: trail}, nil, nil)
	if err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	evicted.use(a)
	store, err := kept.of(&cfg.Images)
	if err != nil {
		a.close()
		return nil, nil, errors.Join(err, closeAll())
	}
	o := &operations{
		images: func() (*images.Store, error) { return kept.configured(&cfg.Images) },
		spool:  s, status: func() Status { return offlineStatus(cfg, s) },
		rebuild: func(ctx context.Context, name string, progress func(int64)) error {
			return rebuildOffline(ctx, cfg, s, store, name, progress)
		},
		restore: func(ctx context.Context, rq RestoreRequest, progress func(int, int)) (RestoreReport, error) {
			return restoreOffline(ctx, cfg, s, a, rq, progress)
		},
		revoke: func(study dicom.UID) error { return revokeLinks(cfg, study) },
		reload: func() (Reloaded, error) { return Reloaded{}, errNobodyToReload },
	}
	stop := a.begin()
	return a.operator(o), func() error {
		err := closeAll()
		stop()
		return err
	}, nil
}

// client is an Operator over the control socket.
type client struct{ http *http.Client }

func newClient(dir string) *client {
	return &client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialControl(ctx, dir) },
	}}}
}

func (c *client) close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status implements [Operator].
func (c *client) Status(ctx context.Context) (s Status, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Jobs implements [Operator].
func (c *client) Jobs(ctx context.Context, f JobFilter, cursor string, limit int) (page JobPage, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for key, v := range map[string]string{
		"destination": f.Destination, "state": f.State, "study": string(f.Study),
		"instance": string(f.Instance), "code": f.Code, "cursor": cursor,
	} {
		if v != "" {
			q.Set(key, v)
		}
	}
	err = c.call(ctx, http.MethodGet, "/v1/jobs?"+q.Encode(), nil, &page)
	return page, err
}

// Retry implements [Operator].
func (c *client) Retry(ctx context.Context, f JobFilter, reason string) (r Changed, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/jobs/retry", changeRequest{f, reason}, &r)
	return r, err
}

// Drop implements [Operator].
func (c *client) Drop(ctx context.Context, f JobFilter, reason string) (r Changed, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/jobs/drop", changeRequest{f, reason}, &r)
	return r, err
}

// Verify implements [Operator].
func (c *client) Verify(ctx context.Context, progress func(done, total int64)) (VerifyReport, error) {
	resp, err := c.do(ctx, http.MethodPost, "/v1/verify", nil)
	if err != nil {
		return VerifyReport{}, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var p VerifyProgress
		switch err := d.Decode(&p); {
		case err != nil:
			return VerifyReport{}, fmt.Errorf("the gateway ended in the middle of the verification: %w", err)
		case p.Error != "":
			return VerifyReport{}, errors.New(p.Error)
		case p.Report != nil:
			return *p.Report, nil
		case progress != nil:
			progress(p.Done, p.Total)
		}
	}
}

// RebuildViews implements [Operator].
func (c *client) RebuildViews(ctx context.Context, name string, progress func(studies int64)) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/views/rebuild?"+url.Values{"name": {name}}.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var p rebuildProgress
		switch err := d.Decode(&p); {
		case err != nil:
			return fmt.Errorf("the gateway ended in the middle: %w", err)
		case p.Error != "":
			return errors.New(p.Error)
		case p.Done:
			return nil
		case progress != nil:
			progress(p.Studies)
		}
	}
}

// call sends in as JSON and decodes the answer into out.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(out)
}

// do sends a request and turns an answer other than 200 into its error.
func (c *client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	rq, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, body)
	if err != nil {
		return nil, err
	}
	return c.answered(rq)
}

// send sends a request and decodes its answer into out.
func (c *client) send(rq *http.Request, out any) error {
	resp, err := c.answered(rq)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(out)
}

// answered sends a request and turns an answer other than 200 into its error.
func (c *client) answered(rq *http.Request) (*http.Response, error) {
	rq.Header.Set(invokerHeader, invokerName())
	resp, err := c.http.Do(rq)
	if err != nil {
		return nil, fmt.Errorf("ask the running gateway: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e errorResponse
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxControlBody)).Decode(&e); err != nil || e.Error == "" {
		return nil, fmt.Errorf("the running gateway answered %s", resp.Status)
	}
	if e.Nothing {
		return nil, ErrNothingSelected
	}
	if e.Destination != nil {
		return nil, e.Destination
	}
	return nil, errors.New(e.Error)
}
