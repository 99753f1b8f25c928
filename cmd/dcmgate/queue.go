package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/dicom"
	"dcmgate/gateway"
)

// jobsPage is how many jobs are asked for at once.
const jobsPage = 500

func newQueue() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "List, retry or drop what is to be delivered",
		RunE:  needSubcommand,
	}
	cmd.AddCommand(newQueueList(), newQueueRetry(), newQueueDrop())
	return cmd
}

// selection are the flags that select jobs.
type selection struct {
	filter gateway.JobFilter
	study  string
	sop    string
}

func (s *selection) flags(cmd *cobra.Command, at *where) {
	f := cmd.Flags()
	f.StringVarP(&s.filter.Destination, "destination", "d", "", "only jobs for this destination")
	f.StringVar(&s.filter.State, "state", "", "only jobs in this state: "+strings.Join(gateway.JobStates(), ", "))
	f.StringVar(&s.study, "study", "", "only jobs of the study with this `UID`")
	f.StringVar(&s.sop, "instance", "", "only jobs of the instance with this SOP Instance `UID`")
	f.StringVar(&s.filter.Code, "code", "", "only jobs whose last failure is of this class")
	_ = cmd.RegisterFlagCompletionFunc("destination", func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
		if cfg, err := at.load(); err == nil {
			for _, d := range cfg.Destinations {
				names = append(names, d.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(gateway.JobStates(), cobra.ShellCompDirectiveNoFileComp))
}

func (s *selection) get() (gateway.JobFilter, error) {
	s.filter.Study, s.filter.Instance = dicom.UID(s.study), dicom.UID(s.sop)
	if s.filter.State != "" && !slices.Contains(gateway.JobStates(), s.filter.State) {
		return s.filter, usageError{fmt.Errorf("--state %s: one of %s is needed", s.filter.State, strings.Join(gateway.JobStates(), ", "))}
	}
	return s.filter, nil
}

func newQueueList() *cobra.Command {
	var at where
	var sel selection
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs: one instance for one destination each",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := sel.get()
			if err == nil && limit < 0 {
				err = usageError{fmt.Errorf("--limit %d: a number of jobs is needed, or 0 for all", limit)}
			}
			if err != nil {
				return err
			}
			show := printJobs
			if asJSON {
				show = encodeJobs
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				return listJobs(cmd, op, filter, limit, show)
			})
		},
	}
	at.flags(cmd)
	sel.flags(cmd, &at)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document per job")
	cmd.Flags().IntVarP(&limit, "limit", "n", 1000, "list at most this many; 0 for all")
	return cmd
}

// listJobs shows jobs page by page, so that a long queue needs no memory.
func listJobs(cmd *cobra.Command, op gateway.Operator, f gateway.JobFilter, limit int, show func(io.Writer, []gateway.Job, bool) error) error {
	cursor, shown := "", 0
	for first := true; ; first = false {
		want := jobsPage
		if limit > 0 {
			want = min(want, limit-shown)
		}
		page, err := op.Jobs(cmd.Context(), f, cursor, want)
		if err != nil {
			return selectionError(err)
		}
		if err := show(cmd.OutOrStdout(), page.Jobs, first); err != nil {
			return err
		}
		shown += len(page.Jobs)
		cursor = page.Next
		if cursor == "" {
			return nil
		}
		if limit > 0 && shown >= limit {
			fmt.Fprintf(cmd.ErrOrStderr(), "dcmgate: there may be more; raise --limit (%d)\n", limit)
			return nil
		}
	}
}

func encodeJobs(out io.Writer, jobs []gateway.Job, _ bool) error {
	enc := json.NewEncoder(out)
	for i := range jobs {
		if err := enc.Encode(&jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

func printJobs(out io.Writer, jobs []gateway.Job, first bool) error {
	var rows [][]string
	if first {
		rows = append(rows, []string{"DESTINATION", "STATE", "PRIORITY", "TRIES", "RECEIVED", "SIZE", "INSTANCE", "REASON"})
	}
	for i := range jobs {
		j := &jobs[i]
		rows = append(rows, []string{
			j.Destination, stateText(j), j.Priority, strconv.Itoa(j.Attempts),
			j.Received.Local().Format(time.DateTime), bytesText(j.Size), string(j.Instance), j.LastError,
		})
	}
	return table(out, rows)
}

func stateText(j *gateway.Job) string {
	later := ""
	if j.NotBefore.After(time.Now()) {
		later = time.Until(j.NotBefore).Round(time.Second).String()
	}
	switch {
	case j.State == "pending" && later != "":
		return "waiting " + later
	case j.State == "awaiting" && later != "":
		return "awaiting, asked in " + later
	case j.State == "committed":
		return "committed " + j.Updated.Local().Format(time.DateTime)
	}
	return j.State
}

func newQueueRetry() *cobra.Command {
	cmd, sel := newQueueChange("retry", "Make jobs pending again, ready at once",
		"Make the selected jobs pending again, ready at once: parked and refused ones if no\n--state is given, otherwise those of that state. With --state awaiting the\ndestination is asked for its commitment again at once.\n\n"+
			"A version of an instance of which the destination has a later one is left alone: it\nwould take that one's place.", "made pending",
		gateway.Operator.Retry)
	cmd.Flags().BoolVar(&sel.filter.Superseded, "superseded", false, "also versions of which the destination has a later one")
	return cmd
}

func newQueueDrop() *cobra.Command {
	cmd, _ := newQueueChange("drop", "Give jobs up; the instances stay in the spool",
		"Give the selected pending, parked and refused jobs up. The instances stay in the\nspool until they are evicted, and a dropped job can be retried until then. With\n--state awaiting it is the commitment that is given up: the jobs count as delivered.", "dropped",
		gateway.Operator.Drop)
	return cmd
}

// changeJobs is one of the operator's methods that change jobs.
type changeJobs func(op gateway.Operator, ctx context.Context, f gateway.JobFilter, reason string) (gateway.Changed, error)

// selectionError tells a selection that cannot be meant from an operation that
// failed.
func selectionError(err error) error {
	if errors.Is(err, gateway.ErrNothingSelected) {
		return usageError{errors.New("select jobs with --destination, --study, --instance or --code, or all of them with --all")}
	}
	if unknown, ok := errors.AsType[*gateway.DestinationError](err); ok {
		return usageError{unknown}
	}
	return err
}

// changedText says what was done, and what was not.
func changedText(c gateway.Changed, done string) string {
	s := count(c.Count, "job") + " " + done
	if c.Active > 0 {
		s += fmt.Sprintf("; %s left alone, in delivery", count(c.Active, "job"))
	}
	if c.Superseded > 0 {
		s += fmt.Sprintf("; %s left alone, since the destination has a later version of the instance: drop them, or send them all the same with --superseded", count(c.Superseded, "job"))
	}
	return s
}

// newQueueChange makes the commands that change jobs; they differ in little. Flags may be added that select.
func newQueueChange(name, short, long, done string, change changeJobs) (*cobra.Command, *selection) {
	var at where
	var sel selection
	var asJSON bool
	var reason string
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long:  long,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := sel.get()
			if err != nil {
				return err
			}
			return at.operate(cmd.Context(), func(op gateway.Operator) error {
				changed, err := change(op, cmd.Context(), filter, reason)
				if err != nil {
					return selectionError(err)
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(changed)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), changedText(changed, done))
				return err
			})
		},
	}
	at.flags(cmd)
	sel.flags(cmd, &at)
	cmd.Flags().BoolVar(&sel.filter.All, "all", false, "really all jobs, if nothing else selects")
	cmd.Flags().StringVar(&reason, "reason", "by command", "why; kept with the jobs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd, &sel
}
