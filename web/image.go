package web

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"dcmgate/cloud"
	"dcmgate/images"
)

// ImagePath is where the addresses of images that are not DICOM begin. It is short: the standard gives an address 64
// characters (4.2.5).
const ImagePath = "/i/"

// Images are images that are not DICOM; [images.Store] is one.
type Images interface {
	// Content opens an image's file, which was compared with its digest. The caller closes it.
	Content(ctx context.Context, id string) (*os.File, images.Image, error)
	// Add stores an image and returns once it is durable.
	Add(ctx context.Context, in images.Incoming) (out images.Image, added bool, err error)
}

// image serves an image that is not DICOM. Its name, which nobody can guess, is the permission: the standard has the
// cloud fetch it without a signature.
func (x *exchange) image() {
	id, kind, _ := strings.Cut(x.r.PathValue("name"), ".")
	f, in, err := x.set.Images.Content(x.r.Context(), id)
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
	x.file = &in
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

// uploadWindow is how far the time of an upload may be from now where the setting does not say: one that is repeated later
// would bring back what was withdrawn meanwhile.
const uploadWindow = 10 * time.Minute

// upload takes an image that is not DICOM: 201, or 200 if it is there already, once it is durable, with its address in Location.
func (x *exchange) upload() {
	rq, err := cloud.ParseImageRequest(x.r.URL.RawQuery)
	if err != nil {
		x.refuseUpload(http.StatusBadRequest, cloud.CodeBadParameters, outcomeBadRequest, err.Error())
		return
	}
	c := x.set.authenticate(&rq.SignedRequest, x.r.Header.Get(cloud.AccessKeyHeader))
	if c == nil {
		x.refuseUpload(http.StatusForbidden, cloud.CodeBadSignature, outcomeBadSignature, "")
		return
	}
	x.client = c.name
	if !x.rates.admit(x.r.Context(), "key "+c.name) {
		x.limited()
		return
	}
	if off := x.o.Now().Sub(rq.TimeStamp).Abs(); off > cmp.Or(x.set.ReplayWindow, uploadWindow) {
		x.refuseUpload(http.StatusForbidden, cloud.CodeBadSignature, outcomeBadSignature, "timeStamp is missing or too far from now")
		return
	}
	id := images.Identifiers{AccessionNumber: rq.AccessionNumber, StudyInstanceUID: rq.StudyInstanceUID, PatID: rq.PatID}
	in, added, err := x.set.Images.Add(x.r.Context(), images.Incoming{Source: images.FromUpload, Identifiers: id, Digest: rq.SHA256, Body: &uploaded{x: x}})
	_, late := errors.AsType[net.Error](err)
	switch {
	case err == nil:
		x.count, x.file = 1, &in
		x.w.Header().Set("Location", ImagePath+in.Name())
		x.answerStatus(map[bool]int{true: http.StatusCreated, false: http.StatusOK}[added], cloud.Answer{Code: cloud.CodeOK, Message: cloud.CodeOK.Meaning(), Result: []cloud.Image{}})
	case errors.Is(err, images.ErrTooLarge):
		x.refuseUpload(http.StatusRequestEntityTooLarge, cloud.CodeBadParameters, outcomeBadRequest, err.Error())
	case images.Refusal(err):
		x.refuseUpload(http.StatusUnprocessableEntity, cloud.CodeBadParameters, outcomeBadRequest, err.Error())
	case errors.Is(err, images.ErrFull):
		x.w.Header().Set("Retry-After", "60")
		x.refuseUpload(http.StatusInsufficientStorage, cloud.CodeFailed, outcomeFailed, err.Error())
	case late || errors.Is(err, io.ErrUnexpectedEOF) || x.r.Context().Err() != nil:
		x.refuseUpload(http.StatusRequestTimeout, cloud.CodeFailed, outcomeAborted, "the image has not come whole in time")
	default:
		x.refuseUpload(http.StatusInternalServerError, cloud.CodeFailed, outcomeFailed, "it cannot be stored")
		x.reason = err.Error()
	}
}

// refuseUpload answers in the envelope of the standard's other interfaces. What is left of the body is not waited for.
func (x *exchange) refuseUpload(status int, code cloud.Code, outcome, detail string) {
	x.outcome, x.reason = outcome, cmp.Or(detail, code.Meaning())
	x.w.Header().Set("Connection", "close")
	x.answerStatus(status, cloud.Refusal(code, detail))
}

// uploaded is the body of a request, each mebibyte of which has to come within the time that the client has to take one.
type uploaded struct {
	x    *exchange
	left int // bytes until the deadline moves on
}

// Read implements io.Reader.
func (u *uploaded) Read(p []byte) (int, error) {
	if u.left <= 0 {
		// An error means that the connection has no deadlines, as in tests.
		_ = u.x.w.control.SetReadDeadline(time.Now().Add(u.x.w.timeout))
		u.left = chunk
	}
	n, err := u.x.r.Body.Read(p)
	u.left -= n
	return n, err
}
