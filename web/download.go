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

// What a client is told.
var (
	errDamaged    = errors.New("damaged on disk; the instance has to be stored again")
	errEvicted    = errors.New("no longer stored; ask for the list again")
	errUnreadable = errors.New("cannot be read; try again")
)

// download serves what a link leads to.
func (x *exchange) download() {
	l, err := parseLink(x.r.PathValue("name"), x.set.keyOf)
	if err != nil {
		x.refuse(http.StatusNotFound, outcomeBadLink, err)
		return
	}
	x.client = x.set.nameOf(l.client)
	if !x.rates.admit(x.r.Context(), x.client) {
		x.limited()
		return
	}
	if err := l.valid(x.ages.now(), x.set.LinkLifetime); err != nil {
		x.refuse(http.StatusGone, outcomeBadLink, err)
		return
	}
	if l.kind == kindZIP {
		x.study(l)
		return
	}
	x.instance(l)
}

// study serves the study of an instance, which may have been evicted meanwhile.
func (x *exchange) study(l link) {
	in, err := x.o.Index.Instance(l.id)
	if err != nil {
		x.unreadable(err)
		return
	}
	x.about, x.of = in.StudyInstanceUID, &in
	if !x.revoked(l, &in) {
		x.archive(&in)
	}
}

// revoked answers for a link that was.
func (x *exchange) revoked(l link, in *spool.Instance) bool {
	revoked := x.set.Links.revoked(in.StudyInstanceUID, l)
	if revoked {
		x.refuse(http.StatusGone, outcomeBadLink, errRevoked)
	}
	return revoked
}

// instance serves a Part 10 file, whole or in ranges.
func (x *exchange) instance(l link) {
	reader, err := x.o.Index.Open(l.id)
	if err != nil {
		x.unreadable(err)
		return
	}
	defer reader.Close()
	in := reader.Instance()
	x.about, x.of = in.StudyInstanceUID, &in
	if x.revoked(l, &in) {
		return
	}
	if !usableRanges(x.r.Header.Get("Range")) {
		x.r.Header.Del("Range")
	}
	if x.r.Header.Get("Range") != "" && x.r.Method == http.MethodGet {
		if err := x.verify(x.r.Context(), reader); err != nil {
			x.unreadable(err)
			return
		}
	}
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
		x.refuse(http.StatusServiceUnavailable, outcomeFailed, errUnreadable)
	}
	x.reason = err.Error()
}
