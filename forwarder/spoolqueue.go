package forwarder

import (
	"errors"
	"io"

	"dcmgate/spool"
	"dcmgate/transfer"
)

// FromSpool makes a queue of the spool's jobs. The bytes of an instance are compared with its checksum while they are sent,
// and one that is damaged is not completed.
func FromSpool(s *spool.Spool) Queue { return spoolQueue{s} }

type spoolQueue struct{ spool *spool.Spool }

// urgencies orders PS3.7's priorities, which are numbered in another order.
var urgencies = map[spool.Priority]int{
	spool.PriorityHigh: 1, spool.PriorityMedium: 0, spool.PriorityLow: -1,
}

func (q spoolQueue) Claim(destination string, limit int) ([]Job, error) {
	claimed, err := q.spool.Claim(destination, limit)
	if err != nil {
		return nil, err
	}
	jobs := make([]Job, len(claimed))
	for i := range claimed {
		c := &claimed[i]
		jobs[i] = Job{
			ID:             uint64(c.Instance.ID),
			Destination:    c.Destination,
			SOPInstanceUID: c.Instance.SOPInstanceUID,
			Study:          c.Instance.StudyInstanceUID,
			Pair: transfer.Pair{
				SOPClassUID:       c.Instance.SOPClassUID,
				TransferSyntaxUID: c.Instance.TransferSyntaxUID,
			},
			Size:       c.Instance.Size,
			Urgency:    urgencies[c.Priority],
			Attempts:   c.Attempts,
			Received:   c.Instance.Received,
			NewVersion: c.Instance.Flags&spool.FlagNewVersion != 0,
		}
	}
	return jobs, nil
}

func (q spoolQueue) Ready(destination string) <-chan struct{} { return q.spool.Ready(destination) }

func (q spoolQueue) Complete(results ...Result) error {
	ended := make([]spool.Outcome, len(results))
	var failed error
	for i, r := range results {
		ended[i] = spoolOutcome(r)
		if r.Unreadable { // before the outcome, so that a copy sent because of it finds the mark
			failed = errors.Join(failed, q.spool.MarkDamaged(spool.InstanceID(r.Job.ID)))
		}
	}
	return errors.Join(failed, q.spool.Complete(ended...))
}

func spoolOutcome(r Result) spool.Outcome {
	key := spool.JobKey{ID: spool.InstanceID(r.Job.ID), Destination: r.Job.Destination}
	switch r.Verdict {
	case Delivered:
		if !r.At.IsZero() {
			return spool.Await(key, r.Status, r.At)
		}
		return spool.Delivered(key, r.Status)
	case RetryLater:
		return spool.Retry(key, r.At, r.Code, r.Reason)
	case Parked:
		return spool.Park(key, r.Code, r.Reason)
	default:
		return spool.Release(key)
	}
}

func (q spoolQueue) Open(j Job) (io.ReadCloser, error) {
	r, err := q.spool.Open(spool.InstanceID(j.ID))
	if err != nil {
		return nil, err
	}
	return dataSet{r.Checked(), r}, nil
}

// dataSet reads an instance's data set and closes the instance.
type dataSet struct {
	io.Reader
	io.Closer
}
