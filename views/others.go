package views

import (
	"context"

	dcmimages "dcmgate/images"
)

// Others are images that are not DICOM, as they are published. It is used by several publishers at once.
type Others interface {
	ImageSource
	// Address is where the file of an image is found, an http, https or ftp address.
	Address(in *dcmimages.Image) string
	// Ready makes the file be there, if it is not. What it did may be lost until Sync. An error is one that may pass.
	Ready(ctx context.Context, in *dcmimages.Image) (FileState, error)
	// Sync makes durable what Ready has done.
	Sync() error
	// Remove takes the file away; one that is not there is none.
	Remove(in *dcmimages.Image) error
}

// ServedImages are images whose files a server gives out, this gateway's own: nothing is copied. Prefix begins their
// addresses.
type ServedImages struct {
	ImageSource
	Prefix string
}

// Address implements [Others].
func (s ServedImages) Address(in *dcmimages.Image) string { return s.Prefix + in.Name() }

// Ready implements [Others].
func (ServedImages) Ready(context.Context, *dcmimages.Image) (FileState, error) {
	return FileReady, nil
}

// Sync implements [Others].
func (ServedImages) Sync() error { return nil }

// Remove implements [Others].
func (ServedImages) Remove(*dcmimages.Image) error { return nil }

// OtherRow makes the row of V_DocImage_F for an image. Of one that was withdrawn, or cannot be read, everything stays, so
// that it can be told which it is; FileState says it.
func (s *Settings) OtherRow(in *dcmimages.Image, address string, state FileState) Row {
	values := map[string]any{
		"AccessionNumber":  text(in.AccessionNumber),
		"StudyInstanceUID": text(in.StudyInstanceUID),
		"PatID":            text(in.PatID),
		"FilePath":         text(address),
		"FileType":         int64(1), // fixed (4.2.5)
		"ModifyTime":       in.Changed.In(s.location()).Format(dateTimeForm),
	}
	r := Row{Values: make([]any, len(DocImageF.Columns)), Key: rowKey("image", in.ID), State: state, Complete: state == FileReady, Received: in.Received}
	for i, c := range DocImageF.Columns {
		r.Values[i] = values[c.Name]
		if r.Values[i] == nil {
			r.Gaps, r.Lacking = append(r.Gaps, c.Name+" missing"), true
		}
	}
	return r
}

// othersBehind is how many changes of images that are not DICOM are to be published, and behind which number they are.
func (s *session) othersBehind() (n, from uint64) {
	if s.o.Others == nil {
		return 0, 0
	}
	last := s.o.Others.LastSequence()
	if s.state.otherStore != s.o.Others.ID() || s.state.otherSequence > last {
		return last, 0 // another store, or an older copy of this one: from the begin
	}
	return last - s.state.otherSequence, s.state.otherSequence
}

// publishOthers publishes the next changes of images that are not DICOM; more tells that there are further ones. A row that
// is as it should be keeps its number, so to begin anew changes nothing that is right.
func (s *session) publishOthers(ctx context.Context) (more bool, err error) {
	behind, from := s.othersBehind()
	if behind == 0 {
		return false, nil
	}
	list, err := s.o.Others.Changes(ctx, from, batchChanges)
	if err != nil || len(list) == 0 {
		return false, err
	}
	rows := make([]Row, len(list))
	for i := range list {
		state, err := s.placeOther(ctx, &list[i])
		if err != nil {
			return false, err
		}
		rows[i] = s.o.Settings.OtherRow(&list[i], s.o.Others.Address(&list[i]), state)
	}
	if err := s.o.Others.Sync(); err != nil {
		return false, err
	}
	err = s.update(ctx, func(w *writer) error {
		w.state.otherStore, w.state.otherSequence = s.o.Others.ID(), list[len(list)-1].Sequence
		return w.put(others, rows, s.o.Settings.Hold)
	})
	return len(list) == batchChanges, err
}

// placeOther sees to the file of an image before its row is written: there if it is to be shown, and gone if it is not,
// even if the database that says so cannot be written.
func (s *session) placeOther(ctx context.Context, in *dcmimages.Image) (FileState, error) {
	if in.Withdrawn {
		return FileWithdrawn, s.o.Others.Remove(in)
	}
	return s.o.Others.Ready(ctx, in)
}

// rebuildOthers publishes all images that are not DICOM again.
func (s *session) rebuildOthers(ctx context.Context) error {
	if s.o.Others == nil {
		return nil
	}
	if err := s.update(ctx, func(w *writer) error { w.state.otherStore = ""; return nil }); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = s.publishOthers(ctx); err != nil {
			return err
		}
	}
	return nil
}
