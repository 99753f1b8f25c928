package forwarder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// errUnknownTransaction is the answer to a report on what we did not ask, or
// did not ask whoever reports. PS3.4 J.3.3.4 leaves statuses to PS3.7.
var errUnknownTransaction = &dimse.StatusError{Status: dimse.StatusInvalidArgumentValue, Comment: "no such transaction"}

// errUnrecorded has the destination report again.
var errUnrecorded = errors.New("the report could not be recorded")

// TakeReport takes the report of a destination that has requested an
// association for it, with its AE title as the calling one. nil says that it
// is durable. It fits commitment.Reports.
func (f *Forwarder) TakeReport(_ context.Context, rq *dimse.Request, r *commitment.Result) error {
	var asked []*courier
	for _, c := range f.couriers() {
		if c.asker != nil && c.CalledAETitle == rq.Association.CallingAETitle() {
			asked = append(asked, c)
		}
	}
	if len(asked) == 0 {
		f.metrics.reportsTaken[reportForeign].Inc()
		return errUnknownTransaction
	}
	for _, c := range asked[1:] { // destinations that share an AE title
		if t, _, err := c.asker.custody.Transaction(r.TransactionUID); err == nil && t.Destination == c.Name {
			return c.takeReport(rq, r)
		}
	}
	return asked[0].takeReport(rq, r)
}

// takeReport takes a report that came over an association with the destination.
func (c *courier) takeReport(rq *dimse.Request, r *commitment.Result) error {
	association := rq.Association.ID()
	outcome, err := c.conclude(association, r)
	c.asker.metrics.reports[outcome].Inc()
	c.asker.told(Asked{Destination: c.Name, Association: association, Report: true, Instances: len(r.Committed) + len(r.Failed), Failed: len(r.Failed), Err: err})
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ledger.warn(c.log, time.Now(), "report "+outcome, "report of storage commitment not taken", "association", association, "transaction", r.TransactionUID, "outcome", outcome, "error", err)
		if _, ok := errors.AsType[*dimse.StatusError](err); !ok {
			return errUnrecorded
		}
	}
	return err
}

// conclude makes durable what a report says.
func (c *courier) conclude(association string, r *commitment.Result) (outcome string, err error) {
	t, jobs, err := c.asker.custody.Transaction(r.TransactionUID)
	switch {
	case errors.Is(err, spool.ErrNotFound):
		return reportUnknown, errUnknownTransaction
	case err != nil:
		return reportFailed, err
	case t.Destination != c.Name:
		return reportForeign, errUnknownTransaction
	case t.Concluded():
		return reportRepeated, nil
	}
	now := time.Now()
	results := c.judge(now, &t, jobs, r)
	if err := c.asker.custody.ConcludeCommitment(t.UID, results); err != nil {
		return reportFailed, err
	}
	c.reported(now, association, &t, results)
	return reportTaken, nil
}

// judge decides what a report means for each instance that was asked for.
// Where it contradicts itself an instance is not committed; what it does not
// mention is asked for again. If the destination has been asked again since,
// only commitments count.
func (c *courier) judge(now time.Time, t *spool.Transaction, jobs []spool.Job, r *commitment.Result) []spool.Commitment {
	committed := make(map[commitment.Reference]bool, len(r.Committed))
	for _, ref := range r.Committed {
		committed[ref] = true
	}
	failed := make(map[dicom.UID]dimse.Status, len(r.Failed))
	for _, f := range r.Failed {
		failed[f.SOPInstanceUID] = f.Reason
	}
	results := make([]spool.Commitment, 0, len(jobs))
	for i := range jobs {
		in := &jobs[i].Instance
		reason, bad := failed[in.SOPInstanceUID]
		switch {
		case !bad && committed[commitment.Reference{SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID}]:
			results = append(results, spool.Commitment{ID: in.ID, Result: spool.ResultCommitted})
		case !jobs[i].Asked.Equal(t.Asked):
		case bad:
			results = append(results, c.judgeFailure(now, &jobs[i], reason))
		default:
			results = append(results, spool.Commitment{ID: in.ID, Result: spool.ResultAskAgain, At: c.askAgainAt(now, &jobs[i]),
				Code: "commitment-unmentioned", Reason: "the destination's report does not mention the instance"})
		}
	}
	return results
}

func (c *courier) askAgainAt(now time.Time, j *spool.Job) time.Time {
	return now.Add(Backoff{Initial: c.asker.Timeout, Max: max(longestSilent, c.asker.Timeout), Factor: 2}.steadyWait(j.Asks, c.random))
}

// reasonRow says what is done about a Failure Reason (0008,1197).
type reasonRow struct {
	reason dimse.Status
	result spool.CommitmentResult
	advice string
}

// reasonTable holds the reasons of PS3.3 C.14.1.1. What can be mended by
// sending the instance again is, a few times; what says nothing about the
// instance is asked for again; the rest waits for a person.
var reasonTable = []reasonRow{
	{commitment.ReasonProcessingFailure, spool.ResultSendAgain, "look into the destination's log at the time of the report"},
	{commitment.ReasonNoSuchInstance, spool.ResultSendAgain, "see what became of it at the destination, which had answered that it was stored"},
	{commitment.ReasonResourceLimitation, spool.ResultAskAgain, "see to the destination's disk space and load"},
	{commitment.ReasonSOPClassNotSupported, spool.ResultRefused, "the destination commits itself to no instance of this SOP class; drop the job, or disable commitment for the destination"},
	{commitment.ReasonClassInstanceConflict, spool.ResultSendAgain, "the destination holds this SOP Instance UID under another SOP class"},
	{commitment.ReasonDuplicateTransactionUID, spool.ResultAskAgain, ""},
}

// otherReason is for reasons that the standard does not give.
var otherReason = reasonRow{result: spool.ResultSendAgain, advice: "look into the destination's log and conformance statement"}

func reasonOf(reason dimse.Status) reasonRow {
	for _, row := range reasonTable {
		if row.reason == reason {
			return row
		}
	}
	return otherReason
}

func (c *courier) judgeFailure(now time.Time, j *spool.Job, reason dimse.Status) spool.Commitment {
	row := reasonOf(reason)
	f := failure{class: class{
		Code:  fmt.Sprintf("commitment-%04X", uint16(reason)),
		Words: "the destination does not commit itself to the instance: " + commitment.ReasonText(reason), Advice: row.advice,
	}, Detail: fmt.Sprintf("failure reason %04X", uint16(reason))}
	result := spool.Commitment{ID: j.Instance.ID, Result: row.result, Code: f.Code}
	switch {
	case row.result == spool.ResultAskAgain:
		result.At = c.askAgainAt(now, j)
	case row.result == spool.ResultSendAgain && j.Refusals >= c.asker.Attempts:
		result.Result = spool.ResultRefused
		f.Detail += fmt.Sprintf(", after it was sent again %d times", j.Refusals)
	case row.result == spool.ResultSendAgain:
		result.At = now.Add(c.Policy.Backoff.wait(j.Refusals+1, c.random))
	}
	result.Reason = f.Error()
	return result
}

// reported notes that a report was taken.
func (c *courier) reported(now time.Time, association string, t *spool.Transaction, results []spool.Commitment) {
	c.asker.metrics.seconds.Observe(now.Sub(t.Asked).Seconds())
	refused, committed := make(map[string]int), 0
	for i := range results {
		c.asker.metrics.instances[results[i].Result].Inc()
		if results[i].Result == spool.ResultCommitted {
			committed++
		} else {
			refused[results[i].Code]++
		}
	}
	c.log.Info("storage commitment reported", "association", association, "transaction", t.UID, "committed", committed, "not_committed", len(results)-committed,
		"seconds", now.Sub(t.Asked).Seconds())
	r, known := c.forget(t.UID)
	if known {
		close(r.reported)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.asker
	if a.silent > 0 {
		c.log.Info("the destination reports on storage commitment again")
		a.silent = 0
	}
	if a.failures == 0 {
		a.well()
	}
	for code, n := range refused {
		c.ledger.warn(c.log, now, code, "the destination does not commit itself to instances", "association", association, "code", code, "instances", n, "transaction", t.UID)
	}
	c.kick()
}
