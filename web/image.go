package web

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"

	"dcmgate/images"
)

// ImagePath is where the addresses of images that are not DICOM begin. It is short: the standard gives an address 64
// characters (4.2.5).
const ImagePath = "/i/"

// Images are images that are not DICOM; [images.Store] is one.
type Images interface {
	// Content opens an image's file, which was compared with its digest. The caller closes it.
	Content(ctx context.Context, id string) (*os.File, images.Image, error)
}

// image serves an image that is not DICOM. Its name, which nobody can guess, is the permission: the standard has the
// cloud fetch it without a signature.
func (x *exchange) image() {
	id, kind, _ := strings.Cut(x.r.PathValue("name"), ".")
	f, in, err := x.o.Images.Content(x.r.Context(), id)
	switch {
	case errors.Is(err, images.ErrNotFound) || kind != string(in.Kind):
		if err == nil {
			f.Close()
		}
		x.refuse(http.StatusNotFound, outcomeBadLink, errNoLink)
		return
	case errors.Is(err, images.ErrWithdrawn):
		x.refuse(http.StatusGone, outcomeNotFound, err)
		return
	case err != nil:
		x.unreadable(err)
		return
	}
	defer f.Close()
	if !usableRanges(x.r.Header.Get("Range")) {
		x.r.Header.Del("Range")
	}
	h := x.w.Header()
	h.Set("Content-Type", in.Kind.ContentType())
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("ETag", `"`+in.DigestText()+`"`)
	x.count = 1
	http.ServeContent(x.w, x.r, "", in.Received, f)
}
