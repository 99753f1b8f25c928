package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/decor"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// getModels are the values of --model.
var getModels = map[string]dicom.UID{"study": qr.StudyRootGet, "patient": qr.PatientRootGet, "patient-study": qr.PatientStudyOnlyGet}

// getWindow is how many instances the peer may send before the first of them is written, if it negotiates that.
const getWindow = 8

// getOptions are the flags of get.
type getOptions struct {
	retrieveOptions
	out        string
	classes    []string
	modalities []string
	syntaxes   []string
}

// getReport is the result of get, and what --json prints.
type getReport struct {
	retrieveReport
	Files    int      `json:"files"`    // written
	Existing int      `json:"existing"` // that were there with the same content
	Bytes    int64    `json:"bytes"`    // of data sets received
	Renamed  []string `json:"renamed,omitempty"`
	Folder   string   `json:"folder"`
}

func newGet() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get HOST:PORT",
		Short: "Retrieve instances from a peer into a folder by C-GET",
		Long: "Retrieve instances from a peer into a folder by C-GET, each as a Part 10 file. Unique keys say which:\n" +
			"that of the level, of which there may be a list of UIDs (1.2\\1.3), and those above it.\n\n" +
			"The peer can only send SOP classes that are proposed to it. Without --sop-class or --modality it is\n" +
			"asked by C-FIND which ones the studies have; common ones fill what is left of 127 contexts.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := o.identifier()
			if err == nil {
				err = o.checkProposal()
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
	f := cmd.Flags()
	f.StringVarP(&o.out, "out", "o", ".", "`FOLDER` to write to; it is made if it does not exist")
	f.StringSliceVar(&o.classes, "sop-class", nil, "`UID` of a SOP class to propose; may be repeated")
	f.StringSliceVar(&o.modalities, "modality", nil, "propose the SOP classes of a modality, such as CT; may be repeated")
	f.StringSliceVar(&o.syntaxes, "transfer-syntax", nil, "`UID` of a transfer syntax to propose instead of the usual ones; may be repeated")
	return cmd
}

func (o *getOptions) run(cmd *cobra.Command, id *qr.Identifier) error {
	ctx := cmd.Context()
	into, err := openFolder(o.out)
	if err != nil {
		return usageError{err}
	}
	defer into.close()
	a, err := o.associate(ctx, cmd.ErrOrStderr(), id, into)
	if err != nil {
		return err
	}
	defer a.Close()
	begun := time.Now()
	progress := newBar(cmd.ErrOrStderr(), "getting", decor.CountersNoUnit("%d / %d"))
	r, err := o.ask(ctx, a, dimse.Command{CommandField: dimse.CGetRQ, AffectedSOPClassUID: getModels[o.model]}, id, progress)
	progress.close()
	if err == nil {
		// What was asked is done; a peer that does not release well is no failure of that.
		_ = a.Release(context.WithoutCancel(ctx))
	}
	a.Close() // nothing is written any more
	if synced := into.sync(); err == nil {
		err = synced
	}
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "dcmgate: %s in %s\n", count(into.files, "file"), o.out)
		return errors.Join(err, into.fault)
	}
	return o.report(cmd.OutOrStdout(), cmd.ErrOrStderr(), r, syntaxOf(a, 1), time.Since(begun), into)
}

// associate proposes C-GET and, with the role of SCP, what instances are to come in.
func (o *getOptions) associate(ctx context.Context, stderr io.Writer, id *qr.Identifier, into *folder) (*dimse.Association, error) {
	sure, likely, err := o.storageClasses(ctx, stderr, id)
	if err != nil {
		return nil, err
	}
	contexts, roles := storageProposal(sure, likely, o.transferSyntaxes())
	contexts = append([]pdu.PresentationContext{{ID: 1, AbstractSyntax: string(getModels[o.model]), TransferSyntaxes: identifierSyntaxes}}, contexts...)
	return o.propose(ctx, dimse.Proposal{
		Contexts: contexts, RoleSelections: roles, Service: dimse.Mux{dimse.CStoreRQ: dimse.StoreFunc(into.store)}, PerformedWindow: getWindow,
	})
}

// report prints the result, and fails unless everything was retrieved and written.
func (o *getOptions) report(out, stderr io.Writer, r dimse.Response, ts dicom.UID, took time.Duration, into *folder) error {
	common, err := o.newRetrieveReport(r, ts, took)
	if err != nil {
		return err
	}
	report := getReport{retrieveReport: common, Files: into.files, Existing: into.existing, Bytes: into.bytes, Renamed: into.renamed, Folder: o.out}
	for _, name := range report.Renamed {
		fmt.Fprintf(stderr, "dcmgate: other content is there under the same UID; written as %s\n", name)
	}
	if o.json {
		err = json.NewEncoder(out).Encode(report)
	} else {
		_, err = fmt.Fprintf(out, "%s written to %s, %s in %.1f s (%s); %d there before, %s, %d failed\n", count(report.Files, "file"), o.out,
			bytesText(report.Bytes), report.Seconds, rateText(report.Bytes, took), report.Existing, count(report.Warnings, "warning"), report.Failed)
	}
	if err == nil {
		err = into.fault
	}
	if err != nil || r.Status.Ok() && report.Failed == 0 {
		return err
	}
	return errors.New(refusalText(o.address, r))
}
