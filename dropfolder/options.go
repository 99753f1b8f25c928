package dropfolder

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"
)

// Bounds of one folder.
const (
	maxCandidates = 10_000  // files known at a time; further ones are found once there is room
	maxDepth      = 16      // of sub-folders
	maxWatches    = 1_000   // folders with notifications; the others are found by rescans
	maxRejected   = 100_000 // files that are counted among those moved aside
	batch         = 1_000   // files handled before it is looked for new ones
	maxWorkers    = 64
)

// Options are a Watcher's settings.
type Options struct {
	Name     string // of the folder in logs, metrics and status
	Folder   string // absolute path
	Rejected string // absolute path of the folder for what is not taken; "": Folder/rejected
	Done     string // absolute path of the folder for what was taken; "": it is removed

	Quiet    time.Duration // a file that has not changed for as long is complete; 0: 2 seconds
	Rescan   time.Duration // it is looked for files at least as often; 0: 10 seconds
	Patience time.Duration // for files that are empty or cannot be read to change; 0: 10 minutes
	MaxSize  int64         // bytes of a file; 0: no limit
	Workers  int           // calls of the handler at once, 1 to 64; 0: 1
	Codes    []string      // that the handler rejects with, so that the metric has them from the begin
	// Aside is told of each file that was moved aside, by code, for an audit trail; it returns at once. nil tells nobody.
	Aside func(code string)

	Logger  *slog.Logger // nil discards
	Metrics *Metrics     // nil counts nothing
}

// Default folders below the one that is watched.
const (
	RejectedFolder = "rejected"
	DoneFolder     = "done"
)

func (o *Options) complete() error {
	if o.Rejected == "" {
		o.Rejected = filepath.Join(o.Folder, RejectedFolder)
	}
	for _, path := range []string{o.Folder, o.Rejected, o.Done} {
		if path != "" && !filepath.IsAbs(path) {
			return errors.New("drop folder: " + path + " is not an absolute path")
		}
	}
	setDefault(&o.Quiet, 2*time.Second)
	setDefault(&o.Rescan, 10*time.Second)
	setDefault(&o.Patience, 10*time.Minute)
	o.Workers = min(max(o.Workers, 1), maxWorkers)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("folder", o.Name)
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Handler decides about one complete file. It must not close or keep it. With several workers it is called by as many
// goroutines. ctx ends when the Watcher is to stop; whatever the verdict, a file is left where it is then unless it was taken.
type Handler func(ctx context.Context, f *File) Verdict

// Verdict is what becomes of a file. Make it with [Taken], [Rejected], [Wait], [Retry] or [Hold].
type Verdict struct {
	kind   kind
	code   string
	reason string
	err    error
	pause  time.Duration
	with   []*File
}

// With has the verdict hold for files of [File.Sibling], too.
func (v Verdict) With(siblings ...*File) Verdict {
	v.with = append(v.with, siblings...)
	return v
}

type kind int

const (
	taken kind = iota + 1
	rejected
	wait
	retry
	hold
)

// Taken says that what the file holds is safe: it may leave the folder.
func Taken() Verdict { return Verdict{kind: taken, code: "taken"} }

// Rejected says that the file never will be taken: it is moved aside. The code is one of few, for the metric; the reason is for
// the person who has put the file there, in words, with what to do about it, and for the log: it must hold no patient data.
func Rejected(code, reason string) Verdict {
	return Verdict{kind: rejected, code: code, reason: reason}
}

// Wait says that the file, or what belongs to it, is not complete yet. It is looked at again after the pause, no less than the
// quiet time, and earlier if it has changed. The handler has to end the waiting, by [File.Unchanged].
func Wait(pause time.Duration) Verdict { return Verdict{kind: wait, pause: pause} }

// Retry says that the file could not be read or judged; the others go on. It is tried again with growing pauses. The error is
// for the log and the status, without patient data. [ErrChanged] says that the file is not complete.
func Retry(err error) Verdict { return Verdict{kind: retry, err: err} }

// Hold says that nothing can be taken at present, for want of room as a rule. All files stay where they are, and it is tried
// again with growing pauses.
func Hold(reason string) Verdict { return Verdict{kind: hold, reason: reason} }

// Codes of files that are moved aside without asking the handler.
const (
	CodeEmpty      = "empty"      // 0 bytes
	CodeLink       = "link"       // symbolic, or one of several hard links
	CodeSpecial    = "special"    // FIFO, device or socket
	CodeTooLarge   = "too-large"  // than Options.MaxSize
	CodeUnreadable = "unreadable" // for want of permission
)

// resultTaken is the result of files that were taken, beside the codes.
const resultTaken = "taken"
