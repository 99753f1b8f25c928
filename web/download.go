package web

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"dcmgate/spool"
)

// maxRanges bounds the ranges of one request.
const maxRanges = 32

// usableRanges tells whether a header Range is to be heeded. RFC 9110 14.2 has others ignored: of another unit, not well
// formed, with an end before the begin; and allows to ignore those that want too much.
func usableRanges(header string) bool {
	list, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Count(list, ",") >= maxRanges {
		return false
	}
	for spec := range strings.SplitSeq(list, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
		if !ok || first == "" && last == "" || strings.Trim(first+last, "0123456789") != "" {
			return false
		}
		from, err := strconv.ParseInt("0"+first, 10, 64)
		to, err2 := strconv.ParseInt("0"+last, 10, 64)
		if err != nil || err2 != nil || first != "" && last != "" && to < from {
			return false
		}
	}
	return true
}

// errDamaged is what a client is told.
var errDamaged = errors.New("damaged on disk; the instance has to be stored again")

// download serves what a link leads to.
func (x *exchange) download() {
	l, in, ok := x.linked()
	if !ok {
		return
	}
	if l.kind == kindZIP {
		x.archive(&in)
		return
	}
	x.instance(l.id)
}

// instance serves a Part 10 file, whole or in ranges.
func (x *exchange) instance(id spool.InstanceID) {
	reader, err := x.o.Index.Open(id)
	if err != nil {
		x.unreadable(err)
		return
	}
	defer reader.Close()
	if !usableRanges(x.r.Header.Get("Range")) {
		x.r.Header.Del("Range")
	}
	if x.r.Header.Get("Range") != "" && x.r.Method == http.MethodGet {
		if err := x.verify(x.r.Context(), reader); err != nil {
			x.unreadable(err)
			return
		}
	}
	in := reader.Instance()
	h := x.w.Header()
	h.Set("Content-Type", "application/dicom")
	h.Set("ETag", `"`+hex.EncodeToString(in.Digest[:])+`"`)
	h.Set("Content-Disposition", "attachment")
	x.count = 1
	http.ServeContent(x.w, x.r, "", in.Received, &content{s: x.Server, ctx: x.r.Context(), r: reader})
}

// unreadable answers for an instance that cannot be read.
func (x *exchange) unreadable(err error) {
	switch {
	case x.r.Context().Err() != nil:
		x.outcome = outcomeAborted
		panic(http.ErrAbortHandler)
	case errors.Is(err, spool.ErrEvicted) || errors.Is(err, spool.ErrNotFound):
		x.refuse(http.StatusGone, outcomeNotFound, errEvicted)
	case errors.Is(err, spool.ErrDamaged):
		x.refuse(http.StatusInternalServerError, outcomeDamaged, errDamaged)
	default:
		x.refuse(http.StatusServiceUnavailable, outcomeFailed, errors.New("cannot be read; try again"))
	}
	x.reason = err.Error()
}
