package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
	"dcmgate/views"
)

func newViews() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "views",
		Short: "Look after the databases of metadata rows",
		Args:  cobra.ArbitraryArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(newViewsInit(), newViewsStatus(), newViewsRebuild(), newViewsExport())
	return cmd
}

// database is the flag that names one of the configured databases.
type database struct {
	where
	name string
}

func (d *database) flags(cmd *cobra.Command) {
	d.where.flags(cmd)
	cmd.Flags().StringVarP(&d.name, "name", "n", "", "`name` of the database under views (without: the only one)")
}

// find returns the database that was named, or the only one there is.
func (d *database) find() (gateway.Config, gateway.View, error) {
	cfg, err := d.load()
	if err != nil {
		return cfg, gateway.View{}, err
	}
	var names []string
	for _, v := range cfg.Views {
		if v.Name == d.name || d.name == "" && len(cfg.Views) == 1 {
			return cfg, v, nil
		}
		names = append(names, v.Name)
	}
	if len(names) == 0 {
		return cfg, gateway.View{}, usageError{errors.New("no database is configured under views")}
	}
	return cfg, gateway.View{}, usageError{fmt.Errorf("name one of the databases with --name: %s", strings.Join(names, ", "))}
}

func newViewsStatus() *cobra.Command {
	var at where
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is published and what rows lack",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				s, err := op.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(s.Views)
				}
				if !s.Running {
					return errors.New("no gateway is running; rows are published while one runs")
				}
				return printViews(cmd.OutOrStdout(), s.Views)
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printViews(out io.Writer, list []views.Status) error {
	rows := [][]string{{"DATABASE", "KIND", "STATE", "BEHIND", "STUDY CHANGES", "IMAGE CHANGES", "OTHER CHANGES", "UPDATED"}}
	for _, v := range list {
		rows = append(rows, []string{
			v.Name, v.Database, string(v.State), number(int64(v.Behind)), number(v.StudyRows), number(v.ImageRows), number(v.OtherRows), v.UpdateAt,
		})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	for _, v := range list {
		if v.Error != "" {
			fmt.Fprintf(out, "%s: %s in a row: %s\n", v.Name, count(v.Failures, "failure"), v.Error)
		}
		for _, l := range v.Lacking {
			what := "published"
			if l.Held {
				what = "HELD BACK"
			}
			fmt.Fprintf(out, "%s: %s of %s, %s: %s; such as study %s\n", v.Name, count(l.Rows, "row"), l.View, what, l.Reason, strings.Join(l.Examples, ", "))
		}
	}
	return nil
}

// noteCommand tells the audit trail of a command; that it cannot be told is remarked on.
func noteCommand(cmd *cobra.Command, cfg gateway.Config, command, subject string, failed error) {
	if err := gateway.NoteCommand(cmd.Context(), cfg, command, subject, failed); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "dcmgate: the audit trail was not told: %v\n", err)
	}
}

func newViewsRebuild() *cobra.Command {
	var at database
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Publish the rows of everything that is stored again",
		Long: "Publish the rows of everything that is stored again: after a change of the settings,\nor where a database was restored from a copy. It works beside a running gateway. Rows\n" +
			"that are as they should be do not change.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, v, err := at.find()
			if err != nil {
				return err
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				progress := newCounter(cmd.ErrOrStderr(), "publishing", "studies")
				err := op.RebuildViews(cmd.Context(), v.Name, func(studies int64) { progress.set(studies, 0) })
				if progress.close(); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: the rows of everything stored are published\n", v.Name)
				return err
			})
		},
	}
	at.flags(cmd)
	return cmd
}

func newViewsExport() *cobra.Command {
	var at database
	var asCSV, asJSON bool
	view := views.StudyInfo.Name
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the rows of a view as the cloud would read them",
		Long:  "Print the rows of a view as the cloud would read them, in the order of their changes:\nas CSV, or as a JSON array. The database is read directly; no gateway is needed.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asCSV && asJSON {
				return usageError{errors.New("--csv and --json exclude each other")}
			}
			cfg, v, err := at.find()
			if err != nil {
				return err
			}
			source, err := v.Source(cfg.DataDir)
			if err != nil {
				return usageError{err}
			}
			if err := actAsOwner(cfg.DataDir); err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			_, err = views.Export(cmd.Context(), source, view, asJSON, out)
			noteCommand(cmd, cfg, gateway.NotedExport, v.Name+": "+view, err)
			if err != nil {
				if errors.Is(err, views.ErrView) {
					return usageError{err}
				}
				return err
			}
			return out.Flush()
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&view, "view", view, "`view` to print: V_StudyInfo, V_DocImage or V_DocImage_F")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print CSV, as without a flag")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
