package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// How senders are slowed while room is short (spool.LevelSlow). A sender of
// more than bulkAfter instances over one association has time; a modality
// sending a few images does not notice.
const (
	bulkAfter = 16
	bulkDelay = 100 * time.Millisecond
)

// intake is what receiving needs of the spool.
type intake interface {
	Begin(in spool.Incoming) (intakeWriter, error)
	Pressure() spool.Level
}

// intakeWriter takes one instance: Write its data set, then either Commit or
// Abort. When Commit has returned nil the instance survives loss of power.
type intakeWriter interface {
	io.Writer
	Commit(jobs []spool.JobSpec) (spool.Receipt, error)
	Abort()
}

// spoolIntake is the spool as an intake.
type spoolIntake struct{ *spool.Spool }

func (s spoolIntake) Begin(in spool.Incoming) (intakeWriter, error) {
	w, err := s.Spool.Begin(in)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// storage is the Storage service class as SCP (PS3.4 annex B) for one
// association. Operations may overlap if a window was negotiated.
type storage struct {
	*receiver
	origin spool.Incoming // what all instances of the association share
	caller string         // label of metrics
	log    *slog.Logger
	stored atomic.Int64
	own    chan struct{} // the writer that the association always may have
}

// overlapping bounds the writers that all associations together may have
// beyond one each. An operations window lets an association send its next
// instance while those before are being committed; what is gained by that is
// had with a few, and every writer needs room reserved on disk.
const overlapping = 32

func newStorage(r *receiver, rq *dimse.AssociationRequest) *storage {
	return &storage{
		receiver: r, origin: origin(rq),
		log: r.log.With("association", rq.ID),
		own: make(chan struct{}, 1),
	}
}

// reserve waits until this association may have another writer, and returns
// how to give it back. A sender that stalls in the middle of its data holds up
// nobody else: everybody's own one is never lent.
func (s *storage) reserve(ctx context.Context) (release func(), err error) {
	select {
	case s.own <- struct{}{}: // looked at first, so that the shared ones last
		return func() { <-s.own }, nil
	default:
	}
	select {
	case s.own <- struct{}{}:
		return func() { <-s.own }, nil
	case s.overlap <- struct{}{}:
		return func() { <-s.overlap }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// store takes one instance. The status it returns is only success once the
// spool has committed the instance and the jobs for it.
func (s *storage) store(ctx context.Context, rq *dimse.Request) (dimse.Status, string) {
	var bytes int64
	status, comment := s.receive(ctx, rq, &bytes)
	s.tally.count(status)
	s.callers.instance(s.caller, status, bytes)
	if status != dimse.StatusSuccess {
		s.audit.notStored(&s.origin, status)
	}
	if status == dimse.StatusSuccess && s.stored.Add(1) > bulkAfter && s.intake.Pressure() >= spool.LevelSlow {
		s.slowDown(ctx)
	}
	return status, comment
}

// receive is store but for what follows from the status. bytes becomes how many of the data set were read.
func (s *storage) receive(ctx context.Context, rq *dimse.Request, bytes *int64) (dimse.Status, string) {
	in, status, comment := s.incoming(rq)
	if status != dimse.StatusSuccess {
		s.trouble.caution(s.log, "refused "+status.String(), "instance refused", "status", status, "reason", comment, "sop_instance_uid", printable(in.SOPInstanceUID))
		return status, comment
	}
	data := rq.Data
	if u := s.requestedFrom(&in); u != nil {
		in.Requested = !u.Forward // then it is nobody's but who has asked
		data = u.read(ctx, data, time.Now())
	}
	release, err := s.reserve(ctx)
	if err != nil {
		return dimse.StatusProcessingFailure, "" // the association has ended
	}
	defer release()
	w, err := s.intake.Begin(in)
	if err != nil {
		return s.failed(in, "no writer", err)
	}
	guarded := &failureWriter{w: w}
	if *bytes, err = io.Copy(guarded, data); err != nil {
		w.Abort()
		if guarded.err == nil {
			// The association ended in the middle; nobody is there to answer,
			// and package dimse logs how it ended.
			return dimse.StatusProcessingFailure, ""
		}
		return s.failed(in, "write failed", err)
	}
	var jobs []spool.JobSpec
	if !in.Requested {
		jobs = s.policy.Load().jobs(in.Priority)
	}
	receipt, err := w.Commit(jobs)
	if err != nil {
		return s.failed(in, "commit failed", err)
	}
	s.committed(s.log, &receipt)
	s.audit.stored(&in, &receipt)
	return dimse.StatusSuccess, ""
}

// committed tells those who want to know of an instance that was stored, whichever way it came.
func (r *receiver) committed(log *slog.Logger, receipt *spool.Receipt) {
	in := &receipt.Instance
	if receipt.Outcome == spool.NewVersion {
		r.trouble.caution(log, "new version", "other content under known UIDs; both versions are kept and sent", "sop_instance_uid", printable(in.SOPInstanceUID))
	}
	if r.queries != nil {
		r.queries.Arrived(in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID)
	}
	log.Debug("instance stored", "outcome", receipt.Outcome.String(), "sop_instance_uid", printable(in.SOPInstanceUID))
}

// incoming completes the association's part with the command's. Identifiers
// that are merely malformed are taken: instances of such senders exist, and
// the spool flags them.
func (s *storage) incoming(rq *dimse.Request) (in spool.Incoming, status dimse.Status, comment string) {
	c := &rq.Command
	in = s.origin
	in.SOPClassUID = c.AffectedSOPClassUID
	in.SOPInstanceUID = c.AffectedSOPInstanceUID
	in.TransferSyntaxUID = rq.Context.TransferSyntax
	in.Priority = spool.Priority(c.Priority)
	in.MoveOriginatorAETitle = pdu.TrimAETitle(c.MoveOriginatorAETitle)
	in.MoveOriginatorMessageID = c.MoveOriginatorMessageID
	if in.SOPClassUID == "" {
		in.SOPClassUID = rq.Context.AbstractSyntax
	}
	if in.Priority > spool.PriorityLow {
		in.Priority = spool.PriorityMedium
	}
	switch {
	case !rq.Context.SCP:
		return in, dimse.StatusNotAuthorized, "the requestor has not the SCU role for this SOP class"
	case !usable(in.SOPInstanceUID):
		return in, dimse.StatusInvalidSOPInstance, "Affected SOP Instance UID is missing or not a UID"
	case !usable(in.SOPClassUID):
		return in, dimse.StatusNoSuchSOPClass, "Affected SOP Class UID is not a UID"
	}
	return in, dimse.StatusSuccess, ""
}

// usable reports whether a UID can identify an instance at all. It is far
// laxer than PS3.5 9.1: too long or with leading zeros will do.
func usable(uid dicom.UID) bool {
	return uid != "" && len(uid) <= 128 && !strings.ContainsFunc(string(uid), func(r rune) bool { return r <= ' ' || r > '~' })
}

// lacks are the errors of the spool that pass, each with what the log says of
// it. An index that cannot be written may be so for want of room: the error
// tells.
var lacks = []struct {
	err          error
	key, message string
}{
	{spool.ErrUnhealthy, "index", "instance refused: the index cannot be written"},
	{spool.ErrClosed, "closed", "instance refused: the spool is closed"},
	{spool.ErrFull, "room", "instance refused for want of room"},
	{syscall.ENOSPC, "room", "instance refused for want of room"},
	{syscall.EDQUOT, "room", "instance refused for want of room"},
}

// failed maps an error of the spool to a status. Whatever the spool could not
// do for want of room or health is A700: senders repeat that.
func (s *storage) failed(in spool.Incoming, what string, err error) (dimse.Status, string) {
	for _, lack := range lacks {
		if errors.Is(err, lack.err) {
			s.incidents.note(IncidentStorage, pdu.Printable(in.CallingAETitle), lack.message)
			s.trouble.report(s.log, lack.key, lack.message, "step", what, "error", err, "sop_instance_uid", printable(in.SOPInstanceUID))
			return dimse.StatusOutOfResources, "no room at present"
		}
	}
	s.incidents.note(IncidentStorage, pdu.Printable(in.CallingAETitle), "instance not stored: "+what)
	s.trouble.report(s.log, what, "instance not stored", "step", what, "error", err, "sop_instance_uid", printable(in.SOPInstanceUID))
	return dimse.StatusProcessingFailure, "storing failed; see the gateway's log"
}

// slowDown holds an answer back, no longer than the association lives.
func (s *storage) slowDown(ctx context.Context) {
	t := time.NewTimer(bulkDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// failureWriter remembers a failed write, to tell it from a failed read after
// io.Copy.
type failureWriter struct {
	w   io.Writer
	err error
}

func (f *failureWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		f.err = err
	}
	return n, err
}

// printable bounds a UID from the wire for a log line.
func printable(uid dicom.UID) string { return pdu.Printable(string(uid)) }
