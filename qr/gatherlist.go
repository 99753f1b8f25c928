package qr

import (
	"context"
	"slices"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// list finds what is missing, and what to fetch for it.
func (g *gathering) list(ctx context.Context, u Upstream) (wants []Wanted, err error) {
	studies := g.given(dicom.TagStudyInstanceUID)
	if patient := valuesIn(g.query.keys, dicom.TagPatientID); len(patient) > 0 {
		if studies, err = g.find(ctx, u, LevelStudy, key(dicom.TagPatientID, patient...), key(dicom.TagStudyInstanceUID, texts(studies)...)); err != nil {
			return nil, err
		}
	}
	for _, study := range studies {
		g.scp.gatherings.watch(g, study)
		series := g.given(dicom.TagSeriesInstanceUID)
		if g.level <= LevelStudy {
			if series, err = g.find(ctx, u, LevelSeries, key(dicom.TagStudyInstanceUID, string(study)), key(dicom.TagSeriesInstanceUID)); err != nil {
				return wants, err
			}
		}
		for _, s := range series {
			w, err := g.listSeries(ctx, u, study, s)
			if w != nil {
				wants = append(wants, *w)
			}
			if err != nil {
				return wants, err
			}
		}
	}
	return wants, nil
}

// listSeries finds what is missing of a series; nil if nothing is.
func (g *gathering) listSeries(ctx context.Context, u Upstream, study, series dicom.UID) (*Wanted, error) {
	asked := g.given(dicom.TagSOPInstanceUID)
	theirs, err := g.find(ctx, u, LevelImage, key(dicom.TagStudyInstanceUID, string(study)), key(dicom.TagSeriesInstanceUID, string(series)),
		key(dicom.TagSOPInstanceUID, texts(asked)...))
	if err != nil || len(theirs) == 0 {
		return nil, err
	}
	own := newKeySet()
	for in, err := range g.scp.o.Index.Latest(ctx, study, series) {
		if err != nil {
			return nil, err
		}
		own.add(string(in.SOPInstanceUID))
	}
	w := Wanted{Study: study, Series: series}
	for _, uid := range theirs {
		if own.has(string(uid)) {
			g.has(uid)
			continue
		}
		if len(asked) > 0 && !slices.Contains(asked, uid) || !g.lacks(uid, series) {
			continue
		}
		w.Instances = append(w.Instances, uid)
	}
	switch {
	case len(w.Instances) == 0:
		return nil, nil
	case len(asked) == 0:
		w.Instances = nil // the series: what is here of it already is recognised
	}
	if g.expecting() > maxMissing {
		return nil, &Unavailable{Reason: "more to fetch than is allowed at once"}
	}
	return &w, nil
}

// given are the UIDs of a unique key in the caller's identifier.
func (g *gathering) given(tag dicom.Tag) (uids []dicom.UID) {
	for _, v := range valuesIn(g.query.keys, tag) {
		if v != "" {
			uids = append(uids, dicom.UID(v))
		}
	}
	return uids
}

func texts(uids []dicom.UID) (out []string) {
	for _, uid := range uids {
		out = append(out, string(uid))
	}
	return out
}

func key(tag dicom.Tag, values ...string) Attribute {
	return Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: values}
}

// find asks an upstream for the unique keys of a level.
func (g *gathering) find(ctx context.Context, u Upstream, level Level, keys ...Attribute) (uids []dicom.UID, err error) {
	id := &Identifier{CharacterSet: g.query.charset}
	for _, k := range append(keys, key(dicom.TagQueryRetrieveLevel, level.String())) {
		id.set(k)
	}
	model, _ := modelOf(dimse.CFindRQ, StudyRootFind)
	q, err := newQuery(model, id, extensions{})
	if err != nil {
		return nil, err
	}
	seen, useless := newKeySet(), 0
	for m, err := range u.Find(ctx, q.question()) {
		if err != nil {
			return uids, err
		}
		_, uid, ok := q.relay(m)
		switch {
		case ok && seen.add(uid):
			uids = append(uids, dicom.UID(uid))
		default:
			useless++
		}
		if useless > maxUseless || len(uids) > maxMissing {
			return uids, errUseless
		}
	}
	return uids, nil
}
