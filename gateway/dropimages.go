package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"dcmgate/dropfolder"
	"dcmgate/images"
)

// Codes of files in a folder of images that are not taken.
const (
	codeNotImage      = "not-image"
	codeNoIdentifiers = "no-identifiers"
	codeNoImage       = "no-image" // to a file of identifiers
)

var imageCodes = []string{codeNotImage, codeNoIdentifiers, codeNoImage}

// sidecarSuffix ends the names of files of identifiers: IMAGE.json, or the image's name with this in place of its own suffix.
const sidecarSuffix = ".json"

// imageSuffixes are those of the images that a file of identifiers may be looked for by.
var imageSuffixes = []string{".jpg", ".jpeg", ".png", ".bmp", ".JPG", ".JPEG", ".PNG", ".BMP"}

// imageFolder takes images that are not DICOM, each with a file of its identifiers beside it, whichever comes first.
type imageFolder struct {
	store    *images.Store
	patience time.Duration
	stored   func(*images.Image)
}

// take is a [dropfolder.Handler].
func (i *imageFolder) take(ctx context.Context, f *dropfolder.File) dropfolder.Verdict {
	base := path.Base(f.Path)
	if strings.HasSuffix(base, sidecarSuffix) {
		return i.sidecar(f, strings.TrimSuffix(base, sidecarSuffix))
	}
	sidecar, err := firstSibling(f, base+sidecarSuffix, strings.TrimSuffix(base, path.Ext(base))+sidecarSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return i.patiently(f, dropfolder.Rejected(codeNoIdentifiers, "there is no file of identifiers beside it; put one there, named as the image with .json behind it, which holds "+
			`{"AccessionNumber": "...", "StudyInstanceUID": "...", "PatID": "..."}`))
	}
	if err != nil {
		return dropfolder.Retry(err)
	}
	defer sidecar.Close()
	text, err := io.ReadAll(io.LimitReader(sidecar, images.MaxSidecar+1))
	if err != nil {
		return dropfolder.Retry(err)
	}
	id, err := images.ParseSidecar(text)
	if err != nil { // it may still be being written
		return i.patiently(f, dropfolder.Rejected(codeNoIdentifiers, "its file of identifiers cannot be used: "+err.Error()).With(sidecar))
	}
	return i.add(ctx, f, sidecar, id)
}

// sidecar waits for the image to a file of identifiers: whoever looks at that takes both.
func (i *imageFolder) sidecar(f *dropfolder.File, name string) dropfolder.Verdict {
	names := []string{name}
	for _, suffix := range imageSuffixes {
		names = append(names, name+suffix)
	}
	image, err := firstSibling(f, names...)
	if err == nil {
		image.Close()
		return dropfolder.Wait(time.Second)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return dropfolder.Retry(err)
	}
	return i.patiently(f, dropfolder.Rejected(codeNoImage, "there is no image beside it that it names"))
}

func (i *imageFolder) add(ctx context.Context, f, sidecar *dropfolder.File, id images.Identifiers) dropfolder.Verdict {
	in, _, err := i.store.Add(ctx, images.Incoming{Source: images.FromFolder, Identifiers: id, Body: f})
	switch {
	case err == nil:
		i.stored(&in)
		return dropfolder.Taken().With(sidecar)
	case ctx.Err() != nil:
		return dropfolder.Retry(ctx.Err())
	case errors.Is(err, images.ErrTooLarge):
		return dropfolder.Rejected(dropfolder.CodeTooLarge, "it is larger than images.max_size").With(sidecar)
	case images.Refusal(err): // its copying may have stalled
		return i.patiently(f, dropfolder.Rejected(codeNotImage, "it is no image that is taken: "+err.Error()).With(sidecar))
	case errors.Is(err, images.ErrFull):
		return dropfolder.Hold("there is no room for images; free space on the disk of data_dir, or raise spool.quota")
	}
	return dropfolder.Hold(fmt.Sprintf("storing fails: %v", err))
}

// patiently waits for a file that may go on, or for what belongs to it.
func (i *imageFolder) patiently(f *dropfolder.File, v dropfolder.Verdict) dropfolder.Verdict {
	if f.Unchanged < i.patience {
		return dropfolder.Wait(min(f.Unchanged/10, 30*time.Second))
	}
	return v
}

// firstSibling opens the first of some files that there is.
func firstSibling(f *dropfolder.File, names ...string) (sibling *dropfolder.File, err error) {
	for _, name := range names {
		if sibling, err = f.Sibling(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return sibling, err
		}
	}
	return nil, fs.ErrNotExist
}
