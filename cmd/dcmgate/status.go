package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/dropfolder"
	"dcmgate/gateway"
	"dcmgate/views"
)

func newStatus() *cobra.Command {
	var at where
	var asJSON bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the gateway, its spool, its destinations and upstreams",
		Long: "Show the gateway, its spool, its destinations and upstreams. If no gateway is running, the\nspool is opened for as long as it takes to look.\n\n" +
			"With --watch it is shown again and again on one screen, with rates, until q or Ctrl-C is\npressed; where the output is no terminal, one frame after the other, and with --json one\ndocument a line.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("watch") {
				return at.watch(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), interval, asJSON)
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				s, err := op.Status(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
				}
				return printStatus(cmd.OutOrStdout(), s, time.Now())
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().DurationVarP(&interval, "watch", "w", 2*time.Second, "show it again in each `interval`")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

func printStatus(out io.Writer, s gateway.Status, now time.Time) error {
	rows := [][]string{{"gateway", gatewayText(s, now)}}
	if s.Running {
		rows = append(rows,
			[]string{"listening", listenersText(s.Listeners)},
			[]string{"associations", fmt.Sprintf("%d in, %d out", s.Associations.In, s.Associations.Out)},
			[]string{"received", fmt.Sprintf("%s since the start, %.1f/s, %d refused", count(s.Received.Instances, "instance"), s.Received.InstancesPerSecond, s.Received.Refused)},
		)
	}
	if text := configText(s, now); text != "" {
		rows = append(rows, []string{"configuration", text})
	}
	rows = append(rows, spoolRows(s.Spool)...)
	if r := recoveryText(s.Recovery); r != "" {
		rows = append(rows, []string{"last start", r})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	if len(s.Destinations) > 0 {
		fmt.Fprintln(out)
		if err := table(out, destinationRows(s.Destinations, now)); err != nil {
			return err
		}
	}
	if len(s.Upstreams) > 0 {
		fmt.Fprintln(out)
		if err := table(out, upstreamRows(s.Upstreams, now)); err != nil {
			return err
		}
	}
	if len(s.Views) > 0 {
		fmt.Fprintln(out)
		if err := table(out, viewRows(s.Views)); err != nil {
			return err
		}
	}
	if len(s.Drop) > 0 {
		fmt.Fprintln(out)
		if err := table(out, dropRows(s.Drop)); err != nil {
			return err
		}
	}
	for _, d := range s.Destinations {
		if d.LastError != "" {
			fmt.Fprintf(out, "%s: last failure %s ago: %s\n", d.Name, ageText(now, d.LastErrorAt), d.LastError)
		}
		if c := d.Custody; c != nil && c.LastError != "" {
			fmt.Fprintf(out, "%s: storage commitment degraded for %s: %s\n", d.Name, ageText(now, c.LastErrorSince), c.LastError)
		}
	}
	for _, c := range s.Commitments {
		fmt.Fprintln(out, commitmentText(c, now))
	}
	for _, u := range s.Upstreams {
		if u.LastError != "" {
			fmt.Fprintf(out, "%s: last failure %s ago: %s\n", u.Name, ageText(now, u.LastErrorAt), u.LastError)
		}
	}
	for _, in := range s.Incidents {
		fmt.Fprintln(out, incidentText(in, now))
	}
	for line := range strings.Lines(s.Reload.Error) {
		fmt.Fprintf(out, "configuration of %s not taken: %s\n", s.Reload.At.Local().Format(time.TimeOnly), strings.TrimSpace(line))
	}
	for _, key := range s.Reload.NeedsRestart {
		fmt.Fprintf(out, "needs a restart: %s\n", key)
	}
	for _, d := range s.Drop {
		if d.Trouble != "" {
			fmt.Fprintf(out, "%s: in trouble for %s: %s\n", d.Name, ageText(now, d.Since), d.Trouble)
		}
		if d.Unwatched != "" {
			fmt.Fprintf(out, "%s: %s\n", d.Name, d.Unwatched)
		}
	}
	for _, n := range s.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	return nil
}

// configText says where the configuration in force is from.
func configText(s gateway.Status, now time.Time) string {
	if !s.Running || s.Config == "" {
		return ""
	}
	text := fmt.Sprintf("%s, read %s ago", s.Config, ageText(now, s.Reload.Taken))
	if s.Reload.Error != "" {
		text += "; WHAT IS THERE NOW IS NOT TAKEN, see below"
	}
	return text
}

func commitmentText(c gateway.CommitmentStatus, now time.Time) string {
	text := fmt.Sprintf("%s: %s of storage commitment waiting, the oldest for %s", c.Peer, count(int64(c.Waiting), "report"), ageText(now, c.Oldest))
	if c.LastError != "" {
		text += ": " + c.LastError
	}
	return text
}

func gatewayText(s gateway.Status, now time.Time) string {
	if !s.Running {
		return s.AETitle + ", not running; data in " + s.DataDir
	}
	return fmt.Sprintf("%s %s, running for %s; data in %s", s.AETitle, s.Version, ageText(now, s.Started), s.DataDir)
}

func listenersText(l gateway.Listeners) string {
	var parts []string
	for _, p := range []struct{ name, address string }{{"DICOM", l.DICOM}, {"DICOM TLS", l.DICOMTLS}, {"HTTP", l.HTTP}, {"public", l.Public}} {
		if p.address != "" {
			parts = append(parts, p.name+" "+p.address)
		}
	}
	return strings.Join(parts, ", ")
}

func spoolRows(s gateway.SpoolStatus) [][]string {
	health := "healthy"
	if !s.Healthy {
		health = "NOT HEALTHY: " + s.Error
	}
	room := fmt.Sprintf("%s free of %s", bytesText(s.FreeBytes), bytesText(s.TotalBytes))
	if s.Quota > 0 {
		room += ", quota " + bytesText(s.Quota)
	}
	return [][]string{
		{"spool", fmt.Sprintf("%s, %s; %s", count(s.Instances, "instance"), bytesText(s.Bytes), health)},
		{"room", room + ", pressure " + s.Pressure},
	}
}

// recoveryText is empty after an uneventful start.
func recoveryText(r gateway.RecoveryStatus) string {
	if r.Replayed+r.Torn+r.Damaged+r.Unreadable == 0 {
		return ""
	}
	return fmt.Sprintf("%d indexed that had been acknowledged, %d torn set aside, %d damaged, %d unreadable, in %v",
		r.Replayed, r.Torn, r.Damaged, r.Unreadable, r.Duration.Round(time.Millisecond))
}

func destinationRows(list []gateway.DestinationStatus, now time.Time) [][]string {
	rows := [][]string{{"DESTINATION", "STATE", "PENDING", "OLDEST", "ACTIVE", "PARKED", "DELIVERED", "ASSOCIATIONS", "RATE", "NEXT PROBE"}}
	commitments := slices.ContainsFunc(list, func(d gateway.DestinationStatus) bool { return d.Custody != nil })
	if commitments {
		rows[0] = append(rows[0], "COMMITMENT")
	}
	for _, d := range list {
		row := []string{
			d.Name, d.State,
			number(d.Pending), ageText(now, d.Oldest), number(d.Active), number(d.Parked), number(d.Delivered),
			strconv.Itoa(d.Associations), bytesText(int64(d.BytesPerSecond)) + "/s", probeText(now, d.NextProbe),
		}
		if commitments {
			row = append(row, d.Custody.Text())
		}
		rows = append(rows, row)
	}
	return rows
}

func upstreamRows(list []gateway.UpstreamStatus, now time.Time) [][]string {
	rows := [][]string{{"UPSTREAM", "STATE", "MOVES", "ASSOCIATIONS", "NEXT PROBE"}}
	for _, u := range list {
		rows = append(rows, []string{u.Name, u.State, strconv.Itoa(u.Moves), fmt.Sprintf("%d of %d", u.Associations, u.Bound), probeText(now, u.NextProbe)})
	}
	return rows
}

func viewRows(list []views.Status) [][]string {
	rows := [][]string{{"ROWS IN", "DATABASE", "STATE", "BEHIND", "LACKING"}}
	for _, v := range list {
		rows = append(rows, []string{v.Name, v.Database, string(v.State), strconv.FormatUint(v.Behind, 10), number(v.RowsLacking())})
	}
	return rows
}

func dropRows(list []dropfolder.Status) [][]string {
	rows := [][]string{{"DROP FOLDER", "STATE", "WAITING", "OLDEST", "TAKEN", "MOVED ASIDE", "THERE STILL"}}
	for _, d := range list {
		rows = append(rows, []string{
			d.Name, d.State, strconv.Itoa(d.Waiting), d.Oldest.Round(time.Second).String(), number(d.Taken), number(d.Aside), strconv.Itoa(d.Rejected),
		})
	}
	return rows
}

// probeText says when a circuit breaker lets an attempt through.
func probeText(now, next time.Time) string {
	if next.IsZero() {
		return "-"
	}
	return "in " + max(next.Sub(now), 0).Round(time.Second).String()
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
