package views

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	dcmimages "dcmgate/images"
)

// ImageSource is where images that are not DICOM are kept; [images.Store] is one.
type ImageSource interface {
	// ID tells the numbers of one store from those of another.
	ID() string
	LastSequence() uint64
	// Changes lists the images that changed behind a number, each as it is now, in the order of their last changes.
	Changes(ctx context.Context, behind uint64, limit int) ([]dcmimages.Image, error)
	// Content opens an image's file, which was compared with its digest.
	Content(ctx context.Context, id string) (*os.File, dcmimages.Image, error)
}

// ImageExporter copies images that are not DICOM into a shared folder, under names that nobody can guess. It implements
// [Others].
type ImageExporter struct {
	ImageSource
	*folder
}

// NewImageExporter makes the folder if it is not there and throws away what an earlier run left half written. prefix is the
// address of the folder, for FilePath.
func NewImageExporter(s ImageSource, h Host, root, prefix string) (*ImageExporter, error) {
	to, err := openFolder(h, root, prefix)
	if err != nil {
		return nil, err
	}
	return &ImageExporter{s, to}, nil
}

// Renamed is the exporter with another prefix, for publishers that take over from those that have this one.
func (e *ImageExporter) Renamed(prefix string) *ImageExporter {
	return &ImageExporter{e.ImageSource, e.renamed(prefix)}
}

// Address implements [Others].
func (e *ImageExporter) Address(in *dcmimages.Image) string { return e.address(in.Name()) }

// Ready implements [Others]. The file is seen whole or not at all, and has the digest that it was received with.
func (e *ImageExporter) Ready(ctx context.Context, in *dcmimages.Image) (FileState, error) {
	err := e.put(ctx, in.Name(), in.Size, in.Received, func(w io.Writer) error {
		f, _, err := e.Content(ctx, in.ID)
		if err != nil {
			return err
		}
		defer f.Close()
		if n, err := io.Copy(w, f); err != nil || n != in.Size {
			return errors.Join(err, fmt.Errorf("%d of %d bytes of an image", n, in.Size))
		}
		return nil
	})
	switch {
	case errors.Is(err, dcmimages.ErrWithdrawn): // since it was listed
		return FileWithdrawn, nil
	case errors.Is(err, dcmimages.ErrNotFound), errors.Is(err, dcmimages.ErrDamaged):
		return FileMissing, nil
	}
	return FileReady, err
}

// Remove implements [Others].
func (e *ImageExporter) Remove(in *dcmimages.Image) error { return e.remove(in.Name(), 0) }
