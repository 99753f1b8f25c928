package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"dcmgate/dicom"
)

// Restore implements [Operator].
func (o *operations) Restore(ctx context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error) {
	return o.restore(ctx, rq, progress)
}

// RevokeLinks implements [Operator].
func (o *operations) RevokeLinks(_ context.Context, study dicom.UID) error { return o.revoke(study) }

// Reload implements [Operator].
func (o *operations) Reload(context.Context) (Reloaded, error) { return o.reload() }

// reloadAnswer is the body of the answer of /v1/reload.
type reloadAnswer struct {
	Reloaded
	Error string `json:"error,omitempty"` // a line for each mistake; then nothing has changed
}

func (c control) postReload(w http.ResponseWriter, r *http.Request) {
	done, err := c.Reload(r.Context())
	a := reloadAnswer{Reloaded: done}
	if err != nil {
		a.Error = err.Error()
	}
	answer(w, a, nil)
}

// Reload implements [Operator].
func (c *client) Reload(ctx context.Context) (Reloaded, error) {
	var a reloadAnswer
	err := c.call(ctx, http.MethodPost, "/v1/reload", nil, &a)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a.Reloaded, err
}

// postRestore streams RestoreProgress documents, one per line. What is under
// way ends if the client goes away.
func (c control) postRestore(w http.ResponseWriter, r *http.Request) {
	var rq RestoreRequest
	if !decode(w, r, &rq) {
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // as for verification
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	var last time.Time
	report, err := c.Restore(r.Context(), rq, func(done, total int) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			_ = out.Encode(RestoreProgress{Done: done, Total: total})
			_ = rc.Flush()
		}
	})
	end := RestoreProgress{Report: &report}
	if err != nil {
		end.Error = err.Error()
	}
	_ = out.Encode(end)
}

// revokeRequest is the body of /v1/links/revoke; without a study all links are
// meant.
type revokeRequest struct {
	Study dicom.UID `json:"study,omitempty"`
}

func (c control) postRevoke(w http.ResponseWriter, r *http.Request) {
	var rq revokeRequest
	if decode(w, r, &rq) {
		answer(w, struct{}{}, c.RevokeLinks(r.Context(), rq.Study))
	}
}

// Restore implements [Operator].
func (c *client) Restore(ctx context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error) {
	resp, err := c.do(ctx, http.MethodPost, "/v1/restore", rq)
	if err != nil {
		return RestoreReport{}, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var p RestoreProgress
		if err := d.Decode(&p); err != nil {
			return RestoreReport{}, fmt.Errorf("the gateway ended in the middle: %w", err)
		}
		switch {
		case p.Report != nil && p.Error != "":
			return *p.Report, errors.New(p.Error)
		case p.Report != nil:
			return *p.Report, nil
		case progress != nil:
			progress(p.Done, p.Total)
		}
	}
}

// RevokeLinks implements [Operator].
func (c *client) RevokeLinks(ctx context.Context, study dicom.UID) error {
	return c.call(ctx, http.MethodPost, "/v1/links/revoke", revokeRequest{study}, &struct{}{})
}
