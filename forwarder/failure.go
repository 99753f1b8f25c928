package forwarder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"dcmgate/spool"
	"dcmgate/transfer"
)

// scope says what a failure speaks about.
type scope int

const (
	// scopeInstance: this instance failed; others may well succeed.
	scopeInstance scope = iota
	// scopeDestination: the destination failed; any instance would have.
	scopeDestination
)

// String returns instance or destination.
func (s scope) String() string {
	if s == scopeDestination {
		return "destination"
	}
	return "instance"
}

// action is what the forwarder does about a result.
type action int

const (
	// actDeliver: the destination has the instance.
	actDeliver action = iota
	// actRetry: send the instance again later.
	actRetry
	// actPark: keep the instance aside until a person retries or drops it.
	actPark
	// actTrip: open the breaker at once and probe rarely. The instance is kept
	// for later: it is the destination, or our configuration of it, that has
	// to change.
	actTrip
)

var actionNames = [...]string{"deliver", "retry", "park", "trip"}

// String returns the action in one word.
func (a action) String() string {
	if a < 0 || int(a) >= len(actionNames) {
		return "unknown"
	}
	return actionNames[a]
}

// A class is one row of the failure tables: what a result means and what is
// done about it.
type class struct {
	Scope  scope
	Action action
	// Limited: after Policy.MaxAttempts such failures the instance is
	// parked, provided the destination has shown itself to be well meanwhile
	// (see ledger.charge). Failures that are not limited are retried for ever.
	// Of reading a stored instance maxReads such failures are enough (see ledger.misread).
	Limited bool
	// Busy: the destination works but admits no further association now.
	Busy   bool
	Code   string // stable short name, for `queue list` and metrics
	Words  string // what happened, for the technician
	Advice string // what to do about it
}

// classNoContext and the following belong to no table of the standard.
var (
	classNoContext    = class{Action: actPark, Code: "no-context", Words: "the destination accepts no presentation context for this SOP class and transfer syntax", Advice: "have it accept them, or drop the job"}
	classOtherVersion = class{Action: actPark, Code: "other-version", Words: "the destination already has an instance of this UID, and it is not this one, which is a later version", Advice: "have the other one deleted there and retry, or drop the job"}
	classNotProposed  = class{Action: actPark, Code: "not-proposed", Words: "transfer_syntaxes of the destination does not include the one in which the instance is stored", Advice: "add it there and retry, or drop the job"}
	classConversion   = class{Action: actPark, Code: "conversion", Words: "the destination does not take the instance as it is stored, and it cannot be converted", Advice: "have it accept the stored transfer syntax and retry, or drop the job"}
	classDamaged      = class{Action: actPark, Code: "damaged", Words: "the stored bytes are damaged", Advice: "send it again from the modality"}
	classGone         = class{Action: actPark, Code: "local-read", Words: "the stored instance is not there any more", Advice: "send it again from the modality, or drop the job"}
	classRead         = class{Action: actRetry, Limited: true, Code: "local-read", Words: "the stored instance cannot be read", Advice: "see to the disk; once parked, send it again from the modality"}
	classShortage     = class{Action: actRetry, Code: "local-shortage", Words: "the gateway could not open the stored instance just now", Advice: "if this lasts, see to the gateway's own limits and disk"}
)

// localRow classifies the errors that a predicate matches.
type localRow struct {
	name    string
	matches func(error) bool
	class   class
}

// localTable holds what can happen to an instance that is read, and maybe
// converted, to be sent. The
// first row that matches counts.
var localTable = []localRow{
	{"conversion", func(err error) bool { return errors.As(err, new(*transfer.ConversionError)) }, classConversion},
	{"shortage", is(syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, spool.ErrClosed, spool.ErrUnhealthy), classShortage},
	{"damaged", is(spool.ErrDamaged, io.ErrUnexpectedEOF), classDamaged},
	{"gone", is(spool.ErrEvicted, spool.ErrNotFound, fs.ErrNotExist), classGone},
	{"anything else, the disk's errors above all", func(error) bool { return true }, classRead},
}

// maxReads is how often reading an instance is tried, unless
// Policy.MaxAttempts is less, where others can be read meanwhile; where none can,
// it is tried for lastRead at least.
const (
	maxReads = 5
	lastRead = 24 * time.Hour
)

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
}

// classifyLocal returns the meaning of a failure to read an instance.
func classifyLocal(err error) failure {
	for _, row := range localTable {
		if row.matches(err) {
			return failure{class: row.class, Detail: bounded(err.Error())}
		}
	}
	return failure{class: classRead} // not reached: the last row matches every error
}

// classifyNoContext returns the meaning of an instance that is accepted in no
// presentation context.
func classifyNoContext(p transfer.Pair, err error) failure {
	var none *transfer.NoContextError
	if errors.As(err, &none) && none.Unconvertible {
		return failure{class: classConversion, Detail: p.String()}
	}
	return failure{class: classNoContext, Detail: p.String()}
}

// A failure is a classified result with its particulars.
type failure struct {
	class
	Detail      string // UIDs, status, system error; never patient data
	Association string // ID of the one it was met on; "" for none
}

// Error describes the failure and what to do, in one line.
func (f failure) Error() string {
	s := f.Words
	if f.Detail != "" {
		s += " (" + f.Detail + ")"
	}
	if f.Advice != "" {
		s += "; " + f.Advice
	}
	return s
}

// attributes are those of its log line, after more.
func (f failure) attributes(more ...any) []any {
	if f.Association != "" {
		more = append(more, "association", f.Association)
	}
	return append(more, "code", f.Code, "reason", f.Error())
}

// A Policy bounds retries.
type Policy struct {
	Backoff     Backoff // between attempts of one instance
	MaxAttempts int     // of limited failures before an instance is parked; default 10

	BreakerThreshold int     // consecutive failures of the destination; default 5
	Redial           Backoff // between dials below the threshold; default 200 ms to 5 s
	Probe            Backoff // of an open breaker; default 1 s to 1 min
	LongProbe        Backoff // after a rejection that needs a person; default 1 min to 10 min
}

func (p Policy) withDefaults() (Policy, error) {
	for _, n := range []int{p.MaxAttempts, p.BreakerThreshold} {
		if n < 0 {
			return p, fmt.Errorf("retry policy: %d attempts: must be positive", n)
		}
	}
	if p.MaxAttempts == 0 {
		p.MaxAttempts = 10
	}
	if p.BreakerThreshold == 0 {
		p.BreakerThreshold = 5
	}
	p.Backoff = p.Backoff.withDefaults()
	p.Redial = p.Redial.or(200*time.Millisecond, 5*time.Second)
	p.Probe = p.Probe.or(time.Second, time.Minute)
	p.LongProbe = p.LongProbe.or(time.Minute, 10*time.Minute)
	return p, nil
}
