package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/dicom"
	"dcmgate/internal/doctor"
)

func newDoctor() *cobra.Command {
	var at where
	var asJSON bool
	o := doctor.Options{Compressed: compressedSyntaxes(), StorageClasses: storageClassesByFrequency()}
	cmd := &cobra.Command{
		Use:   "doctor [PEER|DESTINATION|UPSTREAM|DATABASE]...",
		Short: "Find out what is wrong with this machine or a connection",
		Long: "Doctor examines step by step and says in words what is wrong and what to do about it.\n" +
			"Without a name: the configuration with the files it names, disk, clock and ports of this\n" +
			"machine, the gateway that runs, and every destination, upstream, peer with an address,\n" +
			"database and cloud of the configuration. With names: these. It changes nothing, and\n" +
			"sends application entities nothing but a C-ECHO.\n\n" +
			"Exit status: 0 everything works, 1 something does not, 2 wrong usage or configuration.",
		ValidArgsFunction: func(cmd *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
			cfg, err := at.load()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			names := slices.DeleteFunc(doctor.Names(&cfg), func(name string) bool { return slices.Contains(done, name) })
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Timeout <= 0 {
				return usageError{fmt.Errorf("--timeout %v: must be positive", o.Timeout)}
			}
			o.Names = args
			return runDoctor(cmd, &at, o, asJSON)
		},
	}
	at.flags(cmd)
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 10*time.Second, "how long each step may take")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a document for each thing examined")
	return cmd
}

// compressedSyntaxes are those of usualSyntaxes that images are compressed by.
func compressedSyntaxes() []dicom.UID {
	return slices.DeleteFunc(slices.Clone(usualSyntaxes), func(uid dicom.UID) bool { return !uid.Encapsulated() })
}

// storageClassesByFrequency are the usual SOP classes: the first of each modality before the others.
func storageClassesByFrequency() (classes []dicom.UID) {
	for _, m := range modalityClasses {
		classes = append(classes, m.classes[0])
	}
	for _, m := range modalityClasses {
		classes = append(classes, m.classes[1:]...)
	}
	return classes
}

func runDoctor(cmd *cobra.Command, at *where, o doctor.Options, asJSON bool) error {
	cfg, err := at.load()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	color := isTerminal(out)
	var problems, warnings int
	var written error
	err = doctor.Examine(cmd.Context(), cfg, o, func(e *doctor.Examined) {
		for _, f := range e.Findings {
			switch f.Outcome {
			case doctor.Problem:
				problems++
			case doctor.Warning:
				warnings++
			}
		}
		if asJSON {
			written = json.NewEncoder(out).Encode(e)
		} else {
			printExamined(out, e, color)
		}
	})
	if err != nil {
		return usageError{err}
	}
	if cmd.Context().Err() != nil {
		return cmd.Context().Err()
	}
	if !asJSON {
		fmt.Fprintf(out, "%s, %s\n", count(problems, "problem"), count(warnings, "warning"))
	}
	if written == nil && problems > 0 {
		return errReported
	}
	return written
}

// Marks of outcomes, and their colours on a terminal.
var outcomeMarks = map[doctor.Outcome]struct{ mark, color string }{
	doctor.OK: {"ok", "32"}, doctor.Note: {"note", "36"}, doctor.Warning: {"warning", "33"}, doctor.Problem: {"PROBLEM", "31"},
}

func printExamined(out io.Writer, e *doctor.Examined, color bool) {
	title := strings.Join(slices.DeleteFunc([]string{string(e.Kind), e.Name, e.Address}, func(s string) bool { return s == "" }), " ")
	fmt.Fprintln(out, title)
	for _, f := range e.Findings {
		m := outcomeMarks[f.Outcome]
		mark := fmt.Sprintf("%-7s", m.mark)
		if color {
			mark = "\x1b[" + m.color + "m" + mark + "\x1b[0m"
		}
		fmt.Fprintf(out, "  %s  %-10s  %s\n", mark, f.Check, indented(f.Words))
		if f.Advice != "" {
			fmt.Fprintf(out, "  %21s→ %s\n", "", indented(f.Advice))
		}
	}
	fmt.Fprintln(out)
}

// indented keeps further lines of a text in their column.
func indented(text string) string {
	return strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", 23))
}
