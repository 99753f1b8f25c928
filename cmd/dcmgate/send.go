package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sync/errgroup"

	"dcmgate/pdu"
	"dcmgate/transfer"
)

// sendOptions are the flags of send.
type sendOptions struct {
	peer
	associations int
	window       int
	json         bool
}

// sendReport is the result of send, and what --json prints.
type sendReport struct {
	Sent     int            `json:"sent"` // answered with success or a warning
	Bytes    int64          `json:"bytes"`
	Warnings int            `json:"warnings"`
	Failed   int            `json:"failed"`
	Skipped  int            `json:"skipped"` // files that are not DICOM
	Reasons  map[string]int `json:"reasons"` // of failures and warnings
	Seconds  float64        `json:"seconds"`
}

func newSend() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send HOST:PORT PATH...",
		Short: "Send DICOM files and folders by C-STORE",
		Long: "Send DICOM files and folders by C-STORE, each in the transfer syntax it is stored in.\n" +
			"Files that are not DICOM are skipped and counted.",
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(args[0]); err != nil {
				return usageError{err}
			}
			return runSend(cmd, &o, args[1:])
		},
	}
	o.flags(cmd)
	cmd.Flags().IntVar(&o.associations, "associations", 1, "associations at once, 1 to 64")
	cmd.Flags().IntVar(&o.window, "window", 8, "asynchronous operations window to propose, 1 to 64")
	cmd.Flags().BoolVar(&o.json, "json", false, "print the summary as JSON")
	return cmd
}

func (o *sendOptions) check(address string) error {
	if o.associations < 1 || o.associations > 64 {
		return fmt.Errorf("--associations %d: 1 to 64 are allowed", o.associations)
	}
	if o.window < 1 || o.window > 64 {
		return fmt.Errorf("--window %d: 1 to 64 are allowed", o.window)
	}
	return o.peer.check(address)
}

func runSend(cmd *cobra.Command, o *sendOptions, paths []string) error {
	files, err := findInstances(cmd.Context(), paths)
	if err != nil {
		return err
	}
	s := &sender{
		options: o,
		files:   files,
		report:  sendReport{Skipped: files.skipped, Reasons: make(map[string]int)},
		bar:     newBar(cmd.ErrOrStderr(), "sending", decor.CountersNoUnit("%d / %d")),
	}
	for _, fault := range files.faults {
		s.fail(1, fault)
	}
	begun := time.Now()
	err = s.send(cmd.Context())
	s.report.Seconds = time.Since(begun).Seconds()
	s.bar.close()
	if e := s.print(cmd.OutOrStdout(), cmd.ErrOrStderr()); err == nil {
		err = e
	}
	switch {
	case s.report.Failed > 0:
		return errReported // with the reasons, which the summary gives
	case err != nil:
		return err
	case len(files.items) == 0:
		return errors.New("no DICOM files found")
	}
	return nil
}

// send moves everything, proposal by proposal.
func (s *sender) send(ctx context.Context) error {
	pairs := make([]transfer.Pair, len(s.files.items))
	for i, item := range s.files.items {
		pairs[i] = item.Pair
	}
	plan := transfer.NewPlan(pairs, transfer.PlanOptions{})
	batches := make([][]*transfer.Item, len(plan.Proposals))
	for i, item := range s.files.items {
		batches[plan.Assigned[i]] = append(batches[plan.Assigned[i]], item)
	}
	var failed error
	for i, batch := range batches {
		if failed != nil {
			s.fail(len(batch), "not sent: "+failed.Error())
			continue
		}
		failed = s.sendBatch(ctx, plan.Proposals[i], batch)
	}
	return failed
}

// sendBatch sends what one proposal serves over as many associations as asked
// for, all fed from one queue.
func (s *sender) sendBatch(ctx context.Context, contexts []pdu.PresentationContext, batch []*transfer.Item) error {
	q := &sendQueue{sender: s, items: batch}
	var group errgroup.Group
	for range min(s.options.associations, len(batch)) {
		group.Go(func() error { return s.work(ctx, contexts, q) })
	}
	err := group.Wait()
	if left := q.drain(); left > 0 && err != nil {
		s.fail(left, "not sent: "+err.Error())
	}
	return err
}

// work sends from the queue until it is empty. An association that breaks is
// replaced, unless it broke before it had achieved anything.
func (s *sender) work(ctx context.Context, contexts []pdu.PresentationContext, q *sendQueue) error {
	for !q.empty() {
		a, err := s.options.dial(ctx, contexts, s.options.window)
		if err != nil {
			return err
		}
		source := &sendSource{queue: q}
		pump := transfer.Pump{Association: transfer.Over(a), Source: source, Window: s.options.window}
		err = pump.Run(ctx)
		if err == nil {
			err = a.Release(ctx)
		}
		if e := a.Close(); err == nil {
			err = e
		}
		if err != nil && (source.answered == 0 || ctx.Err() != nil) {
			return fmt.Errorf("association with %s: %w", s.options.address, explained(err))
		}
	}
	return nil
}

// print writes the summary, and to stderr the reasons of failures and
// warnings.
func (s *sender) print(out, stderr io.Writer) error {
	r := &s.report
	if s.options.json {
		return json.NewEncoder(out).Encode(r)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		fmt.Fprintf(stderr, "dcmgate: %d x %s\n", r.Reasons[reason], reason)
	}
	took := time.Duration(r.Seconds * float64(time.Second))
	line := fmt.Sprintf("%s sent, %s in %.1f s (%s, %.0f/s); %s, %d failed",
		count(r.Sent, "instance"), bytesText(r.Bytes), r.Seconds, rateText(r.Bytes, took),
		float64(r.Sent)/max(r.Seconds, 1e-9), count(r.Warnings, "warning"), r.Failed)
	if r.Skipped > 0 {
		line += fmt.Sprintf("; %s skipped (not DICOM)", count(r.Skipped, "file"))
	}
	_, err := fmt.Fprintln(out, line)
	return err
}
