package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Limits of the control socket's requests.
const (
	maxControlBody = 64 << 10
	maxJobsPage    = 1000
)

// progressEvery is how often a long operation reports.
const progressEvery = 200 * time.Millisecond

// changeRequest is the body of /v1/jobs/retry and /v1/jobs/drop.
type changeRequest struct {
	Filter JobFilter `json:"filter"`
	Reason string    `json:"reason"`
}

// errorResponse is the body of every answer but 200.
type errorResponse struct {
	Error string `json:"error"`
	// Nothing says that the error is ErrNothingSelected.
	Nothing bool `json:"nothing_selected,omitempty"`
	// Destination is the error if it is a DestinationError.
	Destination *DestinationError `json:"destination,omitempty"`
}

// control serves operations over the control socket: small JSON documents over
// HTTP, with a stream of them for verification.
type control struct {
	Operator
	health func() error // the durable path works
	ready  func() error // instances can be received
	audit  *auditor
}

func (c control) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", c.getStatus)
	mux.HandleFunc("GET /v1/jobs", c.getJobs)
	mux.HandleFunc("POST /v1/jobs/retry", c.postRetry)
	mux.HandleFunc("POST /v1/jobs/drop", c.postDrop)
	mux.HandleFunc("POST /v1/verify", c.postVerify)
	mux.HandleFunc("POST /v1/views/rebuild", c.postRebuildViews)
	mux.HandleFunc("POST /v1/restore", c.postRestore)
	mux.HandleFunc("POST /v1/reload", c.postReload)
	mux.HandleFunc("POST /v1/links/revoke", c.postRevoke)
	c.handleImages(mux)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answerCheck(w, c.health()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answerCheck(w, c.ready()) })
	mux.HandleFunc("POST /v1/audit/read", c.audit.postAuditRead)
	mux.HandleFunc("POST /v1/audit/note", c.audit.postAuditNote)
	return c.audit.ownersOnly(named(mux))
}

func (c control) getStatus(w http.ResponseWriter, r *http.Request) {
	s, err := c.Status(r.Context())
	answer(w, s, err)
}

func (c control) getJobs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := JobFilter{
		Destination: q.Get("destination"), State: q.Get("state"), Code: q.Get("code"),
		Study: dicom.UID(q.Get("study")), Instance: dicom.UID(q.Get("instance")),
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > maxJobsPage {
		limit = maxJobsPage
	}
	page, err := c.Jobs(r.Context(), f, q.Get("cursor"), limit)
	answer(w, page, err)
}

func (c control) postRetry(w http.ResponseWriter, r *http.Request) {
	var rq changeRequest
	if !decode(w, r, &rq) {
		return
	}
	n, err := c.Retry(r.Context(), rq.Filter, rq.Reason)
	answer(w, n, err)
}

func (c control) postDrop(w http.ResponseWriter, r *http.Request) {
	var rq changeRequest
	if !decode(w, r, &rq) {
		return
	}
	n, err := c.Drop(r.Context(), rq.Filter, rq.Reason)
	answer(w, n, err)
}

// postVerify streams VerifyProgress documents, one per line. The verification
// ends with the request, so a client that goes away stops it.
func (c control) postVerify(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // it is for requests, but would end the wait for the client's hanging up
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	var last time.Time
	report, err := c.Verify(r.Context(), func(done, total int64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			// If the client has gone, its context says so.
			_ = out.Encode(VerifyProgress{Done: done, Total: total})
			_ = rc.Flush()
		}
	})
	end := VerifyProgress{Done: report.Instances, Total: report.Instances, Report: &report}
	if err != nil {
		end = VerifyProgress{Error: err.Error()}
	}
	_ = out.Encode(end)
}

// rebuildProgress is one step of a rebuild of metadata rows; the last one is
// Done or has an Error.
type rebuildProgress struct {
	Studies int64  `json:"studies"`
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
}

// postRebuildViews streams rebuildProgress documents, one per line. What has
// begun goes on if the client goes away.
func (c control) postRebuildViews(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	err := c.RebuildViews(r.Context(), r.URL.Query().Get("name"), func(studies int64) {
		_ = out.Encode(rebuildProgress{Studies: studies})
		_ = rc.Flush()
	})
	end := rebuildProgress{Done: true}
	if err != nil {
		end = rebuildProgress{Error: err.Error()}
	}
	_ = out.Encode(end)
}

// decode reads a small JSON body strictly.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		answerError(w, http.StatusBadRequest, err)
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		code := http.StatusInternalServerError
		if errors.Is(err, spool.ErrBadFilter) || errors.Is(err, ErrNothingSelected) || errors.Is(err, errBadState) || errors.As(err, new(*DestinationError)) {
			code = http.StatusBadRequest
		}
		answerError(w, code, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a failed write means that the client has gone
}

func answerError(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	destination, _ := errors.AsType[*DestinationError](err)
	_ = json.NewEncoder(w).Encode(errorResponse{err.Error(), errors.Is(err, ErrNothingSelected), destination})
}
