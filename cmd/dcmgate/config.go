package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check a configuration file, or print a commented one",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(newConfigCheck(), newConfigExample())
	return cmd
}

func newConfigExample() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print the reference configuration, every key with meaning, default and limits",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), gateway.Reference)
			return err
		},
	}
}

// configReport is what `config check --json` prints.
type configReport struct {
	File   string          `json:"file"`
	Valid  bool            `json:"valid"`
	Notes  []string        `json:"notes"`
	Errors []configMistake `json:"errors"`
}

type configMistake struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

func newConfigCheck() *cobra.Command {
	var asJSON bool
	var w where
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration file and report every mistake in it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := w.file()
			switch {
			case len(args) == 1 && w.config != "":
				return usageError{errors.New("the file is named twice, by itself and by --config")}
			case len(args) == 1:
				file = args[0]
			case file == "":
				return usageError{errors.New("name the file to be checked; there is no " + systemConfig)}
			}
			return checkConfig(cmd.OutOrStdout(), file, asJSON)
		},
	}
	cmd.Flags().StringVarP(&w.config, "config", "c", "", "the `file`, as other commands take it (without: "+systemConfig+")")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func checkConfig(out io.Writer, file string, asJSON bool) error {
	cfg, err := gateway.Load(file)
	if err == nil {
		err = actAsOwner(cfg.DataDir)
	}
	if err == nil {
		if f, err := os.Open(file); err == nil {
			f.Close()
		} else {
			cfg.Notes = append(cfg.Notes, fmt.Sprintf("the owner of %s cannot read this file, so no gateway of his can: chown root:dcmgate %s && chmod 0640 %[2]s, if it is to be used from here", cfg.DataDir, file))
		}
		var notes []string
		notes, err = cfg.CheckFiles()
		cfg.Notes = slices.Concat(cfg.Notes, notes, cfg.DataNotes(), cfg.DropNotes())
	}
	if asJSON {
		report := configReport{File: file, Valid: err == nil, Notes: append([]string{}, cfg.Notes...), Errors: mistakes(err)}
		if e := json.NewEncoder(out).Encode(report); e != nil {
			return e
		}
		if err != nil {
			return usageError{errReported}
		}
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	fmt.Fprintf(out, "%s: valid; %s\n", file, summary(cfg))
	for _, note := range cfg.Notes {
		fmt.Fprintf(out, "note: %s\n", note)
	}
	return nil
}

// mistakes lists the parts of a joined error.
func mistakes(err error) []configMistake {
	list := []configMistake{}
	if err == nil {
		return list
	}
	parts := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		parts = joined.Unwrap()
	}
	for _, p := range parts {
		var e *gateway.ConfigError
		if errors.As(p, &e) {
			list = append(list, configMistake{Line: e.Line, Column: e.Column, Path: e.Path, Message: e.Message})
		} else {
			list = append(list, configMistake{Message: p.Error()})
		}
	}
	return list
}

// summary says in one line what a configuration amounts to.
func summary(cfg gateway.Config) string {
	s := fmt.Sprintf("%s listens on %s", cfg.AETitle, orOff(cfg.DICOM.Listen))
	if cfg.DICOM.TLS.Listen != "" {
		s += " and with TLS on " + cfg.DICOM.TLS.Listen
	}
	if cfg.DICOM.Accept == gateway.AcceptAny {
		s += ", accepts anybody"
	} else {
		s += fmt.Sprintf(", accepts %s", count(len(cfg.Peers), "peer"))
	}
	names := make([]string, 0, len(cfg.Destinations))
	for _, d := range cfg.Destinations {
		names = append(names, d.Name)
	}
	s += ", delivers to " + count(len(names), "destination")
	if len(names) > 0 && len(names) <= 8 {
		s += " (" + strings.Join(names, ", ") + ")"
	}
	return s
}

func orOff(listen string) string {
	if listen == "" {
		return "no plain port"
	}
	return listen
}
