package web

import (
	"context"
	"regexp"
	"slices"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/spool"
)

// retrieve answers a request of 203: the images of a study, each with an address to download it from. An answer that has
// begun and cannot be completed ends in the middle, which no reader takes for JSON. A header Link (RFC 8288) gives the
// address of all of them in one archive.
func (x *exchange) retrieve() {
	rq, err := cloud.ParseRetrieveRequest(x.r.URL.RawQuery)
	if err != nil {
		x.decline(cloud.CodeBadParameters, outcomeBadRequest, err.Error())
		return
	}
	c := x.set.authenticate(&rq.SignedRequest, x.r.Header.Get(cloud.AccessKeyHeader))
	if c == nil {
		x.decline(cloud.CodeBadSignature, outcomeBadSignature, "")
		return
	}
	x.client, x.about = c.name, dicom.UID(rq.StudyInstanceUID)
	if reason := x.set.timely(&rq.SignedRequest, x.o.Now()); reason != "" {
		x.decline(cloud.CodeBadSignature, outcomeBadSignature, reason)
		return
	}
	if !x.rates.admit(x.r.Context(), c.name) {
		x.limited()
		return
	}
	base, ok := x.base()
	if !ok {
		x.decline(cloud.CodeBadParameters, outcomeBadRequest, "the header Host is not a host's name")
		return
	}
	if len(x.set.HospitalCodes) > 0 && !slices.Contains(x.set.HospitalCodes, rq.HospitalCode) {
		x.decline(cloud.CodeBadParameters, outcomeBadRequest, "HospitalCode is not that of this institution")
		return
	}
	x.list(&rq, c, base)
}

// list writes the answer, once what is not here of the study has been fetched, if it can be in time. What nobody has is
// left out; what may yet come is worth asking for again.
func (x *exchange) list(rq *cloud.RetrieveRequest, c *client, base string) {
	out := cloud.NewAnswerWriter(x.w)
	x.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	later, missing := x.fetch(dicom.UID(rq.StudyInstanceUID))
	whole := !later && x.write(out, rq, c, base)
	switch {
	case later || whole && x.count == 0 && missing != nil:
		x.w.Header().Set("Retry-After", "10")
		x.decline(cloud.CodeFailed, outcomeNotFound, missing.Error())
	case whole:
		_ = out.End() // x.w remembers
	}
}

// fetch waits for what is not here of a study, no longer than the client may be let wait. Without an error it is here, or
// nobody has it.
func (x *exchange) fetch(study dicom.UID) (later bool, err error) {
	if x.set.Fetch == nil {
		return false, nil
	}
	if whole, err := x.o.Index.Whole(x.r.Context(), study); whole || err != nil {
		return false, nil // the index will fail again
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), x.set.FetchWait)
	defer cancel()
	return x.set.Fetch(ctx, study)
}

// write writes the images of a study; false if there is nothing to add to the answer.
func (x *exchange) write(out *cloud.AnswerWriter, rq *cloud.RetrieveRequest, c *client, base string) (whole bool) {
	key := x.set.Links.key(c)
	made, turn := x.ages.now(), x.set.Links.turn(dicom.UID(rq.StudyInstanceUID))
	for in, err := range x.o.Index.Latest(x.r.Context(), dicom.UID(rq.StudyInstanceUID), "") {
		if err != nil {
			x.broken(err)
			return false
		}
		l := link{kind: kindDICOM, client: c.id, turn: turn, made: made, id: in.ID}
		if x.count == 0 {
			x.of = &in
			archive := l
			archive.kind = kindZIP
			x.w.Header().Set("Link", "<"+base+archive.path(key)+`>; rel="alternate"; type="application/zip"`)
		}
		image := imageOf(&in)
		image.HospitalCode, image.DownloadURL = rq.HospitalCode, base+l.path(key)
		image.HospitalName, image.Modality = x.set.Describe(&in)
		if out.Add(&image) != nil {
			return false // x.w remembers
		}
		x.count++
	}
	return true
}

// broken ends an answer that the index does not allow to complete.
func (x *exchange) broken(err error) {
	if x.count > 0 {
		x.w.err = err
		return
	}
	x.decline(cloud.CodeFailed, outcomeFailed, "the index cannot be read; try again")
	x.reason = err.Error()
}

// imageOf describes an instance in the fields of 203 that are its own. Texts are decoded from the object's own character set.
func imageOf(in *spool.Instance) cloud.Image {
	m := &in.Metadata
	return cloud.Image{
		SeriesNumber:      m.Text(dicom.TagSeriesNumber),
		PatNo:             m.Text(dicom.TagPatientID),
		SeriesInstanceUID: string(in.SeriesInstanceUID),
		StudyInstanceUID:  string(in.StudyInstanceUID),
		AccessionNumber:   m.Text(dicom.TagAccessionNumber),
		SOPInstanceUID:    string(in.SOPInstanceUID),
		SOPClassUID:       string(in.SOPClassUID),
	}
}

// hostPattern is what a Host header may be for addresses to begin with it.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9._\-]{1,253}(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?$`)

// base is what the addresses begin with.
func (x *exchange) base() (base string, ok bool) {
	switch {
	case x.set.BaseURL != "":
		return x.set.BaseURL, true
	case !hostPattern.MatchString(x.r.Host):
		return "", false
	case x.r.TLS != nil:
		return "https://" + x.r.Host, true
	}
	return "http://" + x.r.Host, true
}
