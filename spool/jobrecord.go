package spool

import (
	"encoding/binary"
	"time"
	"unicode"
	"unicode/utf8"
)

// Versions of the encoding. The second is for jobs that have to do with commitment.
const (
	jobVersion           = 1
	jobVersionCommitment = 2
)

// jobRecord is the value of a j key:
//
//	version1 state1 class1 attempts4 status2 enqueued8(ms) due8(ms) updated8(ms)
//	version 2 only: asks4 refusals4 asked8(ms)
//	s code, s reason
//
// A pending job is under a w key if due is set, else under a q key; one that awaits commitment is under an h key.
type jobRecord struct {
	state    JobState
	class    uint8
	attempts uint32
	status   uint16
	enqueued int64
	due      int64
	updated  int64
	asks     uint32
	refusals uint32
	asked    int64 // of the transaction that counts, 0 for none
	code     string
	reason   string
}

// ofCommitment tells that the record needs the encoding of version 2.
func (r *jobRecord) ofCommitment() bool {
	return r.asks != 0 || r.refusals != 0 || r.asked != 0 || r.state > JobDropped
}

func (r *jobRecord) append(b []byte) []byte {
	version := byte(jobVersion)
	if r.ofCommitment() {
		version = jobVersionCommitment
	}
	b = append(b, version, byte(r.state), r.class)
	b = binary.BigEndian.AppendUint32(b, r.attempts)
	b = binary.BigEndian.AppendUint16(b, r.status)
	b = binary.BigEndian.AppendUint64(b, uint64(r.enqueued))
	b = binary.BigEndian.AppendUint64(b, uint64(r.due))
	b = binary.BigEndian.AppendUint64(b, uint64(r.updated))
	if version == jobVersionCommitment {
		b = binary.BigEndian.AppendUint32(b, r.asks)
		b = binary.BigEndian.AppendUint32(b, r.refusals)
		b = binary.BigEndian.AppendUint64(b, uint64(r.asked))
	}
	return appendString(appendString(b, r.code), r.reason)
}

func decodeJob(b []byte) (jobRecord, error) {
	d := decoder{b: b}
	version := d.byte()
	if version != jobVersion && version != jobVersionCommitment {
		return jobRecord{}, errBadRecord
	}
	r := jobRecord{state: JobState(d.byte()), class: d.byte(), attempts: d.uint32()}
	if v := d.take(2); v != nil {
		r.status = binary.BigEndian.Uint16(v)
	}
	r.enqueued, r.due, r.updated = int64(d.uint64()), int64(d.uint64()), int64(d.uint64())
	if version == jobVersionCommitment {
		r.asks, r.refusals, r.asked = d.uint32(), d.uint32(), int64(d.uint64())
	}
	r.code, r.reason = d.str(), d.str()
	if d.bad || len(d.b) != 0 {
		return jobRecord{}, errBadRecord
	}
	return r, nil
}

// terminal tells that nothing more is to be done about the job, so that it no longer holds its instance back from
// eviction. Whether one that awaits commitment does is a setting; see tx.done.
func (s JobState) terminal() bool { return s == JobDelivered || s == JobDropped || s == JobCommitted }

// arrived tells that the destination has answered for the instance, whatever it commits itself to.
func (s JobState) arrived() bool { return s == JobDelivered || s == JobAwaiting || s == JobCommitted }

// waitsForPerson tells that the job goes on only when an operator redrives or drops it.
func (s JobState) waitsForPerson() bool { return s == JobParked || s == JobRefused }

// job shows the record as an exported Job.
func (r *jobRecord) job(in Instance, destination string) Job {
	return Job{
		Instance:    in,
		Destination: destination,
		Priority:    priorityOfClass(r.class),
		State:       r.state,
		Attempts:    int(r.attempts),
		Enqueued:    timeOfMilli(r.enqueued),
		NotBefore:   timeOfMilli(r.due),
		Updated:     timeOfMilli(r.updated),
		Asks:        int(r.asks),
		Asked:       timeOfMilli(r.asked),
		Refusals:    int(r.refusals),
		Status:      r.status,
		Code:        r.code,
		LastError:   r.reason,
	}
}

// newJobRecord is the record of a job nobody has tried yet.
func newJobRecord(j jobEntry, received time.Time) jobRecord {
	ms := received.UnixMilli()
	r := jobRecord{state: JobPending, class: j.class, enqueued: ms, updated: ms}
	if j.delivered {
		r.state, r.code = j.state(), "carried-over"
	}
	return r
}

// checkDestination bounds a destination's name: it becomes part of keys and metrics.
func checkDestination(name string) error {
	if name == "" || len(name) > MaxDestinationLength || !utf8.ValidString(name) {
		return ErrBadDestination
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return ErrBadDestination
		}
	}
	return nil
}
