package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
)

func newVerify() *cobra.Command {
	var at where
	var asJSON, rebuild bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read every stored instance back and compare it with its digest",
		Long: "Read every stored instance back and compare it with its SHA-256 digest. It works\nbeside a running gateway.\n\n" +
			"With --rebuild the index is made anew from the stored instances alone. The gateway\nmust be stopped for that.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rebuild {
				return runRebuild(cmd, &at, asJSON)
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				return runVerify(cmd, op, asJSON)
			})
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "make the index anew from the stored instances")
	return cmd
}

func runVerify(cmd *cobra.Command, op gateway.Operator, asJSON bool) error {
	bar := newByteBar(cmd.ErrOrStderr(), "verifying")
	report, err := op.Verify(cmd.Context(), bar.set)
	bar.close()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		err = json.NewEncoder(out).Encode(report)
	} else {
		printVerify(out, report)
	}
	if err == nil && report.ProblemCount > 0 {
		return fmt.Errorf("verification found %s; ask the senders of the instances named to send them again; if it is the index, stop the gateway and run dcmgate verify --rebuild", count(report.ProblemCount, "problem"))
	}
	return err
}

func printVerify(out io.Writer, r gateway.VerifyReport) {
	fmt.Fprintf(out, "%s, %s read back in %v (%s), %s\n", count(r.Instances, "instance"), bytesText(r.Bytes),
		r.Duration.Round(time.Millisecond), rateText(r.Bytes, r.Duration), count(r.ProblemCount, "problem"))
	for _, p := range r.Problems {
		if p.Instance != "" {
			fmt.Fprintf(out, "%s %s: ", p.ID, p.Instance)
		}
		fmt.Fprintln(out, p.What)
	}
}

func runRebuild(cmd *cobra.Command, at *where, asJSON bool) error {
	cfg, err := at.load()
	if err != nil {
		return err
	}
	if err := actAsOwner(cfg.DataDir); err != nil {
		return err
	}
	bar := newByteBar(cmd.ErrOrStderr(), "rebuilding")
	report, err := gateway.Rebuild(cmd.Context(), cfg, bar.set)
	bar.close()
	noteCommand(cmd, cfg, gateway.NotedRebuild, fmt.Sprintf("the index: %s, %d missing, %d unreadable, %d damaged",
		count(report.Instances, "instance"), report.Missing, report.Unreadable, report.Damaged), err)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "index rebuilt in %v: %s, %s (%d outcomes taken over), %d missing, %d unreadable, %d damaged\n%s",
		report.Duration.Round(time.Millisecond), count(report.Instances, "instance"), count(report.Jobs, "job"),
		report.OutcomesKept, report.Missing, report.Unreadable, report.Damaged, oldIndexText(&report))
	return err
}

// oldIndexText says what of the old index is not in the new one.
func oldIndexText(r *gateway.RebuildReport) string {
	switch {
	case r.OldIndexRead:
		return ""
	case r.OldDamages > 0 && r.OutcomesKept+r.CustodyKept > 0:
		return count(int64(r.OldDamages), "part") + " of the old index could not be read: what only they knew to be delivered is delivered again, once more\n"
	}
	return "the old index could not be read: everything stored is delivered again, once more\n"
}
