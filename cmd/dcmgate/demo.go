package main

import (
	"github.com/spf13/cobra"

	"dcmgate/internal/demo"
)

func newDemo() *cobra.Command {
	o := demo.Options{Version: version}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the gateway at work on this machine",
		Long: "Demo starts a gateway on embedded defaults and two stand-in archives on loopback,\n" +
			"one of which fails on purpose, sends 608 real MR instances of a phantom over real\n" +
			"associations, and accounts for every instance: received, durable, delivered, byte\n" +
			"for byte. Then it serves until interrupted.\n\n" +
			"Exit status: 0 everything arrived intact, 1 something did not.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			o.Terminal = isTerminal(o.Out)
			return demo.Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Once, "once", false, "end when everything has been accounted for")
	cmd.Flags().StringVar(&o.DataDir, "data-dir", "", "folder to keep everything in; without it a temporary one is used and removed")
	return cmd
}
