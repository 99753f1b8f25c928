package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
	"dcmgate/views"
)

// initTimeout bounds views init.
const initTimeout = 2 * time.Minute

// initFlags are those of views init.
type initFlags struct {
	database
	admin, reader, password string
	connections             int
	statement               time.Duration
}

func newViewsInit() *cobra.Command {
	f := &initFlags{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make tables, views and least-privilege accounts in a database",
		Long: "Make tables and views in a database, and with an administrator's access the accounts:\nthe one that publishes, which is that of the data source name under views, and one\n" +
			"that may only read the views, for the cloud. It may be repeated. The views are\ndefined anew, as the settings want them.\n\n" +
			"Secrets are references: file:PATH or credential:NAME.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, cfg, err := f.options()
			if err != nil {
				return usageError{err}
			}
			if err := actAsOwner(cfg.DataDir); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), initTimeout)
			defer cancel()
			err = views.Init(ctx, o, func(step string) { fmt.Fprintln(cmd.OutOrStdout(), step) })
			noteCommand(cmd, cfg, gateway.NotedInit, f.subject(), err)
			if errors.Is(err, views.ErrAccount) || errors.Is(err, views.ErrSource) {
				return usageError{err}
			}
			return err
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&f.admin, "admin", "", "`reference` to the data source name of an administrator, for the same database")
	cmd.Flags().StringVar(&f.reader, "reader", "", "`account` that may read the views and nothing else")
	cmd.Flags().StringVar(&f.password, "reader-password", "", "`reference` to its password")
	cmd.Flags().IntVar(&f.connections, "connections", 5, "connections that the reader may have")
	cmd.Flags().DurationVar(&f.statement, "statement-timeout", 30*time.Second, "how long a statement of the reader may take")
	return cmd
}

// options reads what the flags refer to, and returns the configuration, too.
func (f *initFlags) options() (o views.InitOptions, cfg gateway.Config, err error) {
	cfg, v, err := f.find()
	if err != nil {
		return o, cfg, err
	}
	f.name = v.Name
	o.AsText = v.AsText
	if o.Source, err = v.Source(cfg.DataDir); err != nil {
		return o, cfg, err
	}
	if f.admin != "" {
		dsn, err := reference("--admin", f.admin)
		if err != nil {
			return o, cfg, err
		}
		if o.Admin, err = views.ParseSource(dsn, cfg.DataDir); err != nil {
			return o, cfg, fmt.Errorf("--admin: %w", err)
		}
	}
	if f.reader == "" {
		return o, cfg, nil
	}
	if f.connections < 1 || f.connections > 1000 || f.statement < time.Second || f.statement > time.Hour {
		return o, cfg, errors.New("--connections is 1 to 1000, --statement-timeout 1s to 1h")
	}
	password, err := reference("--reader-password", f.password)
	if err != nil {
		return o, cfg, err
	}
	o.Reader = &views.Account{Name: f.reader, Password: password, Connections: f.connections, Statement: f.statement}
	return o, cfg, nil
}

// subject is the database, and the accounts that are made, for the audit trail.
func (f *initFlags) subject() string {
	if f.reader == "" {
		return f.name
	}
	return f.name + ", account " + f.reader
}

// reference reads a secret that a flag refers to. One in the flag itself could be read by everybody on the machine.
func reference(flag, value string) (string, error) {
	secret := gateway.SecretReference(value)
	if value == "" || secret.Inline() {
		return "", fmt.Errorf("%s: write file:PATH or credential:NAME", flag)
	}
	return secret.Read()
}
