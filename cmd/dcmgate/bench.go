package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
	"dcmgate/internal/bench"
)

// Bounds of what bench may be asked to measure.
const (
	minBenchSize         = 2 << 10 // a data set without pixels has about a kilobyte
	maxBenchSize         = 256 << 20
	maxBenchAssociations = 64
	maxBenchBytes        = 1 << 30 // in the memory of sender and sink
	minBenchDuration     = 100 * time.Millisecond
	maxBenchDuration     = 5 * time.Minute
)

func newBench() *cobra.Command {
	var config string
	var sizes []string
	var asJSON, quick bool
	o := bench.Options{Version: version}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a gateway can do on this machine",
		Long: "Bench measures how fast a gateway on this machine stores instances durably, delivers\n" +
			"them, and does both at once, for several sizes and numbers of associations, beside what\n" +
			"disk, network and processor give to programs that do nothing else, in the same run. It\n" +
			"starts gateways of its own on loopback and leaves nothing behind. A gateway that is\n" +
			"running is not touched, but shares the machine and makes the figures worse.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if quick {
				quicken(cmd, &o, &sizes)
			}
			if o.Sizes, err = benchSizes(sizes); err != nil {
				return usageError{err}
			}
			if err := checkBench(&o); err != nil {
				return usageError{err}
			}
			if o.Dir, err = benchDir(o.Dir, config); err != nil {
				return err
			}
			report, err := runBench(cmd, o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			}
			return printBench(cmd.OutOrStdout(), report)
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "configuration file: measure in the folder that holds its data_dir")
	f.StringVar(&o.Dir, "dir", "", "folder to measure in, on the disk in question; without it or --config the current one")
	f.StringSliceVar(&sizes, "sizes", []string{"20kB", "526kB", "10MB"}, "sizes of data sets")
	f.IntSliceVar(&o.Associations, "associations", []int{1, 4, 16}, "numbers of associations")
	f.DurationVar(&o.Duration, "duration", 1500*time.Millisecond, "time of one measurement; there are five for each size and number")
	f.BoolVar(&quick, "quick", false, "only CT images over 1 and 4 associations, half a second each")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// quicken sets what was not asked for to what is soon measured.
func quicken(cmd *cobra.Command, o *bench.Options, sizes *[]string) {
	changed := cmd.Flags().Changed
	if !changed("sizes") {
		*sizes = []string{"526kB"}
	}
	if !changed("associations") {
		o.Associations = []int{1, 4}
	}
	if !changed("duration") {
		o.Duration = 500 * time.Millisecond
	}
}

func benchSizes(texts []string) (sizes []int64, err error) {
	for _, text := range texts {
		n, err := gateway.ParseSize(text)
		if err != nil {
			return nil, fmt.Errorf("--sizes: %w", err)
		}
		if n < minBenchSize || n > maxBenchSize {
			return nil, fmt.Errorf("--sizes: %s is not between %s and %s", text, bytesText(minBenchSize), bytesText(maxBenchSize))
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

func checkBench(o *bench.Options) error {
	if len(o.Sizes) == 0 || len(o.Associations) == 0 {
		return errors.New("--sizes and --associations need at least one value each")
	}
	for _, n := range o.Associations {
		if n < 1 || n > maxBenchAssociations {
			return fmt.Errorf("--associations: %d is not between 1 and %d", n, maxBenchAssociations)
		}
		for _, size := range o.Sizes {
			if int64(n)*size > maxBenchBytes {
				return fmt.Errorf("%d associations with %s each need more than %s of memory; take fewer or smaller ones", n, bytesText(size), bytesText(maxBenchBytes))
			}
		}
	}
	if o.Duration < minBenchDuration || o.Duration > maxBenchDuration {
		return fmt.Errorf("--duration: %v is not between %v and %v", o.Duration, minBenchDuration, maxBenchDuration)
	}
	return nil
}

// benchDir is the folder to measure in.
func benchDir(dir, config string) (string, error) {
	if config != "" && dir != "" {
		return "", usageError{errors.New("--dir and --config both say where to measure; give one of them")}
	}
	if config != "" {
		cfg, err := loadConfig(config)
		if err != nil {
			return "", err
		}
		dir = filepath.Dir(filepath.Clean(cfg.DataDir))
	}
	if dir == "" {
		dir = "."
	}
	return filepath.Abs(dir)
}

// runBench shows a bar for the measurements.
func runBench(cmd *cobra.Command, o bench.Options) (*bench.Report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	o.Command = []string{self}
	b, say := newStepBar(cmd.ErrOrStderr(), "measuring")
	defer b.close()
	o.Progress = func(done, total int, what string) {
		b.set(int64(done), int64(total))
		say(what)
	}
	return bench.Run(cmd.Context(), o)
}

func printBench(out io.Writer, r *bench.Report) error {
	m := r.Machine
	fmt.Fprintf(out, "%s, %s, %s of memory; %s at %s\n", m.Platform, count(m.Processors, "processor"), bytesText(m.MemoryBytes), m.FileSystem, m.Dir)
	fmt.Fprintf(out, "SHA-256 %s/s on one processor, loopback %s/s\n\n", bytesText(int64(m.DigestMBPerSecond*1e6)), bytesText(int64(m.LoopbackMBPerSecond*1e6)))
	if m.InMemory {
		fmt.Fprintf(out, "%s is kept in memory: the figures say nothing about a disk\n\n", m.FileSystem)
	}
	rows := [][]string{{"SIZE", "ASSOCIATIONS", "DISK", "INGEST", "OF DISK", "P50", "P99", "CPU", "FORWARD", "END TO END", "NETWORK", "MEMORY"}}
	for _, c := range r.Cases {
		rows = append(rows, []string{
			bytesText(c.SizeBytes), strconv.Itoa(c.Associations), perSecond(c.Disk), perSecond(c.Ingest), share(c.Ingest, c.Disk),
			millis(c.Ingest.Answers.P50), millis(c.Ingest.Answers.P99), fmt.Sprintf("%.1f s/GB", c.Ingest.Gateway.CPUSecondsPerGB),
			perSecond(c.Forward), perSecond(c.EndToEnd), perSecond(c.Network), bytesText(int64(max(c.Ingest.Gateway.PeakMB, c.Forward.Gateway.PeakMB, c.EndToEnd.Gateway.PeakMB) * 1e6)),
		})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s", benchWords(r.Cases))
	return err
}

func perSecond(r bench.Rate) string {
	return strconv.FormatFloat(r.InstancesPerSecond, 'f', decimals(r.InstancesPerSecond), 64) + "/s"
}

func share(part, whole bench.Rate) string {
	if whole.InstancesPerSecond == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", part.InstancesPerSecond/whole.InstancesPerSecond)
}

func millis(ms float64) string { return strconv.FormatFloat(ms, 'f', decimals(ms), 64) + " ms" }

// benchWords says what the best end to end rate means.
func benchWords(cases []bench.Case) string {
	best := cases[0]
	for _, c := range cases[1:] {
		if c.EndToEnd.MBPerSecond > best.EndToEnd.MBPerSecond {
			best = c
		}
	}
	return fmt.Sprintf("Instances are answered when they are durable; DISK is what as many writers get that append and sync.\n"+
		"At best this machine receives and delivers %s/s at the same time: %s a day.\n",
		bytesText(int64(best.EndToEnd.MBPerSecond*1e6)), bytesText(int64(best.EndToEnd.MBPerSecond*1e6*86400)))
}
