package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"dcmgate/audit"
	"dcmgate/gateway"
)

// followEvery is how often --follow looks for more.
const followEvery = 500 * time.Millisecond

func newAudit() *cobra.Command {
	var at where
	var since string
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show the audit trail",
		Long: "Show the audit trail: who associated, stored, queried, moved, downloaded and changed what.\n" +
			"That it was read is recorded in it. With --json each entry is a JSON document on a line.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return usageError{err}
			}
			cfg, err := at.load()
			if err != nil {
				return err
			}
			if err := actAsOwner(cfg.DataDir); err != nil {
				return err
			}
			if err := gateway.NoteAuditRead(cmd.Context(), cfg); err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "dcmgate: that the audit trail is read could not be recorded in it: %v\n", err)
			}
			return showAudit(cmd.Context(), cfg, from, follow, printer(cmd.OutOrStdout(), asJSON), cmd.ErrOrStderr())
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&since, "since", "24h", "how far back: a duration such as 7d, a date, a `time` such as 2026-03-01T08:00:00+08:00, or all")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is recorded from now on")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON document per entry, each on a line")
	return cmd
}

// parseSince reads a moment, or how long ago it is.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "all" {
		return time.Time{}, nil
	}
	if d, err := gateway.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %s is neither a duration such as 24h or 7d, nor a date such as 2026-03-01, nor a time such as 2026-03-01T08:00:00+08:00, nor all", s)
}

// showAudit gives the entries to show, which flushes if it is given nil.
func showAudit(ctx context.Context, cfg gateway.Config, since time.Time, follow bool, show func(*audit.Summary) error, stderr io.Writer) error {
	r, err := audit.NewReader(cfg.AuditDirectory(), since)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no audit trail in %s; name the configuration with --config or the data folder with --data-dir", cfg.AuditDirectory())
	}
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		e, err := r.Next()
		switch {
		case err == nil:
			s := e.Summary()
			if err := show(&s); err != nil {
				return err
			}
			continue
		case err != io.EOF:
			return err
		}
		if err := show(nil); err != nil {
			return err
		}
		if !follow {
			break
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return nil
		}
	}
	if n := r.Damaged(); n > 0 {
		fmt.Fprintf(stderr, "dcmgate: %d lines hold no whole audit message, as after a crash; they were skipped\n", n)
	}
	return nil
}

// printer writes entries as a table, or as JSON.
func printer(out io.Writer, asJSON bool) func(*audit.Summary) error {
	if asJSON {
		enc := json.NewEncoder(out)
		return func(s *audit.Summary) error {
			if s == nil {
				return nil
			}
			return enc.Encode(s)
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "TIME\tEVENT\tWHO\tFROM\tINSTANCES\tSTUDY\tOUTCOME\tWHAT")
	return func(s *audit.Summary) error {
		if s == nil {
			return table.Flush()
		}
		_, err := fmt.Fprintln(table, strings.Join(row(s), "\t"))
		return err
	}
}

// outcomes are the words for EventOutcomeIndicator.
var outcomes = map[audit.Outcome]string{
	audit.Success: "ok", audit.MinorFailure: "minor failure", audit.SeriousFailure: "failure", audit.MajorFailure: "major failure",
}

// row is an entry as a row of the table. What comes from the network is made printable.
func row(s *audit.Summary) []string {
	who, from := parties(s)
	instances := ""
	if s.Instances > 0 {
		instances = fmt.Sprint(s.Instances)
	}
	event := s.Event
	if s.Type != "" {
		event += ": " + strings.ToLower(s.Type)
	}
	cells := []string{
		s.Time.Local().Format("2006-01-02 15:04:05"), event, who, from, instances, strings.Join(s.Studies, " "), outcomes[s.Outcome], s.Description,
	}
	for i, c := range cells {
		if cells[i] = strings.Map(visible, c); c == "" {
			cells[i] = "-"
		}
	}
	return cells
}

// visible replaces what would disturb a terminal.
func visible(r rune) rune {
	if !unicode.IsPrint(r) {
		return '?'
	}
	return r
}

// parties says who did something to whom, and from where.
func parties(s *audit.Summary) (who, from string) {
	first := s.Requestor
	if len(s.Others) > 0 && (first == nil || s.Event == "alert") {
		first = &s.Others[0]
	}
	if first != nil {
		from = first.Address
	}
	if s.Source == nil || s.Destination == nil {
		return first.Label(), from
	}
	who = s.Source.Label() + " -> " + s.Destination.Label()
	if s.Requestor != nil && s.Requestor.Label() != s.Source.Label() && s.Requestor.Label() != s.Destination.Label() {
		who += " for " + s.Requestor.Label()
	}
	return who, from
}
