package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dcmgate/dicom"
	"dcmgate/gateway"
)

func newLinks() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "links",
		Short: "Addresses for download that interface 203 has given out",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(newLinksRevoke())
	return cmd
}

func newLinksRevoke() *cobra.Command {
	var at where
	var study string
	var all bool
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "End addresses for download",
		Long:  "End the addresses for download that were given out for a study, or all of them. Whoever\nmay ask for the study can have new ones.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (study == "") == !all {
				return usageError{errors.New("select a study with --study, or every address with --all")}
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				if err := op.RevokeLinks(cmd.Context(), dicom.UID(study)); err != nil {
					return err
				}
				what := "all addresses"
				if !all {
					what = "the addresses of the study"
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), what+" are revoked")
				return err
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&study, "study", "", "Study Instance `UID`")
	cmd.Flags().BoolVar(&all, "all", false, "every address")
	return cmd
}
