package dropfolder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Codes of files that are no instances to take.
const (
	CodeNotDICOM   = "not-dicom"
	CodeMalformed  = "malformed"   // File Meta Information
	CodeNoIdentity = "no-identity" // SOP class or instance is missing
	CodeDirectory  = "directory"   // DICOMDIR
	CodeRefused    = "refused"     // SOP class or transfer syntax, by configuration
	CodeIncomplete = "incomplete"  // the data set is cut short
)

// InstanceCodes are those of [Instances], for [Options].
var InstanceCodes = []string{CodeNotDICOM, CodeMalformed, CodeNoIdentity, CodeDirectory, CodeRefused, CodeIncomplete}

// mediaStorageDirectory is the SOP class of a DICOMDIR (PS3.10 8.6, PS3.4 table I.4-1).
const mediaStorageDirectory dicom.UID = "1.2.840.10008.1.3.10"

const (
	copyBuffer = 128 << 10
	headBuffer = 16 << 10
	maxUID     = 128                    // bytes; far more than PS3.5 9.1 allows, as in C-STORE
	slowPause  = 100 * time.Millisecond // before each file while room is short
	lastWait   = 30 * time.Second       // longest pause before an incomplete file is read again
	waitShare  = 10                     // of the time that it has been as it is
)

// Store is what taking instances needs of a spool.
type Store interface {
	Begin(in spool.Incoming) (*spool.Writer, error)
	Pressure() spool.Level
}

// InstanceOptions are the settings of Instances.
type InstanceOptions struct {
	Store          Store
	Folder         string        // name, which instances count as coming from in place of an address
	CallingAETitle string        // that they count as coming from
	CalledAETitle  string        // the gateway's own
	Patience       time.Duration // for files that are cut short to go on
	// Accepts tells whether instances of a SOP class in a transfer syntax are taken at all.
	Accepts func(class, transferSyntax dicom.UID) bool
	// Jobs are the deliveries that an instance is due.
	Jobs func() []spool.JobSpec
	// Stored is told of each instance that was committed.
	Stored func(spool.Receipt)
}

// Instances takes DICOM files into a spool as if they had been received by C-STORE: the data set goes there unchanged, an
// instance that is there already is recognised, and the file counts as taken once the instance is durable.
type Instances struct{ o InstanceOptions }

// NewInstances makes a handler; its method Take is a [Handler].
func NewInstances(o InstanceOptions) *Instances { return &Instances{o} }

var buffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// Take is a [Handler].
func (i *Instances) Take(ctx context.Context, f *File) Verdict {
	switch level := i.o.Store.Pressure(); {
	case level >= spool.LevelReject:
		return Hold("the spool is nearly full; free space on its disk, raise spool.quota, or see to destinations that do not take their instances")
	case level >= spool.LevelSlow:
		select {
		case <-time.After(slowPause):
		case <-ctx.Done():
			return Retry(ctx.Err())
		}
	}
	r := bufio.NewReaderSize(f, headBuffer)
	meta, _, err := dicom.ReadFileMeta(r)
	if err != nil {
		return i.unreadable(f, err)
	}
	if v, refused := i.refuse(f, &meta); refused {
		return v
	}
	return i.store(ctx, f, r, &meta)
}

// unreadable judges a file whose head makes no sense.
func (i *Instances) unreadable(f *File, err error) Verdict {
	var format *dicom.FormatError
	switch {
	case errors.Is(err, dicom.ErrNotDICOM):
		return Rejected(CodeNotDICOM, "it is no DICOM file")
	case errors.As(err, &format):
		return i.patiently(f, Rejected(CodeMalformed, "its File Meta Information cannot be read: "+format.Error()))
	}
	return Retry(err)
}

// patiently waits for a file that may go on; its copying may have stalled.
func (i *Instances) patiently(f *File, v Verdict) Verdict {
	if f.Unchanged < i.o.Patience {
		return Wait(min(f.Unchanged/waitShare, lastWait))
	}
	return v
}

// refuse judges by the File Meta Information.
func (i *Instances) refuse(f *File, meta *dicom.FileMeta) (v Verdict, refused bool) {
	switch {
	case meta.SOPClassUID == mediaStorageDirectory, meta.SOPClassUID == "" && strings.EqualFold(path.Base(f.Path), "DICOMDIR"):
		return Rejected(CodeDirectory, "it is a DICOMDIR, the directory of a medium, and no instance; the files that it lists are taken by themselves, so it may be deleted"), true
	case !usable(meta.SOPClassUID) || !usable(meta.SOPInstanceUID):
		return Rejected(CodeNoIdentity, "it does not say which SOP class or which SOP instance it is"), true
	case !i.o.Accepts(meta.SOPClassUID, meta.TransferSyntaxUID):
		return Rejected(CodeRefused, fmt.Sprintf("its SOP class %.64q or transfer syntax %.64q is not taken; see dicom.sop_classes and dicom.transfer_syntaxes",
			meta.SOPClassUID, meta.TransferSyntaxUID)), true
	}
	return Verdict{}, false
}

// usable tells whether a UID can identify anything.
func usable(uid dicom.UID) bool {
	return uid != "" && len(uid) <= maxUID && !strings.ContainsFunc(string(uid), func(r rune) bool { return r <= ' ' || r > '~' })
}

// store copies the data set and commits the instance.
func (i *Instances) store(ctx context.Context, f *File, r io.Reader, meta *dicom.FileMeta) Verdict {
	w, err := i.o.Store.Begin(spool.Incoming{
		SOPClassUID: meta.SOPClassUID, SOPInstanceUID: meta.SOPInstanceUID, TransferSyntaxUID: meta.TransferSyntaxUID,
		CallingAETitle: i.o.CallingAETitle, CalledAETitle: i.o.CalledAETitle, RemoteAddress: "folder " + i.o.Folder, AssociationID: "drop",
	})
	if err != nil {
		return notStored(err)
	}
	defer w.Abort()
	extent := dicom.NewExtent(meta.TransferSyntaxUID)
	if read, stored := copyDataSet(ctx, w, extent, r); stored != nil {
		return notStored(stored)
	} else if read != nil {
		return Retry(read)
	}
	if err := f.Changed(); err != nil {
		return Retry(err)
	}
	switch extent.End() {
	case dicom.EndCut:
		return i.patiently(f, Rejected(CodeIncomplete, "it is incomplete: it ends in the middle of its data set; copy it again"))
	case dicom.EndOpen: // some writers leave the last delimiters out
		if f.Unchanged < i.o.Patience {
			return i.patiently(f, Verdict{})
		}
	}
	receipt, err := w.Commit(i.o.Jobs())
	if err != nil {
		return notStored(err)
	}
	i.o.Stored(receipt)
	return Taken()
}

// copyDataSet copies to its end, and tells failures of the file from those of the spool.
func copyDataSet(ctx context.Context, w *spool.Writer, extent *dicom.Extent, r io.Reader) (read, stored error) {
	buffer := buffers.Get().(*[copyBuffer]byte)
	defer buffers.Put(buffer)
	for ctx.Err() == nil {
		n, err := r.Read(buffer[:])
		if _, err := w.Write(buffer[:n]); err != nil {
			return nil, err
		}
		_, _ = extent.Write(buffer[:n]) // takes everything
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
	return ctx.Err(), nil
}

// notStored holds the folder: whatever a spool cannot do concerns all files.
func notStored(err error) Verdict {
	if errors.Is(err, spool.ErrFull) {
		return Hold("the spool is full; free space on its disk, raise spool.quota, or see to destinations that do not take their instances")
	}
	return Hold(fmt.Sprintf("storing fails: %v", err))
}
