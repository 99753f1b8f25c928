package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
	"dcmgate/systemd"
)

func newServe() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: "Run the gateway until SIGINT or SIGTERM, then stop within shutdown_timeout; a second\nsignal ends it at once, without loss of what was acknowledged. When the configuration\n" +
			"file changes, or on SIGHUP, it is taken again without a restart.\n\n" +
			"Without --config it listens on loopback, accepts any caller and keeps its data under\n./dcmgate-data.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(config)
			if err != nil {
				return err
			}
			if err := refuseForeign(cfg.DataDir); err != nil {
				return err
			}
			limitMemory()
			sockets, err := systemd.PassedSockets()
			if err != nil {
				return err
			}
			defer sockets.Close()
			logging := gateway.NewLogging(cmd.ErrOrStderr(), cfg.Log)
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			g, err := gateway.New(cfg, gateway.Options{
				Version:  version,
				Logger:   logging.Logger(),
				Logging:  logging,
				Notifier: systemd.NewNotifier(),
				Sockets:  sockets,
				Hangups:  hangups,
			})
			if err != nil {
				return usageError{err}
			}
			if cfg.Source == "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "dcmgate: no --config: listening on loopback (%s, http://%s/), accepting any caller, keeping data under %s\n",
					cfg.DICOM.Listen, cfg.HTTP.Listen, cfg.DataDir)
			}
			return g.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&config, "config", "c", "", "configuration `file`; dcmgate config example prints one")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	return cmd
}
