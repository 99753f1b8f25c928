package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/decor"

	"dcmgate/dicom"
	"dcmgate/gateway"
)

// restoreSources are the words of --from.
var restoreSources = []string{gateway.FromAny, gateway.FromUpstream, gateway.FromCloud}

func newRestore() *cobra.Command {
	var at where
	var from, to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore STUDY",
		Short: "Fetch a study from upstreams or the cloud into the spool",
		Long: "Fetch the study of this Study Instance UID into the spool: from the upstreams of the\n" +
			"configuration, which send it to the running gateway, and what they do not have from the\n" +
			"cloud (retrieve.cloud). What is stored already is left alone. With --to the study is then\n" +
			"sent to a peer by C-STORE.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			study := dicom.UID(args[0])
			if err := study.Valid(); err != nil {
				return usageError{fmt.Errorf("%q is no Study Instance UID: %w", args[0], err)}
			}
			if !slices.Contains(restoreSources, from) {
				return usageError{fmt.Errorf("--from %q is not one of %s", from, strings.Join(restoreSources, ", "))}
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				return runRestore(cmd, op, gateway.RestoreRequest{Study: study, From: from, To: to}, asJSON)
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&from, "from", gateway.FromAny, "`where` to fetch it from: upstream, cloud, or any, which asks upstreams first")
	cmd.Flags().StringVar(&to, "to", "", "AE `title` of the peer to send the study to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func runRestore(cmd *cobra.Command, op gateway.Operator, rq gateway.RestoreRequest, asJSON bool) error {
	begun := time.Now()
	progress := newBar(cmd.ErrOrStderr(), "restoring", decor.CountersNoUnit("%d / %d"))
	r, err := op.Restore(cmd.Context(), rq, func(done, total int) { progress.set(int64(done), int64(total)) })
	progress.close()
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(r)
	} else {
		err = printRestore(cmd.OutOrStdout(), cmd.ErrOrStderr(), r, time.Since(begun))
	}
	switch {
	case err != nil:
		return err
	case r.Listed == 0:
		return errors.New("nobody who was asked has images of this study")
	case r.Failed > 0:
		return fmt.Errorf("%s could not be restored", count(r.Failed, "image"))
	case r.Sent != nil && r.Sent.Failed > 0:
		return fmt.Errorf("%s could not be sent to %s: %s", count(r.Sent.Failed, "instance"), r.To, r.Sent.Reason)
	}
	return nil
}

func printRestore(out, stderr io.Writer, r gateway.RestoreReport, took time.Duration) error {
	for _, f := range r.Failures {
		fmt.Fprintf(stderr, "dcmgate: %s: %s\n", f.Instance, f.Reason)
	}
	if r.Remark != "" {
		fmt.Fprintln(stderr, "dcmgate: not asked to the end:", r.Remark)
	}
	_, err := fmt.Fprintf(out, "%s restored, %s in %.1f s (%s); %d stored already, %d failed\n",
		count(r.Restored, "image"), bytesText(r.Bytes), took.Seconds(), rateText(r.Bytes, took), r.Present, r.Failed)
	if err == nil && r.Sent != nil {
		_, err = fmt.Fprintf(out, "%s sent to %s; %s, %d failed\n", count(r.Sent.Completed+r.Sent.Warnings, "instance"), r.To, count(r.Sent.Warnings, "warning"), r.Sent.Failed)
	}
	return err
}
