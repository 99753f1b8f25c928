package forwarder

import (
	"context"
	"fmt"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// Asked is a request for storage commitment to a destination, or a report to
// one, that is over.
type Asked struct {
	Destination string // name
	Association string // ID; "" if there was none
	Report      bool   // else a request
	Instances   int    // that it names
	Failed      int    // of these; those that the destination does not commit itself to
	Err         error  // why it was not taken; of a request by the destination, of a report by us
}

// Commitment says whether and how a destination is asked to commit itself to
// keep what it was sent (PS3.4 J). The zero value of every other field is a
// sensible default.
type Commitment struct {
	Enabled bool
	// Wait is how long after its delivery an instance is asked for at the
	// latest, so that a study is asked for at once; default 10 s.
	Wait time.Duration
	// Batch is how many instances one request names at most; default 500, at
	// most spool.MaxTransaction.
	Batch int
	// Linger is how long the association of a request stays open for the
	// report; default 10 s, negative none.
	Linger time.Duration
	// Timeout is how long a report may take before the destination is asked
	// again; default 10 min. It grows while reports fail to come.
	Timeout time.Duration
	// Attempts is how often an instance is sent again that the destination
	// does not commit itself to, before it waits for a person; default 3,
	// negative never.
	Attempts int
}

func (o Commitment) withDefaults() (Commitment, error) {
	if o.Batch < 0 || o.Batch > spool.MaxTransaction {
		return o, fmt.Errorf("commitment: batch of %d: from 1 to %d", o.Batch, spool.MaxTransaction)
	}
	if o.Batch == 0 {
		o.Batch = 500
	}
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.Wait, 10 * time.Second}, {&o.Linger, 10 * time.Second}, {&o.Timeout, 10 * time.Minute}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	o.Linger = max(o.Linger, 0)
	if o.Wait < 0 || o.Timeout < 0 {
		return o, fmt.Errorf("commitment: wait %v and timeout %v must be positive", o.Wait, o.Timeout)
	}
	if o.Attempts == 0 {
		o.Attempts = 3
	}
	o.Attempts = max(o.Attempts, 0)
	return o, nil
}

// Custody keeps which jobs await commitment, and what was asked for. It is
// *spool.Spool, whose documentation says more.
type Custody interface {
	Awaiting(destination string, until time.Time, limit int) ([]spool.Job, error)
	BeginCommitment(spool.Transaction) error
	WithdrawCommitment(uid dicom.UID, at time.Time)
	ConcludeCommitment(uid dicom.UID, results []spool.Commitment) error
	Transaction(uid dicom.UID) (spool.Transaction, []spool.Job, error)
}

// A CommitmentDialer opens associations to ask for commitment on.
type CommitmentDialer interface {
	// DialCommitment is Dialer.Dial with a presentation context for storage
	// commitment; reports serves what the destination invokes.
	DialCommitment(ctx context.Context, d Destination, reports dimse.Service) (*dimse.Association, error)
}

// The outcomes of dcmgate_destination_commitment_requests_total.
const (
	requestAccepted   = "accepted"
	requestRefused    = "refused"    // by the destination
	requestFailed     = "failed"     // the association or the index
	requestUnanswered = "unreported" // accepted, but no report came in time
)

var requestOutcomes = [...]string{requestAccepted, requestRefused, requestFailed, requestUnanswered}

// resultNames are the outcomes of dcmgate_destination_commitment_instances_total.
var resultNames = map[spool.CommitmentResult]string{
	spool.ResultCommitted: "committed", spool.ResultSendAgain: "sent_again",
	spool.ResultRefused: "refused", spool.ResultAskAgain: "asked_again",
}

// The outcomes of dcmgate_destination_commitment_reports_total.
const (
	reportTaken    = "taken"
	reportRepeated = "repeated" // of a request that was reported on before
	reportUnknown  = "unknown"  // of no request of ours, or not any more
	reportForeign  = "foreign"  // from another than was asked
	reportFailed   = "failed"   // could not be recorded; the destination is to repeat it
)

var reportOutcomes = [...]string{reportTaken, reportRepeated, reportUnknown, reportForeign, reportFailed}
