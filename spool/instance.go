package spool

import (
	"fmt"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool/segment"
)

// InstanceID names a stored instance for ever. IDs rise strictly in the order in which instances were committed, over
// restarts and over clocks that step back, so that their order is the order of arrival. The upper 44 bits are
// milliseconds since 1970, the lower 20 a sequence.
type InstanceID uint64

// String gives 16 hexadecimal digits.
func (id InstanceID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Priority is that of PS3.7 E.1, Priority (0000,0700).
type Priority uint8

// The values of Priority (0000,0700).
const (
	PriorityMedium Priority = 0
	PriorityHigh   Priority = 1
	PriorityLow    Priority = 2
)

// String names the priority as PS3.7 does.
func (p Priority) String() string {
	switch p {
	case PriorityHigh:
		return "HIGH"
	case PriorityLow:
		return "LOW"
	}
	return "MEDIUM"
}

// class orders priorities: lower goes first. Unknown values count as MEDIUM.
func (p Priority) class() uint8 {
	switch p {
	case PriorityHigh:
		return 0
	case PriorityLow:
		return 2
	}
	return 1
}

func priorityOfClass(class uint8) Priority {
	switch class {
	case 0:
		return PriorityHigh
	case 2:
		return PriorityLow
	}
	return PriorityMedium
}

// Incoming is what is known of an instance before its data set: the command set's and the association's part. Strings
// longer than 128 bytes are cut.
type Incoming struct {
	SOPClassUID       dicom.UID // Affected SOP Class UID (0000,0002)
	SOPInstanceUID    dicom.UID // Affected SOP Instance UID (0000,1000)
	TransferSyntaxUID dicom.UID // of the presentation context
	CallingAETitle    string
	CalledAETitle     string
	RemoteAddress     string
	Priority          Priority

	MoveOriginatorAETitle   string // (0000,1030), if the instance comes from a C-MOVE
	MoveOriginatorMessageID uint16 // (0000,1031)
	AssociationID           string // for the records
	// Requested says that it comes from an archive that has it, because somebody wanted to see it here: without jobs it can
	// be evicted at any time.
	Requested bool
}

// Flags are notes about an instance that an operator may want to see.
type Flags uint32

// What was noticed about an instance when it was stored.
const (
	// FlagNoStudy and FlagNoSeries: the data set holds no Study or Series Instance UID; it is stored without.
	FlagNoStudy Flags = 1 << iota
	FlagNoSeries
	// FlagUIDMismatch: the SOP Class or Instance UID of the data set differs from the command's, which counts.
	FlagUIDMismatch
	// FlagMalformed: the data set could not be followed up to the pixel data; the bytes are kept as they came.
	FlagMalformed
	// FlagInvalidUID: an identifying UID is not as PS3.5 9.1 wants it.
	FlagInvalidUID
	// FlagTrimmed: not all scanned elements fitted into the index.
	FlagTrimmed
	// FlagNewVersion: another content was stored under the same UIDs before.
	FlagNewVersion
	// FlagRestored: the same content had been stored and evicted, or damaged, before.
	FlagRestored
	// FlagDamaged: the record on disk is not whole. The instance is not delivered, and the next copy that comes is stored
	// in its place.
	FlagDamaged
	// FlagRequested: Incoming.Requested.
	FlagRequested
)

// InstanceState says whether the bytes are there.
type InstanceState uint8

// States of an instance.
const (
	InstanceStored  InstanceState = 0
	InstanceEvicted InstanceState = 1 // only its custody record is left
)

// String names the state.
func (s InstanceState) String() string {
	if s == InstanceEvicted {
		return "evicted"
	}
	return "stored"
}

// Instance is a stored SOP instance as the index knows it.
type Instance struct {
	ID                InstanceID
	StudyInstanceUID  dicom.UID // empty if the data set has none
	SeriesInstanceUID dicom.UID // likewise
	SOPInstanceUID    dicom.UID
	SOPClassUID       dicom.UID
	TransferSyntaxUID dicom.UID
	Size              int64    // of the data set, bytes
	HeaderLength      int64    // of preamble, "DICM" and File Meta before it, bytes
	Digest            [32]byte // SHA-256 of the data set
	Received          time.Time
	Evicted           time.Time // zero while stored
	State             InstanceState
	Flags             Flags
	Priority          Priority

	CallingAETitle          string
	CalledAETitle           string
	RemoteAddress           string
	MoveOriginatorAETitle   string
	MoveOriginatorMessageID uint16
	AssociationID           string

	// Metadata holds the scanned elements. It is shared: do not change it. Empty once evicted.
	Metadata Metadata

	jobs     []jobEntry // as decided when it was stored
	checksum checksum
	restores InstanceID // the evicted or damaged copy that this one replaces
	location segment.Location
}

// Destinations lists where the instance was to go when it was stored.
func (in *Instance) Destinations() []string {
	out := make([]string, 0, len(in.jobs))
	for _, j := range in.jobs {
		out = append(out, j.destination)
	}
	return out
}

// unrouted tells an instance that nobody was to get, and of which nobody else can be relied on to have a copy.
func (in *Instance) unrouted() bool { return len(in.jobs) == 0 && in.Flags&FlagRequested == 0 }

// jobEntry is a job as the instance's own record lists it.
type jobEntry struct {
	destination string
	class       uint8
	delivered   bool // carried over from the copy that this instance restores
	committed   bool // likewise, if delivered
}

// state is that of the job when it comes to be.
func (j jobEntry) state() JobState {
	switch {
	case j.committed:
		return JobCommitted
	case j.delivered:
		return JobDelivered
	}
	return JobPending
}

// What the state of a job is encoded as in a record's metadata.
const (
	jobToDo = iota
	jobCarried
	jobCarriedCommitted
)

func (j jobEntry) encodedState() byte {
	switch j.state() {
	case JobCommitted:
		return jobCarriedCommitted
	case JobDelivered:
		return jobCarried
	}
	return jobToDo
}

// Outcome of storing.
type StoreOutcome uint8

// What Commit did with an instance.
const (
	// Stored: new; its jobs exist.
	Stored StoreOutcome = iota
	// Duplicate: the same bytes in the same transfer syntax are stored already; nothing was written.
	Duplicate
	// NewVersion: other content under the same UIDs; both are kept, the new one has its jobs.
	NewVersion
	// Restored: the same content was stored before and evicted or damaged, or came on request and nobody was to get it; the
	// copy takes its place, and jobs exist only for destinations that it was never delivered to.
	Restored
)

// String names the outcome.
func (o StoreOutcome) String() string {
	return [...]string{"stored", "duplicate", "new version", "restored"}[o&3]
}

// Receipt is what Commit promises: the instance it names survives loss of power.
type Receipt struct {
	Instance Instance // for a Duplicate the copy that was there first
	Outcome  StoreOutcome
}
