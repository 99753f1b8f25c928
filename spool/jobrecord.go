package spool

import (
	"encoding/binary"
	"time"
	"unicode"
	"unicode/utf8"
)

const jobVersion = 1

// jobRecord is the value of a j key:
//
//	version1 state1 class1 attempts4 status2 enqueued8(ms) due8(ms) updated8(ms) s code, s reason
//
// A pending job is under a w key if due is set, else under a q key.
type jobRecord struct {
	state    JobState
	class    uint8
	attempts uint32
	status   uint16
	enqueued int64
	due      int64
	updated  int64
	code     string
	reason   string
}

func (r *jobRecord) append(b []byte) []byte {
	b = append(b, jobVersion, byte(r.state), r.class)
	b = binary.BigEndian.AppendUint32(b, r.attempts)
	b = binary.BigEndian.AppendUint16(b, r.status)
	b = binary.BigEndian.AppendUint64(b, uint64(r.enqueued))
	b = binary.BigEndian.AppendUint64(b, uint64(r.due))
	b = binary.BigEndian.AppendUint64(b, uint64(r.updated))
	return appendString(appendString(b, r.code), r.reason)
}

func decodeJob(b []byte) (jobRecord, error) {
	d := decoder{b: b}
	if d.byte() != jobVersion {
		return jobRecord{}, errBadRecord
	}
	r := jobRecord{state: JobState(d.byte()), class: d.byte(), attempts: d.uint32()}
	if v := d.take(2); v != nil {
		r.status = binary.BigEndian.Uint16(v)
	}
	r.enqueued, r.due, r.updated = int64(d.uint64()), int64(d.uint64()), int64(d.uint64())
	r.code, r.reason = d.str(), d.str()
	if d.bad || len(d.b) != 0 {
		return jobRecord{}, errBadRecord
	}
	return r, nil
}

// terminal tells that the job no longer holds its instance back from eviction.
func (s JobState) terminal() bool { return s == JobDelivered || s == JobDropped }

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
		r.state, r.code = JobDelivered, "carried-over"
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
