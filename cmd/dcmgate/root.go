package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
)

// Exit statuses, which scripts rely on.
const (
	exitOK     = 0
	exitFailed = 1 // the operation failed
	exitUsage  = 2 // wrong usage or configuration
)

// usageError marks an error as one of usage or configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// errReported ends a command that failed and has already said how.
var errReported = errors.New("failed")

// run executes one command line and returns the exit status. Errors go to
// stderr, one per line.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// An error before a command's own code runs is one of usage: an unknown
	// command, flag or number of arguments.
	started := false
	printed := &outlet{out: stdout}
	if !isTerminal(stdout) {
		stdout = printed
	}
	root := newRoot(&started, stdout)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if e := printed.close(); e != nil && err == nil {
		err, started = e, true // also of help, before which nothing starts
	}
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errReported) {
		text := err.Error()
		if ctx.Err() != nil { // by a signal, in words of those who send them
			text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
		}
		for line := range strings.Lines(text) {
			fmt.Fprintf(stderr, "dcmgate: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if !started || errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// newRoot assembles the commands, which print to stdout; *started becomes true when one begins.
func newRoot(started *bool, stdout io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "dcmgate",
		Short:         "DICOM gateway: receive, keep, deliver",
		Long:          "dcmgate receives DICOM instances, keeps them durably and delivers each to every\nconfigured destination.\n\nExit status: 0 all well, 1 the operation failed, 2 wrong usage or configuration.",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          needSubcommand,
		PersistentPreRun: func(*cobra.Command, []string) {
			*started = true
		},
	}
	root.AddCommand(
		newServe(),
		newDemo(),
		newSend(),
		newEcho(),
		newFind(),
		newMove(),
		newGet(),
		newCommit(),
		newStatus(),
		newHealthcheck(),
		newReload(),
		newQueue(),
		newViews(),
		newVerify(),
		newBench(),
		newDoctor(),
		newRestore(),
		newLinks(),
		newImages(),
		newAudit(),
		newConfig(),
		newVersion(),
	)
	withExamples(root)
	root.SetOut(stdout)
	strict(root) // whose commands remember where to print
	return root
}

// strict makes of cobra's own commands, help and completion, ones that fail
// where they are asked for what is not there.
func strict(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Run, c.RunE = nil, help
		case "completion":
			c.Args, c.RunE = nil, needSubcommand
		}
	}
}

// help is the RunE of the command of that name.
func help(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err != nil {
		return usageError{err}
	}
	if len(rest) > 0 {
		return unknownCommand(about, rest[0])
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

func unknownCommand(group *cobra.Command, name string) error {
	return usageError{fmt.Errorf("unknown command %q for %q; see %s --help", name, group.CommandPath(), group.CommandPath())}
}

// needSubcommand is the RunE of a command that only groups others.
func needSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usageError{fmt.Errorf("%s needs one of %s; see %s --help", cmd.CommandPath(), strings.Join(names, ", "), cmd.CommandPath())}
}

// loadConfig reads a configuration file, or takes the defaults if path is
// empty.
func loadConfig(path string) (gateway.Config, error) {
	if path == "" {
		return gateway.Default(), nil
	}
	cfg, err := gateway.Load(path)
	if err != nil {
		return gateway.Config{}, usageError{err}
	}
	return cfg, nil
}
