package main

import (
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
	retrieveOptions
	destination string
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
			id, err := o.identifier()
			if t := strings.TrimSpace(o.destination); err == nil && (t == "" || len(t) > 16) {
				err = fmt.Errorf("--dest %q: an AE title of 1 to 16 characters is needed", o.destination)
			}
			if err == nil {
				err = o.check(args[0])
			}
			if err != nil {
				return usageError{err}
			}
			return o.run(cmd, id)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.destination, "dest", "", "AE title to move to, as the peer knows it")
	return cmd
}

func (o *moveOptions) run(cmd *cobra.Command, id *qr.Identifier) error {
	ctx, model := cmd.Context(), moveModels[o.model]
	a, err := o.dial(ctx, []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(model), TransferSyntaxes: identifierSyntaxes}}, 1)
	if err != nil {
		return err
	}
	defer a.Close()
	begun := time.Now()
	progress := newBar(cmd.ErrOrStderr(), "moving", decor.CountersNoUnit("%d / %d"))
	rq := dimse.Command{CommandField: dimse.CMoveRQ, AffectedSOPClassUID: model, MoveDestination: strings.TrimSpace(o.destination)}
	r, err := o.ask(ctx, a, rq, id, progress)
	progress.close()
	if err != nil {
		return err
	}
	// What was asked is done; a peer that does not release well is no failure of that.
	_ = a.Release(context.WithoutCancel(ctx))
	return o.report(cmd.OutOrStdout(), r, a.Contexts()[0].TransferSyntax, time.Since(begun))
}

// report prints the result, and fails unless everything was moved.
func (o *moveOptions) report(out io.Writer, r dimse.Response, ts dicom.UID, took time.Duration) error {
	report, err := o.newRetrieveReport(r, ts, took)
	if err != nil {
		return err
	}
	if o.json {
		err = json.NewEncoder(out).Encode(report)
	} else {
		_, err = fmt.Fprintf(out, "%s moved to %s in %.1f s; %s, %d failed\n", count(report.Completed+report.Warnings, "instance"),
			strings.TrimSpace(o.destination), report.Seconds, count(report.Warnings, "warning"), report.Failed)
	}
	if err != nil || r.Status.Ok() && report.Failed == 0 {
		return err
	}
	return errors.New(refusalText(o.address, r))
}
