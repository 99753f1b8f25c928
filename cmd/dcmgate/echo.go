package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// echoReport is the result of echo, and what --json prints.
type echoReport struct {
	Peer                      string  `json:"peer"`
	CalledAETitle             string  `json:"called_ae_title"`
	Status                    string  `json:"status"`
	AssociateMilliseconds     float64 `json:"associate_ms"`
	RoundTripMilliseconds     float64 `json:"round_trip_ms"`
	TransferSyntax            string  `json:"transfer_syntax"`
	MaximumLength             uint32  `json:"maximum_length"` // of P-DATA-TF to the peer, bytes; 0: no limit
	Window                    int     `json:"window"`
	ImplementationClassUID    string  `json:"implementation_class_uid"`
	ImplementationVersionName string  `json:"implementation_version_name"`

	status dimse.Status
}

func newEcho() *cobra.Command {
	var p peer
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "echo HOST:PORT",
		Short: "Ask a peer for a C-ECHO and show what was negotiated",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.check(args[0]); err != nil {
				return usageError{err}
			}
			return runEcho(cmd, &p, asJSON)
		},
	}
	p.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runEcho(cmd *cobra.Command, p *peer, asJSON bool) error {
	report, err := echo(cmd, p)
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	} else {
		printEcho(cmd.OutOrStdout(), report)
	}
	if err == nil && !report.status.Ok() {
		return fmt.Errorf("%s answered %v", p.address, report.status)
	}
	return err
}

func echo(cmd *cobra.Command, p *peer) (*echoReport, error) {
	begun := time.Now()
	a, err := p.dial(cmd.Context(), []pdu.PresentationContext{{
		ID:               1,
		AbstractSyntax:   string(dicom.VerificationSOPClass),
		TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)},
	}}, 8)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	associated := time.Now()
	status, err := a.Echo(cmd.Context())
	switch {
	case errors.Is(err, dimse.ErrNoContext):
		return nil, fmt.Errorf("C-ECHO to %s: %w for Verification; have it offered there to %s", p.address, err, p.calling)
	case err != nil:
		return nil, fmt.Errorf("C-ECHO to %s: %w", p.address, explained(err))
	}
	answered := time.Now()
	ac := a.AC()
	r := &echoReport{
		Peer: p.address, CalledAETitle: p.called,
		Status: fmt.Sprint(status), status: status,
		AssociateMilliseconds:     milliseconds(associated.Sub(begun)),
		RoundTripMilliseconds:     milliseconds(answered.Sub(associated)),
		MaximumLength:             a.PeerMaximumLength(),
		Window:                    a.Window(),
		ImplementationClassUID:    pdu.Printable(ac.ImplementationClassUID),
		ImplementationVersionName: pdu.Printable(ac.ImplementationVersionName),
	}
	for _, c := range a.Contexts() {
		r.TransferSyntax = dicom.TransferSyntaxName(c.TransferSyntax)
	}
	// The answer is what was asked for; a peer that does not release well is
	// no failure of the echo.
	_ = a.Release(cmd.Context())
	return r, nil
}

func printEcho(out io.Writer, r *echoReport) {
	limit := bytesText(int64(r.MaximumLength))
	if r.MaximumLength == 0 {
		limit = "no limit"
	}
	fmt.Fprintf(out, "%s (%s) answered %s in %.1f ms; association in %.1f ms\n", r.Peer, r.CalledAETitle, r.Status, r.RoundTripMilliseconds, r.AssociateMilliseconds)
	fmt.Fprintf(out, "implementation %s %s; %s; largest P-DATA-TF %s; window %d\n",
		r.ImplementationVersionName, r.ImplementationClassUID, r.TransferSyntax, limit, r.Window)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
