package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
)

// systemConfig is where the packages put the configuration; a test has another.
var systemConfig = "/etc/dcmgate/dcmgate.yaml"

// where says which gateway a command is about.
type where struct{ config, dataDir string }

func (w *where) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&w.config, "config", "c", "", "configuration `file` of the gateway (without: "+systemConfig+" if there is one, else the defaults)")
	cmd.Flags().StringVar(&w.dataDir, "data-dir", "", "data `directory`, if it is not that of the configuration")
}

// load returns the configuration, with the data directory replaced if asked.
func (w *where) load() (gateway.Config, error) {
	path := w.config
	if path == "" && w.dataDir == "" {
		if _, err := os.Stat(systemConfig); err == nil {
			path = systemConfig
		}
	}
	cfg, err := loadConfig(path)
	if err == nil && w.dataDir != "" {
		cfg.DataDir = w.dataDir
	}
	return cfg, err
}

// operate calls use with the running gateway, or with its spool if none runs.
func (w *where) operate(ctx context.Context, use func(gateway.Operator) error) error {
	cfg, err := w.load()
	if err != nil {
		return err
	}
	if err := actAsOwner(cfg.DataDir); err != nil {
		return err
	}
	op, done, err := gateway.Connect(ctx, cfg)
	if err != nil {
		return err
	}
	err = use(op)
	if e := done(); err == nil {
		err = e
	}
	return err
}
