package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
)

func newReload() *cobra.Command {
	var at where
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running gateway take its configuration again",
		Long: "Have the running gateway read its configuration file, and the files that this names,\nagain. What has changed takes effect at once, all of it or, if there is a mistake,\n" +
			"nothing; associations and deliveries go on. The gateway does this by itself when a\nfile changes; the command tells what has become of it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				done, err := op.Reload(cmd.Context())
				if err != nil {
					return fmt.Errorf("%w\nnothing has changed", err)
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(done)
				}
				printReloaded(cmd.OutOrStdout(), done)
				return nil
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printReloaded(out io.Writer, done gateway.Reloaded) {
	if len(done.Changed) == 0 {
		fmt.Fprintf(out, "%s: nothing has changed\n", done.File)
	}
	for _, key := range done.Changed {
		fmt.Fprintf(out, "changed: %s\n", key)
	}
	for _, key := range done.NeedsRestart {
		fmt.Fprintf(out, "needs a restart: %s\n", key)
	}
	for _, note := range done.Notes {
		fmt.Fprintf(out, "note: %s\n", note)
	}
}
