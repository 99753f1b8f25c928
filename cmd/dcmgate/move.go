package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/decor"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// moveModels are the values of --model.
var moveModels = map[string]dicom.UID{"study": qr.StudyRootMove, "patient": qr.PatientRootMove, "patient-study": qr.PatientStudyOnlyMove}

// moveOptions are the flags of move.
type moveOptions struct {
	peer
	destination string
	keys        []string
	level       string
	model       string
	json        bool
}

// moveReport is the result of move, and what --json prints.
type moveReport struct {
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

func newMove() *cobra.Command {
	var o moveOptions
	cmd := &cobra.Command{
		Use:   "move HOST:PORT",
		Short: "Have a peer send instances to an application entity by C-MOVE",
		Long: "Have a peer send instances to an application entity by C-MOVE. Unique keys say which: that of\n" +
			"the level, of which there may be a list of UIDs (1.2\\1.3), and those above it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := o.request()
			if err == nil {
				err = o.check(args[0])
			}
			if err != nil {
				return usageError{err}
			}
			return q.run(cmd)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.destination, "dest", "", "AE title to move to, as the peer knows it")
	f.StringArrayVarP(&o.keys, "key", "k", nil, "`NAME=VALUE` of a unique key; may be repeated")
	f.StringVar(&o.level, "level", "study", "patient, study, series or image")
	f.StringVar(&o.model, "model", "study", "information model: study, patient or patient-study")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	return cmd
}

// moveRequest is what move asks for.
type moveRequest struct {
	*moveOptions
	model dicom.UID
	keys  qr.Identifier
}

// request makes the identifier of the flags.
func (o *moveOptions) request() (*moveRequest, error) {
	model, ok := moveModels[o.model]
	if !ok {
		return nil, fmt.Errorf("--model %s: study, patient or patient-study is needed", o.model)
	}
	level, ok := qr.ParseLevel(strings.ToUpper(o.level))
	if !ok {
		return nil, fmt.Errorf("--level %s: patient, study, series or image is needed", o.level)
	}
	if t := strings.TrimSpace(o.destination); t == "" || len(t) > 16 {
		return nil, fmt.Errorf("--dest %q: an AE title of 1 to 16 characters is needed", o.destination)
	}
	q := &moveRequest{moveOptions: o, model: model}
	setKey(&q.keys, dicom.TagQueryRetrieveLevel, level.String())
	for _, key := range o.keys {
		tag, value, err := parseKey(key)
		if err != nil {
			return nil, err
		}
		setKey(&q.keys, tag, value)
		if strings.ContainsFunc(value, func(r rune) bool { return r > '~' }) {
			q.keys.CharacterSet = "ISO_IR 192" // a Patient ID may need it
		}
	}
	return q, nil
}

func (q *moveRequest) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	a, err := q.dial(ctx, []pdu.PresentationContext{{
		ID: 1, AbstractSyntax: string(q.model),
		TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)},
	}}, 1)
	if err != nil {
		return err
	}
	defer a.Close()
	begun := time.Now()
	progress := newBar(cmd.ErrOrStderr(), "moving", decor.CountersNoUnit("%d / %d"))
	r, err := q.ask(ctx, a, progress)
	progress.close()
	if err != nil {
		return err
	}
	// What was asked is done; a peer that does not release well is no failure of that.
	_ = a.Release(context.WithoutCancel(ctx))
	return q.report(cmd.OutOrStdout(), r, a.Contexts()[0].TransferSyntax, time.Since(begun))
}

// ask sends the request and waits for the final answer. An interrupt becomes a C-CANCEL.
func (q *moveRequest) ask(ctx context.Context, a *dimse.Association, progress *bar) (dimse.Response, error) {
	id, ok := a.Accepted(q.model, "")
	if !ok {
		return dimse.Response{}, fmt.Errorf("%s: %w for retrievals; may %s retrieve there?", q.address, dimse.ErrNoContext, q.calling)
	}
	data, err := q.keys.Encode(a.Contexts()[0].TransferSyntax)
	if err != nil {
		return dimse.Response{}, err
	}
	pending, err := a.Do(ctx, id, dimse.Command{CommandField: dimse.CMoveRQ, AffectedSOPClassUID: q.model, MoveDestination: strings.TrimSpace(q.destination)}, bytes.NewReader(data))
	if err != nil {
		return dimse.Response{}, fmt.Errorf("C-MOVE to %s: %w", q.address, err)
	}
	for waiting := ctx; ; {
		r, err := pending.Next(waiting)
		if err != nil && waiting.Err() != nil && waiting == ctx {
			var cancel context.CancelFunc
			waiting, cancel = context.WithTimeout(context.WithoutCancel(ctx), q.timeout)
			defer cancel()
			err = pending.Cancel(waiting)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return r, fmt.Errorf("C-MOVE to %s: %w", q.address, err)
		}
		if r.Status.Class() != dimse.ClassPending {
			return r, nil
		}
		done := suboperations(r.NumberOfCompletedSuboperations) + suboperations(r.NumberOfWarningSuboperations) + suboperations(r.NumberOfFailedSuboperations)
		progress.set(int64(done), int64(done+suboperations(r.NumberOfRemainingSuboperations)))
	}
}

// suboperations is a counter, 0 where it is absent.
func suboperations(n *uint16) int {
	if n == nil {
		return 0
	}
	return int(*n)
}

// report prints the result, and fails unless everything was moved.
func (q *moveRequest) report(out io.Writer, r dimse.Response, ts dicom.UID, took time.Duration) error {
	report := moveReport{
		Status: fmt.Sprintf("%04X", uint16(r.Status)), Meaning: r.Status.Meaning(dimse.CMoveRQ), Comment: pdu.Printable(r.ErrorComment),
		Completed: suboperations(r.NumberOfCompletedSuboperations), Warnings: suboperations(r.NumberOfWarningSuboperations),
		Failed: suboperations(r.NumberOfFailedSuboperations), Remaining: suboperations(r.NumberOfRemainingSuboperations), Seconds: took.Seconds(),
	}
	if r.Data != nil {
		failed, err := failedInstances(r.Data, ts)
		if err != nil {
			return fmt.Errorf("the answer of %s cannot be read: %w", q.address, err)
		}
		report.FailedIDs = failed
	}
	var err error
	if q.json {
		err = json.NewEncoder(out).Encode(report)
	} else {
		_, err = fmt.Fprintf(out, "%s moved to %s in %.1f s; %s, %d failed\n", count(report.Completed+report.Warnings, "instance"),
			strings.TrimSpace(q.destination), report.Seconds, count(report.Warnings, "warning"), report.Failed)
	}
	if err != nil || r.Status.Ok() && report.Failed == 0 {
		return err
	}
	return errors.New(refusalText(q.address, r))
}

// failedInstances reads the Failed SOP Instance UID List (0008,0058) of the final answer.
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
