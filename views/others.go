package views

import (
	"context"

	dcmimages "dcmgate/images"
)

// Others are images that are not DICOM; see [images.Store].
type Others interface {
	// ID tells the numbers of one store from those of another.
	ID() string
	LastSequence() uint64
	// Changes lists the images that changed behind a number, each as it is now, in the order of their last changes.
	Changes(ctx context.Context, behind uint64, limit int) ([]dcmimages.Image, error)
	// Address is where the file of an image is found, an http, https or ftp address.
	Address(in *dcmimages.Image) string
}

// OtherRow makes the row of V_DocImage_F for an image. Of one that was withdrawn everything stays, so that it can be
// told which it was; FileState says it.
func (s *Settings) OtherRow(in *dcmimages.Image, address string) Row {
	values := map[string]any{
		"AccessionNumber":  text(in.AccessionNumber),
		"StudyInstanceUID": text(in.StudyInstanceUID),
		"PatID":            text(in.PatID),
		"FilePath":         text(address),
		"FileType":         int64(1), // fixed (4.2.5)
		"ModifyTime":       in.Changed.In(s.location()).Format(dateTimeForm),
	}
	r := Row{Values: make([]any, len(DocImageF.Columns)), Key: rowKey("image", in.ID), State: FileReady, Complete: true, Received: in.Received}
	for i, c := range DocImageF.Columns {
		r.Values[i] = values[c.Name]
		if r.Values[i] == nil {
			r.Gaps, r.Lacking = append(r.Gaps, c.Name+" missing"), true
		}
	}
	if in.Withdrawn {
		r.State, r.Complete = FileWithdrawn, false
	}
	return r
}

// othersBehind is how many changes of images that are not DICOM are to be published.
func (s *session) othersBehind() uint64 {
	if s.o.Others == nil {
		return 0
	}
	last := s.o.Others.LastSequence()
	if s.state.otherStore != s.o.Others.ID() || s.state.otherSequence > last {
		return last // another store, or an older copy of this one: from the begin
	}
	return last - s.state.otherSequence
}

// publishOthers publishes the next changes of images that are not DICOM; more tells that there are further ones. A row that
// is as it should be keeps its number, so to begin anew changes nothing that is right.
func (s *session) publishOthers(ctx context.Context) (more bool, err error) {
	behind := s.othersBehind()
	if behind == 0 {
		return false, nil
	}
	list, err := s.o.Others.Changes(ctx, s.o.Others.LastSequence()-behind, batchChanges)
	if err != nil || len(list) == 0 {
		return false, err
	}
	rows := make([]Row, len(list))
	for i := range list {
		rows[i] = s.o.Settings.OtherRow(&list[i], s.o.Others.Address(&list[i]))
	}
	err = s.update(ctx, func(w *writer) error {
		w.state.otherStore, w.state.otherSequence = s.o.Others.ID(), list[len(list)-1].Sequence
		return w.put(others, rows, s.o.Settings.Hold)
	})
	return len(list) == batchChanges, err
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
