package gateway

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"dcmgate/dicom"
	"dcmgate/images"
	"dcmgate/spool"
)

// ErrNothingSelected is returned for a filter that would select every job of
// every destination where that is more likely a mistake than a wish.
var ErrNothingSelected = errors.New("no jobs are selected; name a destination, a study or an instance, or ask for all")

var errBadState = errors.New("state of jobs")

// DestinationError says that a filter names a destination that is neither
// configured nor has jobs left from when it was.
type DestinationError struct {
	Name       string   `json:"name"`
	Configured []string `json:"configured"`
}

func (e *DestinationError) Error() string {
	if len(e.Configured) == 0 {
		return fmt.Sprintf("destination %q is not configured; none is", e.Name)
	}
	return fmt.Sprintf("destination %q is not configured; those that are: %s", e.Name, strings.Join(e.Configured, ", "))
}

// JobFilter selects jobs of the queue; empty fields do not restrict.
type JobFilter struct {
	Destination string    `json:"destination,omitempty"`
	State       string    `json:"state,omitempty"` // one of JobStates
	Study       dicom.UID `json:"study,omitempty"`
	Instance    dicom.UID `json:"instance,omitempty"` // SOP Instance UID
	Code        string    `json:"code,omitempty"`     // class of the last failure
	All         bool      `json:"all,omitempty"`      // confirms that nothing restricts
	// Superseded has Retry send versions again of which the destination has a later one.
	Superseded bool `json:"superseded,omitempty"`
}

// Job is one instance owed to one destination, as operators see it.
type Job struct {
	ID             string    `json:"id"` // of the instance in the spool
	Destination    string    `json:"destination"`
	State          string    `json:"state"`
	Priority       string    `json:"priority"`
	Attempts       int       `json:"attempts"`
	Received       time.Time `json:"received"`
	NotBefore      time.Time `json:"not_before,omitzero"`
	Updated        time.Time `json:"updated,omitzero"`
	Code           string    `json:"code,omitempty"`
	LastError      string    `json:"last_error,omitempty"`
	Status         string    `json:"status,omitempty"` // DIMSE status, four hexadecimal digits
	Study          dicom.UID `json:"study"`
	Series         dicom.UID `json:"series"`
	Instance       dicom.UID `json:"instance"`
	SOPClass       dicom.UID `json:"sop_class"`
	TransferSyntax dicom.UID `json:"transfer_syntax"`
	Size           int64     `json:"size"`
	Digest         string    `json:"digest"` // SHA-256 of the data set
	CallingAETitle string    `json:"calling_ae_title"`
}

// Changed tells what became of the jobs that were to be changed.
type Changed struct {
	Count  int `json:"count"`            // were changed
	Active int `json:"active,omitempty"` // were not because they are claimed: being delivered, or about to be
	// Superseded were not because the destination has a later version of the
	// instance, or is being sent one, whose place they would take.
	Superseded int `json:"superseded,omitempty"`
}

// JobPage is part of a listing; Next continues it, "" at its end.
type JobPage struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next,omitempty"`
}

// VerifyProgress is one step of a verification. The last one has a Report.
type VerifyProgress struct {
	Done   int64         `json:"done"`
	Total  int64         `json:"total"`
	Report *VerifyReport `json:"report,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// VerifyReport is the result of reading every stored instance back.
type VerifyReport struct {
	Instances    int64           `json:"instances"`
	Bytes        int64           `json:"bytes"`
	ProblemCount int64           `json:"problem_count"`
	Problems     []VerifyProblem `json:"problems"` // the first of them
	Duration     time.Duration   `json:"duration"` // nanoseconds
}

// VerifyProblem is one instance that cannot be read back as it was stored.
type VerifyProblem struct {
	ID       string    `json:"id"`
	Instance dicom.UID `json:"instance"`
	What     string    `json:"what"`
}

// operations is what operators can do with a spool, whether through a running
// gateway's socket or on a spool opened for the purpose.
type operations struct {
	spool  *spool.Spool
	images func() (*images.Store, error) // the error says that there is none
	status func() Status
	// rebuild publishes everything stored to a database of metadata rows.
	rebuild func(ctx context.Context, name string, progress func(studies int64)) error
	restore func(ctx context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error)
	revoke  func(study dicom.UID) error // the addresses of a study, "" for all
	reload  func() (Reloaded, error)
}

// indexWait is how long Status waits for the index to catch up.
const indexWait = 500 * time.Millisecond

// Status implements [Operator]. Whoever has just been told of a success finds
// it in the figures: they wait for the index, which follows the answers by a
// few milliseconds, unless it is in trouble.
func (o *operations) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, indexWait)
	defer cancel()
	_ = o.spool.Flush(ctx) // what keeps it from succeeding is part of the status
	return o.status(), nil
}

// Jobs implements [Operator].
func (o *operations) Jobs(_ context.Context, f JobFilter, cursor string, limit int) (JobPage, error) {
	filter, err := f.spool()
	if err == nil {
		err = o.known(f.Destination)
	}
	if err != nil {
		return JobPage{}, err
	}
	jobs, next, err := o.spool.Jobs(filter, cursor, limit)
	if err != nil {
		return JobPage{}, err
	}
	page := JobPage{Jobs: make([]Job, len(jobs)), Next: next}
	for i := range jobs {
		page.Jobs[i] = describeJob(&jobs[i])
	}
	return page, nil
}

// Retry implements [Operator].
func (o *operations) Retry(ctx context.Context, f JobFilter, reason string) (Changed, error) {
	filter, err := o.forChange(f)
	if err != nil {
		return Changed{}, err
	}
	n, superseded, err := o.spool.Redrive(ctx, filter, reason)
	return Changed{Count: n, Superseded: superseded}, err
}

// Drop implements [Operator].
func (o *operations) Drop(ctx context.Context, f JobFilter, reason string) (Changed, error) {
	filter, err := o.forChange(f)
	if err != nil {
		return Changed{}, err
	}
	var c Changed
	if c.Count, err = o.spool.Drop(ctx, filter, reason); err != nil {
		return c, err
	}
	if s := filter.State; s == 0 || s == spool.JobPending || s == spool.JobActive {
		c.Active, err = o.active(ctx, filter)
	}
	return c, err
}

// active counts the selected jobs that are claimed at the moment.
func (o *operations) active(ctx context.Context, f spool.JobFilter) (n int, err error) {
	f.State = spool.JobActive
	for cursor := ""; ; {
		jobs, next, err := o.spool.Jobs(f, cursor, maxJobsPage)
		if err != nil || ctx.Err() != nil {
			return n, errors.Join(err, ctx.Err())
		}
		n += len(jobs)
		if cursor = next; cursor == "" {
			return n, nil
		}
	}
}

// forChange checks the filter of an operation that changes jobs.
func (o *operations) forChange(f JobFilter) (spool.JobFilter, error) {
	filter, err := f.spoolForChange()
	if err == nil {
		err = o.known(f.Destination)
	}
	return filter, err
}

// known looks for a destination among those configured and those that jobs are
// left of.
func (o *operations) known(name string) error {
	if name == "" {
		return nil
	}
	e := &DestinationError{Name: name}
	for _, d := range o.status().Destinations {
		if d.Name == name {
			return nil
		}
		if d.Configured {
			e.Configured = append(e.Configured, d.Name)
		}
	}
	return e
}

// Verify implements [Operator].
func (o *operations) Verify(ctx context.Context, progress func(done, total int64)) (VerifyReport, error) {
	r, err := o.spool.Verify(ctx, progress)
	if err != nil {
		return VerifyReport{}, err
	}
	report := VerifyReport{Instances: r.Instances, Bytes: r.Bytes, ProblemCount: r.ProblemCount, Duration: r.Duration, Problems: []VerifyProblem{}}
	for _, p := range r.Problems {
		report.Problems = append(report.Problems, VerifyProblem{ID: p.ID.String(), Instance: p.SOPInstanceUID, What: p.What})
	}
	return report, nil
}

// RebuildViews implements [Operator].
func (o *operations) RebuildViews(ctx context.Context, name string, progress func(studies int64)) error {
	return o.rebuild(ctx, name, progress)
}

var jobStates = map[string]spool.JobState{
	"": 0, "pending": spool.JobPending, "active": spool.JobActive, "parked": spool.JobParked,
	"delivered": spool.JobDelivered, "dropped": spool.JobDropped,
	"awaiting": spool.JobAwaiting, "committed": spool.JobCommitted, "refused": spool.JobRefused,
}

// JobStates names the states a filter may ask for.
func JobStates() []string {
	return []string{"pending", "active", "parked", "delivered", "awaiting", "committed", "refused", "dropped"}
}

func (f JobFilter) spool() (spool.JobFilter, error) {
	state, ok := jobStates[f.State]
	if !ok {
		return spool.JobFilter{}, fmt.Errorf("%w: %q is not one of %s", errBadState, f.State, strings.Join(JobStates(), ", "))
	}
	return spool.JobFilter{
		Destination: f.Destination, State: state, StudyInstanceUID: f.Study, SOPInstanceUID: f.Instance, Code: f.Code, Superseded: f.Superseded,
	}, nil
}

// spoolForChange is spool for commands that change what they select.
func (f JobFilter) spoolForChange() (spool.JobFilter, error) {
	if f.Destination == "" && f.Study == "" && f.Instance == "" && f.Code == "" && !f.All {
		return spool.JobFilter{}, ErrNothingSelected
	}
	return f.spool()
}

func describeJob(j *spool.Job) Job {
	in := &j.Instance
	d := Job{
		ID:             in.ID.String(),
		Destination:    j.Destination,
		State:          j.State.String(),
		Priority:       j.Priority.String(),
		Attempts:       j.Attempts,
		Received:       in.Received,
		NotBefore:      j.NotBefore,
		Updated:        j.Updated,
		Code:           j.Code,
		LastError:      j.LastError,
		Study:          in.StudyInstanceUID,
		Series:         in.SeriesInstanceUID,
		Instance:       in.SOPInstanceUID,
		SOPClass:       in.SOPClassUID,
		TransferSyntax: in.TransferSyntaxUID,
		Size:           in.Size,
		Digest:         hex.EncodeToString(in.Digest[:]),
		CallingAETitle: in.CallingAETitle,
	}
	if j.State == spool.JobDelivered || j.State == spool.JobAwaiting || j.State == spool.JobCommitted {
		d.Status = fmt.Sprintf("%04X", j.Status)
	}
	return d
}
