package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
)

func newHealthcheck() *cobra.Command {
	var at where
	var ready bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Tell whether the gateway runs and is healthy",
		Long: "Tell whether a gateway runs on the data folder and its durable path works, by exit\nstatus: 0 if so, else 1 and the reason. With --ready it must be able to receive, too.\n\n" +
			"It asks over the control socket, as /healthz and /readyz do over HTTP, and opens\nnothing if no gateway runs.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := at.find(cmd.Context())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := gateway.CheckHealth(ctx, cfg, ready); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return err
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&ready, "ready", false, "fail, too, while nothing can be received")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long the gateway may take to answer")
	return cmd
}
