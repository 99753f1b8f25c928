package segment

import (
	"errors"
	"io"
	"os"
	"time"
)

// Sizes and limits that are part of the format.
const (
	// Alignment is the block size at which records start and end, so that a torn write of one record never touches
	// its neighbour.
	Alignment = 4096
	// MaxMeta is the greatest length of a record's metadata in bytes.
	MaxMeta = 64 << 10
	// MaxHeader is the greatest length of a payload's Part 10 header (preamble, "DICM" and File Meta) in bytes.
	MaxHeader = Alignment - headerSize
)

const headerSize = 64

var (
	// ErrNoSpace says that the file system has no room; errors.Is(err, syscall.ENOSPC) holds as well where the
	// kernel said so. Nothing was written that counts, and the caller may try again when there is room.
	ErrNoSpace = errors.New("segment: no space left for records")
	// ErrTooManyWriters says that Options.MaxLanes writers are open.
	ErrTooManyWriters = errors.New("segment: too many writers at once")
	// ErrGone says that a location holds its record no more: freed, or its segment was recycled.
	ErrGone = errors.New("segment: record is gone")
	// ErrDamaged says that a record's bytes are not those that were committed; see DamageError.
	ErrDamaged = errors.New("segment: record is damaged")
	// ErrLocked says that another process has the directory; see LockError.
	ErrLocked = errors.New("segment: directory is in use")
	// ErrClosed says that the store or writer was closed.
	ErrClosed = errors.New("segment: closed")
	// ErrNotReplayed says that Begin was called before Replay had found where writing goes on.
	ErrNotReplayed = errors.New("segment: not replayed yet")
	// ErrInUse says that a segment cannot be recycled because a lane still writes to it.
	ErrInUse = errors.New("segment: segment is being written")
)

// ID names a segment, and with it its file. IDs are never given twice in the life of a directory.
type ID uint32

// Location says where a committed record is. It is what an index keeps; every field is needed to open the record, and
// none changes in the record's life.
type Location struct {
	Segment       ID
	Generation    uint64 // of the segment when the record was written; grows through the whole store
	Offset        int64  // of the record in the segment, a multiple of Alignment
	Length        int64  // of the whole record on disk, a multiple of Alignment
	PayloadLength int64  // bytes given to Writer.Write
	HeaderLength  int64  // the part of the payload before the data set
}

// PayloadOffset is where the payload begins in the segment's file.
func (l Location) PayloadOffset() int64 { return l.Offset + headerSize }

// Next is the checkpoint to keep once this record and all before it in its segment are in the index.
func (l Location) Next() Checkpoint {
	return Checkpoint{Generation: l.Generation, Offset: l.Offset + l.Length}
}

// Checkpoint says how far a segment is known to the index. Replay looks only behind it.
type Checkpoint struct {
	Generation uint64
	Offset     int64
}

// Record is a committed record as Replay and ScanAll report it. Meta is valid during the call only.
type Record struct {
	Location Location
	Meta     []byte
	Digest   [32]byte // SHA-256 of the data set: the payload from HeaderLength on
}

// Options are a store's settings. The zero value of each field means its default.
type Options struct {
	SegmentSize  int64            // nominal size of a segment in bytes; 256 MiB
	AllocateStep int64            // bytes reserved ahead of a lane's offset before data is accepted; 32 MiB
	MaxLanes     int              // writers at once; 256
	PoolBytes    int64            // bytes of dead segments kept to be written again; 1 GiB; negative: none
	MaxOpenFiles int              // descriptors kept open for reading beside those in use; 64
	Now          func() time.Time // names quarantine files; time.Now
}

// Store is a directory of segments. Its methods may be called by many goroutines.
type Store struct{}

// Open takes the directory, creating it if need be, and lists its segments. It reads one block of each and no record.
// A directory that another process has gives a *LockError. Call Replay before Begin.
func Open(dir string, o Options) (*Store, error) { return nil, ErrClosed }

// Close gives up the directory. Open writers are aborted by it; open payloads stay readable until they are closed.
func (s *Store) Close() error { return nil }

// Begin leases a lane and returns a Writer for one record. At least Options.AllocateStep bytes (or what is left of
// the segment, 1 MiB at least) are reserved on disk when it returns. Errors: ErrNoSpace, ErrTooManyWriters, ErrClosed, ErrNotReplayed.
func (s *Store) Begin() (*Writer, error) { return nil, ErrClosed }

// Writer takes one record's payload. It is not for several goroutines at once.
// Every Writer ends with Commit or Abort; Abort after Commit does nothing, so it may be deferred.
type Writer struct{}

// Write appends to the payload. After an error the writer can only be aborted. Errors wrap ErrNoSpace where there is no room.
func (w *Writer) Write(p []byte) (int, error) { return 0, ErrClosed }

// Size is the number of payload bytes taken so far.
func (w *Writer) Size() int64 { return 0 }

// Commit makes the record durable: when it returns nil the record survives loss of power. digest is the SHA-256 of the
// data set, that is of the payload from headerLength on; meta is kept beside it and given back by Replay and ScanAll.
//
// committed, if not nil, is called once the record is durable and before the lane is free for another
// writer: the locations of one segment reach it in ascending order, which is what an index needs to move a checkpoint.
//
// On failure nothing is committed, and the lane is never written again (a failed fdatasync may have dropped pages).
func (w *Writer) Commit(meta []byte, digest [32]byte, headerLength int, committed func(Location)) (Location, error) {
	return Location{}, ErrClosed
}

// Abort abandons the record; the lane's offset goes back.
func (w *Writer) Abort() {}

// Payload reads one record's payload. Its ReadAt may be called by many goroutines. While it is open the record's bytes stay: neither
// Free nor Recycle takes them away.
type Payload struct{}

// OpenPayload opens the payload of a record. It costs one small read, which proves that the record is still there:
// ErrGone if it was freed or its segment has been recycled, a *DamageError if its header is not whole. The digest is not checked.
func (s *Store) OpenPayload(l Location) (*Payload, error) { return nil, ErrGone }

// Size is the payload's length in bytes.
func (p *Payload) Size() int64 { return 0 }

// HeaderLength is the length of the Part 10 header; the data set follows it.
func (p *Payload) HeaderLength() int64 { return 0 }

// ReadAt implements io.ReaderAt over the payload.
func (p *Payload) ReadAt(b []byte, off int64) (int, error) { return 0, io.EOF }

// WriteTo writes the whole payload to w, with sendfile where w is a *net.TCPConn.
func (p *Payload) WriteTo(w io.Writer) (int64, error) { return 0, io.EOF }

// DataSet reads the data set alone.
func (p *Payload) DataSet() *io.SectionReader { return nil }

// File opens a descriptor of its own, positioned at the first payload byte, for sendfile and its like: the
// caller reads Size bytes, closes it, and keeps the Payload open meanwhile.
func (p *Payload) File() (*os.File, error) { return nil, ErrClosed }

// Close gives the record up. Safe to call twice.
func (p *Payload) Close() error { return nil }

// Replay reports every whole record behind the checkpoints to fn, segment by segment in generation order, after
// making sure that it is durable and that its digest is right. It then lets writing go on behind the last one. A segment without a
// checkpoint, or with one of another generation, is read from its start. It is called once, before Begin.
// An error of fn ends it and is returned.
func (s *Store) Replay(from map[ID]Checkpoint, fn func(Record) error) (Report, error) {
	return Report{}, ErrClosed
}

// ScanAll reports every whole record of every segment in use to fn, in generation and offset order, to build an index
// anew; records that were freed are holes and are passed over. Digests are checked. It may be called before Replay.
func (s *Store) ScanAll(fn func(Record) error) (Report, error) { return Report{}, ErrClosed }

// Report says what Replay or ScanAll met.
type Report struct {
	Records     int
	Bytes       int64             // of the records reported, as on disk
	Torn        []Range           // records that were being written, set aside: never acknowledged
	Damaged     []Range           // ranges that hold something that is no whole record although the store says or suggests otherwise; left in place
	Quarantined []string          // files in the quarantine directory made for Torn
	Ends        map[ID]Checkpoint // where each segment's records end
}

// Range is a part of a segment. Reason never holds bytes of the record.
type Range struct {
	Segment ID
	Offset  int64
	Length  int64
	Reason  string
}

// Verify reads a record back and checks all of it: header, Part 10 header, digest, metadata and trailer. ErrGone or a *DamageError.
func (s *Store) Verify(l Location) error { return ErrGone }

// ReadRecord returns a record's metadata and digest as they were committed. ErrGone or a *DamageError.
func (s *Store) ReadRecord(l Location) (Record, error) { return Record{}, ErrGone }

// Free gives a record's blocks back to the file system (at once, or when the last Payload on it is closed) and makes OpenPayload
// answer ErrGone. Freeing what is gone already is no error. The tombstone is the index's: a power cut may bring the bytes back.
func (s *Store) Free(l Location) error { return nil }

// Recycle takes a segment without live records out of use: it goes to the pool, to be overwritten under a new generation once no Payload
// on it is open, or is unlinked. ErrInUse if a lane writes to it (see Info.Open), ErrGone if there is no such segment.
// The caller makes sure that its index refers to no record in it, durably.
func (s *Store) Recycle(id ID) error { return nil }

// Retire closes an open but unleased segment to further records, so that it can be recycled. ErrInUse if a writer has it.
func (s *Store) Retire(id ID) error { return nil }

// Info describes a segment in use.
type Info struct {
	ID         ID
	Generation uint64
	End        int64 // offset behind the last record
	Size       int64 // of the file
	Open       bool  // takes further records
}

// Segments lists the segments in use by generation, oldest first. The pool is not among them.
func (s *Store) Segments() []Info { return nil }

// Stats are figures for metrics and for quota decisions.
type Stats struct {
	Segments     int   // in use
	Allocated    int64 // bytes the file system gave to segments in use and in the pool
	RecordBytes  int64 // written to segments in use, freed ones included
	PoolSegments int
	PoolBytes    int64
	LanesOpen    int   // segments that take further records
	LanesLeased  int   // of these, with a writer
	LanesRetired int   // by a failed write or sync since Open
	FreeBytes    int64 // of the file system, for unprivileged users
	TotalBytes   int64
}

// Stats reads the figures; it costs a statfs and no walk over files.
func (s *Store) Stats() (Stats, error) { return Stats{}, nil }

// LockError says who has the directory.
type LockError struct {
	Dir string
	Err error
}

func (e *LockError) Error() string { return "segment: " + e.Dir + " is in use by another dcmgate" }

// Is reports ErrLocked.
func (e *LockError) Is(target error) bool { return target == ErrLocked }

// Unwrap returns the cause.
func (e *LockError) Unwrap() error { return e.Err }

// DamageError says which record is damaged and how; errors.Is(err, ErrDamaged) holds.
type DamageError struct {
	Range Range
	Err   error // of reading, if that is what failed
}

func (e *DamageError) Error() string { return "segment: record is damaged: " + e.Range.Reason }

// Is reports ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }
