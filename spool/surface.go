package spool

import (
	"context"
	"io"
	"iter"
	"os"
	"time"

	"dcmgate/dicom"
)

type Spool struct{}

func Open(dir string, o Options) (*Spool, error) { panic("x") }
func (s *Spool) Close() error                    { panic("x") }

// Recovery says what Open found.
type Recovery struct {
	Replayed      int           // records that had been acknowledged but not indexed
	ReplayedBytes int64         // of these
	Torn          int           // records that were being written, never acknowledged, now in quarantine
	Damaged       int           // ranges that hold no whole record, left in place
	Unreadable    int           // whole records whose metadata cannot be understood, left in place
	Quarantined   []string      // files made for the torn ones
	Duration      time.Duration // of Open
}

func (s *Spool) Recovery() Recovery { panic("x") }

func (s *Spool) Begin(in Incoming) (*Writer, error) { panic("x") }

type Writer struct{}

func (w *Writer) Write(p []byte) (int, error)            { panic("x") }
func (w *Writer) Size() int64                            { panic("x") }
func (w *Writer) Metadata() Metadata                     { panic("x") }
func (w *Writer) Commit(jobs []JobSpec) (Receipt, error) { panic("x") }
func (w *Writer) Abort()                                 { panic("x") }

func (s *Spool) Instance(id InstanceID) (Instance, error) { panic("x") }

// Lookup returns the versions stored under the three UIDs, oldest first, evicted ones included.
func (s *Spool) Lookup(study, series, sop dicom.UID) ([]Instance, error) { panic("x") }

// Instances yields stored instances of a study (series "": of all its series) in order of series and arrival.
func (s *Spool) Instances(study, series dicom.UID) iter.Seq2[Instance, error] { panic("x") }
func (s *Spool) Open(id InstanceID) (*Reader, error)                          { panic("x") }

type Reader struct{}

func (r *Reader) Instance() Instance                      { panic("x") }
func (r *Reader) ReadAt(p []byte, off int64) (int, error) { panic("x") }
func (r *Reader) WriteTo(w io.Writer) (int64, error)      { panic("x") }
func (r *Reader) DataSet() *io.SectionReader              { panic("x") }
func (r *Reader) Size() int64                             { panic("x") }
func (r *Reader) HeaderLength() int64                     { panic("x") }
func (r *Reader) File() (*os.File, error)                 { panic("x") }
func (r *Reader) Close() error                            { panic("x") }

// Level grades back-pressure.
type Level int32

const (
	LevelNone   Level = iota // room enough
	LevelSlow                // answer bulk senders slower
	LevelReject              // refuse new associations transiently
	LevelFull                // Begin answers ErrFull
)

func (l Level) String() string                    { panic("x") }
func (s *Spool) Pressure() Level                  { panic("x") }
func (s *Spool) PressureChanged() <-chan struct{} { panic("x") }

// Health returns nil while writes succeed.
func (s *Spool) Health() error { panic("x") }

type Stats struct {
	Instances, Evicted                               int64
	Bytes                                            int64 // of live records
	EvictableBytes                                   int64
	AllocatedBytes, PoolBytes, FreeBytes, TotalBytes int64
	IndexBytes                                       int64
	Segments, Lanes                                  int
	Pending                                          int // committed, not indexed yet
	LastSequence                                     uint64
	Pressure                                         Level
	Healthy                                          bool
	Oldest                                           time.Time
}

func (s *Spool) Stats() Stats { panic("x") }

// ChangeKind says what happened to an instance.
type ChangeKind uint8

const (
	ChangeStored ChangeKind = iota + 1
	ChangeNewVersion
	ChangeRestored
	ChangeEvicted
)

// Change is one entry of the gap-free sequence.
type Change struct {
	Sequence uint64
	Kind     ChangeKind
	ID       InstanceID
	At       time.Time
}

func (s *Spool) Changes(after uint64, limit int) ([]Change, error) { panic("x") }

// Problem is one finding of Verify.
type Problem struct {
	ID             InstanceID
	SOPInstanceUID dicom.UID
	What           string
}

type Report struct {
	Instances    int64 // checked
	Bytes        int64
	Problems     []Problem // at most 1000
	ProblemCount int64
	Duration     time.Duration
}

func (s *Spool) Verify(ctx context.Context, progress func(done, total int64)) (Report, error) {
	panic("x")
}

type RebuildReport struct {
	Instances           int64
	Jobs                int64
	OutcomesKept        int64 // taken over from the old index
	OldIndexRead        bool
	Unreadable, Damaged int
	Duration            time.Duration
}

func Rebuild(ctx context.Context, dir string, o Options, progress func(done, total int64)) (RebuildReport, error) {
	panic("x")
}
