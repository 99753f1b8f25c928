package spool

import (
	"time"

	"dcmgate/dicom"
)

// Bounds of jobs and their records.
const (
	MaxDestinationLength = 64  // bytes of a destination's name
	MaxJobs              = 256 // jobs of one instance
	maxCode              = 64  // bytes of an outcome's code
	maxReason            = 512 // bytes of an outcome's reason
)

// JobSpec asks for a job when an instance is committed.
type JobSpec struct {
	Destination string // an opaque name, at most MaxDestinationLength bytes of printable UTF-8
	Priority    Priority
}

// JobState is the state of a job.
type JobState uint8

// States of a job. Active is a lease in memory: after a restart an active job is pending.
const (
	JobPending   JobState = iota + 1 // waits to be claimed, now or from NotBefore on
	JobActive                        // claimed
	JobParked                        // failed for good until an operator redrives or drops it
	JobDelivered                     // the destination confirmed it
	JobDropped                       // given up by an operator
	JobAwaiting                      // delivered; the destination is still to commit itself to keep it (PS3.4 J)
	JobCommitted                     // delivered, and the destination has committed itself
	JobRefused                       // delivered, but the destination does not commit itself; else as parked
)

// String names the state as metrics and commands do.
func (s JobState) String() string {
	switch s {
	case JobPending:
		return "pending"
	case JobActive:
		return "active"
	case JobParked:
		return "parked"
	case JobDelivered:
		return "delivered"
	case JobDropped:
		return "dropped"
	case JobAwaiting:
		return "awaiting"
	case JobCommitted:
		return "committed"
	case JobRefused:
		return "refused"
	}
	return "unknown"
}

// JobKey names a job: one instance for one destination.
type JobKey struct {
	ID          InstanceID
	Destination string
}

// Job is the task to deliver one instance to one destination.
type Job struct {
	Instance    Instance
	Destination string
	Priority    Priority
	State       JobState
	Attempts    int       // that ended in Retry or Park
	Enqueued    time.Time // when the job came to be
	NotBefore   time.Time // zero: at once; of an awaiting job, when the destination is to be asked next
	Updated     time.Time // when the state was last written
	Asks        int       // for commitment since it was delivered
	Asked       time.Time // when last; zero if that is over
	Refusals    int       // of commitment, after which it was sent again
	Status      uint16    // DIMSE status of the delivery; a warning is kept here
	Code        string    // class of the last failure
	LastError   string    // or the operator's reason
}

// Key returns the job's name.
func (j *Job) Key() JobKey { return JobKey{j.Instance.ID, j.Destination} }

// Result says how an attempt ended.
type Result uint8

// Results of an attempt.
const (
	ResultDelivered Result = iota + 1
	ResultRetry
	ResultPark
	ResultRelease
	ResultAwait
	resultPutOff // not an attempt
)

// Outcome is the end of an attempt. Make it with Delivered, Await, Retry, Park or Release.
type Outcome struct {
	Job    JobKey
	Result Result
	Status uint16
	At     time.Time // ResultRetry and ResultAwait: not before
	Code   string    // short and of a bounded set, for counting
	Reason string    // for people; never patient data
}

// Delivered says that the destination answered with status, success or a warning.
func Delivered(job JobKey, status uint16) Outcome {
	return Outcome{Job: job, Result: ResultDelivered, Status: status}
}

// Await is Delivered where the destination is to be asked to commit itself, from at on (see [Spool.Awaiting]).
func Await(job JobKey, status uint16, at time.Time) Outcome {
	return Outcome{Job: job, Result: ResultAwait, Status: status, At: at}
}

// Retry says that the attempt failed and the next may be made from at on.
func Retry(job JobKey, at time.Time, code, reason string) Outcome {
	return Outcome{Job: job, Result: ResultRetry, At: at, Code: code, Reason: reason}
}

// Park says that trying again is pointless until somebody acts.
func Park(job JobKey, code, reason string) Outcome {
	return Outcome{Job: job, Result: ResultPark, Code: code, Reason: reason}
}

// Release hands a claim back: no attempt was made, none is counted.
func Release(job JobKey) Outcome { return Outcome{Job: job, Result: ResultRelease} }

// JobFilter selects jobs; zero fields do not restrict.
type JobFilter struct {
	Destination       string
	State             JobState
	StudyInstanceUID  dicom.UID
	SeriesInstanceUID dicom.UID // only with StudyInstanceUID
	SOPInstanceUID    dicom.UID
	ID                InstanceID
	Code              string
	Superseded        bool // of Redrive: also versions of which the destination has a later one
}

// JobCounts are the numbers of one destination's jobs by state.
type JobCounts struct {
	Pending, Active, Parked, Delivered, Dropped int64
	Awaiting, Committed, Refused                int64
}
