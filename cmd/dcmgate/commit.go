package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/decor"

	"dcmgate/commitment"
	"dcmgate/dicom"
)

// commitOptions are the flags of commit.
type commitOptions struct {
	peer
	listen  string
	wait    time.Duration
	batch   int
	studies []string
	json    bool
}

// What became of an instance, in JSON.
const (
	commitCommitted  = "committed"
	commitFailed     = "failed"
	commitUnanswered = "unanswered"
)

// commitInstance is an instance that was asked about.
type commitInstance struct {
	SOPInstanceUID dicom.UID `json:"sop_instance_uid"`
	SOPClassUID    dicom.UID `json:"sop_class_uid"`
	Path           string    `json:"path,omitempty"` // of the first file of it
	State          string    `json:"state"`
	Reason         string    `json:"reason,omitempty"` // Failure Reason, hexadecimal
	Meaning        string    `json:"meaning,omitempty"`
}

// commitReport is the result of commit, and what --json prints.
type commitReport struct {
	Committed    int              `json:"committed"`
	Failed       int              `json:"failed"`
	Unanswered   int              `json:"unanswered"` // no result came
	Unreadable   int              `json:"unreadable"` // files
	Skipped      int              `json:"skipped"`    // files that are not DICOM
	Transactions []dicom.UID      `json:"transactions"`
	RetrieveAE   string           `json:"retrieve_ae_title,omitempty"`
	Instances    []commitInstance `json:"instances"`
	Seconds      float64          `json:"seconds"`
}

func newCommit() *cobra.Command {
	var o commitOptions
	cmd := &cobra.Command{
		Use:   "commit HOST:PORT [PATH...]",
		Short: "Ask a peer for storage commitment",
		Long: "Ask a peer whether it keeps instances for good (storage commitment), and wait for its report.\n" +
			"Which instances: those of DICOM files and folders, or of studies that the peer has.\n" +
			"The report is taken over the association of the request and, with --listen, over one that\n" +
			"the peer requests.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return usageError{err}
			}
			return runCommit(cmd, &o, args[1:])
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "`HOST:PORT` to take reports at, as the peer knows it for the calling AE title")
	f.DurationVar(&o.wait, "wait", time.Minute, "how long to wait for reports after the last request")
	f.IntVar(&o.batch, "batch", 1000, "instances of one request, 1 to 10000")
	f.StringArrayVar(&o.studies, "study", nil, "Study Instance `UID` of a study, whose instances the peer is asked for by C-FIND; may be repeated")
	f.BoolVar(&o.json, "json", false, "print the result as JSON")
	return cmd
}

func (o *commitOptions) check(args []string) error {
	if len(args) < 2 && len(o.studies) == 0 {
		return errors.New("which instances? name files or folders, or a study with --study")
	}
	if o.batch < 1 || o.batch > commitment.MaxReferences {
		return fmt.Errorf("--batch %d: 1 to %d are allowed", o.batch, commitment.MaxReferences)
	}
	if o.wait <= 0 {
		return fmt.Errorf("--wait %v: must be positive", o.wait)
	}
	if o.listen != "" {
		if _, _, err := net.SplitHostPort(o.listen); err != nil {
			return fmt.Errorf("--listen %q is not HOST:PORT", o.listen)
		}
	}
	return o.peer.check(args[0])
}

func runCommit(cmd *cobra.Command, o *commitOptions, paths []string) error {
	ctx := cmd.Context()
	c := &committing{options: o, stderr: cmd.ErrOrStderr(), index: make(map[commitment.Reference]int)}
	if err := c.gather(ctx, paths); err != nil {
		return err
	}
	if len(c.report.Instances) == 0 {
		return errors.New("no instances found")
	}
	begun := time.Now()
	progress := newBar(cmd.ErrOrStderr(), "asking", decor.CountersNoUnit("%d / %d"))
	err := c.ask(ctx, progress)
	progress.close()
	c.report.Seconds = time.Since(begun).Seconds()
	if e := c.print(cmd.OutOrStdout()); e != nil {
		return errors.Join(err, e)
	}
	switch r := &c.report; {
	case err != nil:
		return err
	case r.Failed+r.Unanswered+r.Unreadable > 0:
		return errReported // the summary has said it
	}
	return nil
}

// gather finds what is to be asked about.
func (c *committing) gather(ctx context.Context, paths []string) error {
	if len(paths) > 0 {
		files, err := findInstances(ctx, paths)
		if err != nil {
			return err
		}
		c.report.Skipped, c.report.Unreadable = files.skipped, len(files.faults)
		for _, fault := range files.faults {
			fmt.Fprintf(c.stderr, "dcmgate: %s\n", fault)
		}
		for _, item := range files.items {
			c.add(commitment.Reference{SOPClassUID: item.Pair.SOPClassUID, SOPInstanceUID: item.SOPInstanceUID}, files.paths[item])
		}
	}
	if len(c.options.studies) == 0 {
		return nil
	}
	return c.gatherStudies(ctx)
}

// add takes an instance up once, whatever number of files there is of it.
func (c *committing) add(ref commitment.Reference, path string) {
	if _, known := c.index[ref]; known {
		return
	}
	c.index[ref] = len(c.report.Instances)
	c.report.Instances = append(c.report.Instances, commitInstance{SOPInstanceUID: ref.SOPInstanceUID, SOPClassUID: ref.SOPClassUID,
		Path: path, State: commitUnanswered})
}

// print writes what is not committed, and the summary.
func (c *committing) print(out io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.report
	for i := range r.Instances {
		switch r.Instances[i].State {
		case commitCommitted:
			r.Committed++
		case commitFailed:
			r.Failed++
		default:
			r.Unanswered++
		}
	}
	if c.options.json {
		return json.NewEncoder(out).Encode(r)
	}
	rows := [][]string{{"SOP INSTANCE UID", "STATE", "REASON", "FILE"}}
	for i := range r.Instances {
		if in := &r.Instances[i]; in.State != commitCommitted {
			rows = append(rows, []string{oneLine(string(in.SOPInstanceUID)), in.State, in.Meaning, oneLine(in.Path)})
		}
	}
	if len(rows) > 1 {
		if err := table(out, rows); err != nil {
			return err
		}
	}
	line := fmt.Sprintf("%s committed in %.1f s; %d not, %d without an answer", count(r.Committed, "instance"), r.Seconds, r.Failed, r.Unanswered)
	if r.Unreadable > 0 {
		line += fmt.Sprintf("; %s cannot be read", count(r.Unreadable, "file"))
	}
	if r.Skipped > 0 {
		line += fmt.Sprintf("; %s skipped (not DICOM)", count(r.Skipped, "file"))
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// requests divides what is asked about.
func (c *committing) requests() (list []*commitment.Request) {
	for part := range slices.Chunk(c.report.Instances, c.options.batch) {
		r := &commitment.Request{TransactionUID: commitment.NewTransactionUID()}
		for i := range part {
			r.References = append(r.References, commitment.Reference{SOPClassUID: part[i].SOPClassUID, SOPInstanceUID: part[i].SOPInstanceUID})
		}
		list = append(list, r)
		c.report.Transactions = append(c.report.Transactions, r.TransactionUID)
	}
	return list
}
