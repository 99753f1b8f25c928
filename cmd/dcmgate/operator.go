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

// file is the configuration's, "" if there is none.
func (w *where) file() string {
	if w.config == "" && w.dataDir == "" {
		if _, err := os.Stat(systemConfig); err == nil {
			return systemConfig
		}
	}
	return w.config
}

// load returns the configuration, with the data directory replaced if asked.
func (w *where) load() (gateway.Config, error) {
	cfg, err := loadConfig(w.file())
	if err == nil && w.dataDir != "" {
		cfg.DataDir = w.dataDir
	}
	return cfg, err
}

// find is load for who would ask a running gateway, which goes on with the
// configuration before if there are mistakes in the file: then the data
// directory will do.
func (w *where) find(ctx context.Context) (gateway.Config, error) {
	cfg, err := w.load()
	if err == nil {
		return cfg, nil
	}
	dir := w.dataDir
	if dir == "" {
		dir = gateway.DataDirIn(w.file())
	}
	if dir == "" || !gateway.IsRunning(ctx, dir) {
		return cfg, err
	}
	cfg = gateway.Default()
	cfg.DataDir = dir
	return cfg, nil
}

// operate calls use with the running gateway, or with its spool if none runs.
func (w *where) operate(ctx context.Context, use func(gateway.Operator) error) error {
	cfg, err := w.find(ctx)
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
