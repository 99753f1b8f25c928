package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// identifierSyntaxes are proposed for the identifiers of queries and retrievals.
var identifierSyntaxes = []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)}

// retrieveOptions are the flags that move and get share.
type retrieveOptions struct {
	peer
	keys  []string
	level string
	model string
	json  bool
}

func (o *retrieveOptions) flags(cmd *cobra.Command) {
	o.peer.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.keys, "key", "k", nil, "`NAME=VALUE` of a unique key; may be repeated")
	f.StringVar(&o.level, "level", "study", "patient, study, series or image")
	f.StringVar(&o.model, "model", "study", "information model: study, patient or patient-study")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
}

// identifier makes the identifier of the flags.
func (o *retrieveOptions) identifier() (*qr.Identifier, error) {
	if _, ok := findModels[o.model]; !ok {
		return nil, fmt.Errorf("--model %s: study, patient or patient-study is needed", o.model)
	}
	level, ok := qr.ParseLevel(strings.ToUpper(o.level))
	if !ok {
		return nil, fmt.Errorf("--level %s: patient, study, series or image is needed", o.level)
	}
	id := &qr.Identifier{}
	setKey(id, dicom.TagQueryRetrieveLevel, level.String())
	for _, key := range o.keys {
		tag, value, err := parseKey(key)
		if err != nil {
			return nil, err
		}
		setKey(id, tag, value)
		if strings.ContainsFunc(value, func(r rune) bool { return r > '~' }) {
			id.CharacterSet = "ISO_IR 192" // a Patient ID may need it
		}
	}
	return id, nil
}

// retrieveReport is the result of move or get, and what --json prints.
type retrieveReport struct {
	Status    string   `json:"status"` // hexadecimal
	Meaning   string   `json:"meaning"`
	Comment   string   `json:"comment,omitempty"`
	Completed int      `json:"completed"`
	Warnings  int      `json:"warnings"`
	Failed    int      `json:"failed"`
	Remaining int      `json:"remaining"`
	FailedIDs []string `json:"failed_sop_instance_uids,omitempty"`
	Seconds   float64  `json:"seconds"`
}

// newRetrieveReport reads a final answer, whose identifier is in a transfer syntax.
func (o *retrieveOptions) newRetrieveReport(r dimse.Response, ts dicom.UID, took time.Duration) (retrieveReport, error) {
	report := retrieveReport{
		Status: fmt.Sprintf("%04X", uint16(r.Status)), Meaning: r.Status.Meaning(r.CommandField), Comment: pdu.Printable(r.ErrorComment),
		Completed: suboperations(r.NumberOfCompletedSuboperations), Warnings: suboperations(r.NumberOfWarningSuboperations),
		Failed: suboperations(r.NumberOfFailedSuboperations), Remaining: suboperations(r.NumberOfRemainingSuboperations), Seconds: took.Seconds(),
	}
	if r.Data != nil {
		failed, err := failedInstances(r.Data, ts)
		if err != nil {
			return report, fmt.Errorf("the answer of %s cannot be read: %w", o.address, err)
		}
		report.FailedIDs = failed
	}
	return report, nil
}

// ask sends a request with an identifier and waits for the final answer, showing progress. An interrupt becomes a C-CANCEL,
// which the peer has the timeout to answer.
func (o *retrieveOptions) ask(ctx context.Context, a *dimse.Association, rq dimse.Command, id *qr.Identifier, progress *bar) (dimse.Response, error) {
	operation := rq.CommandField.Operation()
	contextID, ok := a.Accepted(rq.AffectedSOPClassUID, "")
	if !ok {
		return dimse.Response{}, fmt.Errorf("%s: %w for retrievals by %s; may %s retrieve there?", o.address, dimse.ErrNoContext, operation, o.calling)
	}
	data, err := id.Encode(syntaxOf(a, contextID))
	if err != nil {
		return dimse.Response{}, err
	}
	pending, err := a.Do(ctx, contextID, rq, bytes.NewReader(data))
	if err != nil {
		return dimse.Response{}, fmt.Errorf("%s to %s: %w", operation, o.address, err)
	}
	for waiting := ctx; ; {
		r, err := pending.Next(waiting)
		if err != nil && waiting.Err() != nil && waiting == ctx {
			var cancel context.CancelFunc
			waiting, cancel = context.WithTimeout(context.WithoutCancel(ctx), o.timeout)
			defer cancel()
			if err = pending.Cancel(waiting); err == nil {
				continue
			}
		}
		if err != nil {
			return r, fmt.Errorf("%s to %s: %w", operation, o.address, err)
		}
		if r.Status.Class() != dimse.ClassPending {
			return r, nil
		}
		done := suboperations(r.NumberOfCompletedSuboperations) + suboperations(r.NumberOfWarningSuboperations) + suboperations(r.NumberOfFailedSuboperations)
		progress.set(int64(done), int64(done+suboperations(r.NumberOfRemainingSuboperations)))
	}
}

// syntaxOf is the transfer syntax of an accepted context.
func syntaxOf(a *dimse.Association, contextID byte) dicom.UID {
	for _, c := range a.Contexts() {
		if c.ID == contextID {
			return c.TransferSyntax
		}
	}
	return dicom.ImplicitVRLittleEndian
}

// suboperations is a counter, 0 where it is absent.
func suboperations(n *uint16) int {
	if n == nil {
		return 0
	}
	return int(*n)
}

// failedInstances reads the Failed SOP Instance UID List (0008,0058) of a final answer.
func failedInstances(data []byte, ts dicom.UID) ([]string, error) {
	elements, err := dicom.ParseElements(data, ts)
	if err != nil {
		return nil, err
	}
	for i := range elements {
		if e := &elements[i]; e.Tag == dicom.NewTag(0x0008, 0x0058) && len(e.Value) > 0 {
			return strings.Split(strings.TrimRight(string(e.Value), " \x00"), `\`), nil
		}
	}
	return nil, nil
}
