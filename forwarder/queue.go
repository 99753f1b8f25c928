package forwarder

import (
	"io"
	"time"

	"dcmgate/dicom"
	"dcmgate/transfer"
)

// A Job is one instance owed to one destination, leased to us by the queue.
type Job struct {
	ID             uint64 // of the instance, unique within the queue
	Destination    string
	SOPInstanceUID dicom.UID
	Study          dicom.UID // "" if the data set has none
	transfer.Pair
	Size     int64 // of the data set in bytes, negative if unknown
	Urgency  int   // higher goes first
	Attempts int   // counted so far
	// NewVersion says that another instance of the same UIDs was there before.
	NewVersion bool
	Received   time.Time
}

// Verdict is what is to become of a leased job.
type Verdict int

const (
	// Delivered: the destination has the instance; the job is finished.
	Delivered Verdict = iota
	// RetryLater: claimable again from Result.At on, with one attempt more.
	RetryLater
	// Parked: kept aside until a person retries or drops it.
	Parked
	// Released: claimable again at once, as if never claimed.
	Released
)

// A Result ends the lease of a job.
type Result struct {
	Job     Job
	Verdict Verdict
	Status  uint16    // of the C-STORE response, if delivered
	At      time.Time // if to be retried; if delivered, when to ask for commitment, zero not to
	Code    string    // short name of the failure, or empty
	Reason  string    // the failure in words
	// Unreadable says of a parked job that the instance's bytes could not be
	// read at any attempt.
	Unreadable bool
}

// A Queue holds the jobs. The forwarder never sees a job that it has claimed
// a second time before it has completed it, and completes every job that it
// claims, or else ends, and its leases with it.
//
// All methods may be called from several goroutines.
type Queue interface {
	// Claim leases at most limit jobs of the destination whose time has come,
	// most urgent first, then oldest first. None is not an error.
	Claim(destination string, limit int) ([]Job, error)
	// Ready returns a channel that receives when Claim may have something
	// new. One receiver per destination; signals may coalesce.
	Ready(destination string) <-chan struct{}
	// Complete ends leases, in order. It returns at once: results need not be
	// durable before the next claim, since losing one only means that an
	// instance is sent again.
	Complete(results ...Result) error
	// Open opens the instance's data set, without File Meta Information,
	// byte for byte as it was received. The caller closes it. Where the bytes
	// are not those any more, the error of opening or reading is
	// spool.ErrDamaged, and the reader does not give out as many as Job.Size.
	Open(Job) (io.ReadCloser, error)
}
