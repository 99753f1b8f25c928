package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// gatherStudies asks the peer for the series of the studies and for their instances.
func (c *committing) gatherStudies(ctx context.Context) error {
	a, err := c.options.dial(ctx, []pdu.PresentationContext{{
		ID: 1, AbstractSyntax: string(qr.StudyRootFind),
		TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)},
	}}, 1)
	if err != nil {
		return err
	}
	defer a.Close()
	if _, ok := a.Accepted(qr.StudyRootFind, ""); !ok {
		return fmt.Errorf("%s: %w for queries; may %s query there?", c.options.address, dimse.ErrNoContext, c.options.calling)
	}
	for _, study := range c.options.studies {
		series, err := c.query(ctx, a, qr.LevelSeries, map[dicom.Tag]string{dicom.TagStudyInstanceUID: study, dicom.TagSeriesInstanceUID: ""})
		if err != nil {
			return err
		}
		for i := range series {
			instances, err := c.query(ctx, a, qr.LevelImage, map[dicom.Tag]string{dicom.TagStudyInstanceUID: study,
				dicom.TagSeriesInstanceUID: valueOf(series[i], dicom.TagSeriesInstanceUID), dicom.TagSOPInstanceUID: "", dicom.TagSOPClassUID: ""})
			if err != nil {
				return err
			}
			for _, in := range instances {
				if valueOf(in, dicom.TagSOPClassUID) == "" || valueOf(in, dicom.TagSOPInstanceUID) == "" {
					return fmt.Errorf("%s does not tell SOP Class and Instance UIDs of study %s", c.options.address, study)
				}
				c.add(commitment.Reference{SOPClassUID: dicom.UID(valueOf(in, dicom.TagSOPClassUID)), SOPInstanceUID: dicom.UID(valueOf(in, dicom.TagSOPInstanceUID))}, "")
			}
		}
	}
	_ = a.Release(context.WithoutCancel(ctx))
	return nil
}

func valueOf(id *qr.Identifier, tag dicom.Tag) string {
	if a := id.Find(tag); a != nil {
		return strings.Join(a.Values, `\`)
	}
	return ""
}

// query asks one C-FIND and collects its matches.
func (c *committing) query(ctx context.Context, a *dimse.Association, level qr.Level, keys map[dicom.Tag]string) (matches []*qr.Identifier, err error) {
	var id qr.Identifier
	setKey(&id, dicom.TagQueryRetrieveLevel, level.String())
	for tag, value := range keys {
		setKey(&id, tag, value)
	}
	ts := a.Contexts()[0].TransferSyntax
	data, err := id.Encode(ts)
	if err != nil {
		return nil, err
	}
	pending, err := a.Do(ctx, a.Contexts()[0].ID, dimse.Command{CommandField: dimse.CFindRQ, AffectedSOPClassUID: qr.StudyRootFind}, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("C-FIND to %s: %w", c.options.address, err)
	}
	for {
		r, err := pending.Next(ctx)
		if err != nil {
			return nil, fmt.Errorf("C-FIND to %s: %w", c.options.address, err)
		}
		if r.Status.Class() != dimse.ClassPending {
			if !r.Status.Ok() {
				return nil, errors.New(refusalText(c.options.address, r))
			}
			return matches, nil
		}
		match, err := qr.ParseIdentifier(r.Data, ts, "")
		if err != nil {
			return nil, fmt.Errorf("an answer of %s cannot be read: %w", c.options.address, err)
		}
		matches = append(matches, match)
	}
}
