package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"dcmgate/gateway"
)

// pageDate is that of the manual pages: not the day of the build.
var pageDate = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// manOutcome is a section of every command's page, manFiles of that of dcmgate.
const (
	manOutcome = ".SH EXIT STATUS\n.TP\n.B 0\nall well\n.TP\n.B 1\nthe operation failed\n.TP\n.B 2\nwrong usage or configuration\n"
	manFiles   = ".SH FILES\n" +
		".TP\n.I /etc/dcmgate/dcmgate.yaml\nconfiguration, see \\fBdcmgate.yaml\\fP(5)\n" +
		".TP\n.I /etc/dcmgate/secrets\nsecrets that systemd hands to the gateway\n" +
		".TP\n.I /var/lib/dcmgate\nwhat was received, its index and the audit trail; never to be edited by hand\n" +
		".TP\n.I /usr/share/doc/dcmgate\ndocumentation: quickstart, operations, troubleshooting and more, also in Chinese under zh; examples\n" +
		".SH ENVIRONMENT\n.TP\n.BR GOMEMLIMIT ,\\  GOGC\nlimit and pace of the garbage collector, instead of 256 MiB and 30\n"
)

// TestManPages makes a manual page of every command, and one of the configuration. scripts/deb has them written to
// $MAN_DIR: being made by a test, they cost the program itself nothing.
func TestManPages(t *testing.T) {
	dir := os.Getenv("MAN_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	started := false
	root := newRoot(&started, io.Discard)
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Source: "dcmgate", Manual: "DICOM gateway", Date: &pageDate}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	everyCommand(root, func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		file := filepath.Join(dir, name+".1")
		page, err := os.ReadFile(file)
		if err == nil {
			page = []byte(finished(string(page), c))
			err = os.WriteFile(file, page, 0o644)
		}
		for _, part := range []string{".SH NAME\n" + name, ".SH SYNOPSIS\n", c.Short, ".SH EXIT STATUS", "SEE ALSO"} {
			if err != nil || !strings.Contains(strings.ReplaceAll(string(page), `\-`, "-"), part) {
				t.Errorf("%s: no %q in its page, %v", name, part, err)
			}
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "dcmgate.yaml.5"), []byte(configurationPage()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// everyCommand calls do with a command and all below it that have help of their own.
func everyCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			everyCommand(sub, do)
		}
	}
}

// finished adds to a page what cobra does not know, and takes away what it writes behind flags without a default.
func finished(page string, c *cobra.Command) string {
	page = strings.NewReplacer("[=false]", "", `=""`, "=VALUE", "=[]", "=VALUE").Replace(page)
	added := manOutcome
	if commands := c.Commands(); len(commands) > 0 {
		list := ".SH COMMANDS\n"
		for _, sub := range commands {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				list += ".TP\n.B " + sub.Name() + "\n" + sub.Short + "\n"
			}
		}
		added = list + added
	}
	if !c.HasParent() {
		added += manFiles
		page = strings.TrimRight(page, "\n") + ", \\fBdcmgate.yaml\\fP(5)\n"
	}
	return strings.Replace(page, ".SH SEE ALSO", added+".SH SEE ALSO", 1)
}

// configurationPage is the reference configuration as a manual page.
func configurationPage() string {
	text := strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`).Replace(gateway.Reference)
	return ".TH DCMGATE.YAML 5 \"" + pageDate.Format("Jan 2006") + "\" dcmgate \"DICOM gateway\"\n" +
		".SH NAME\ndcmgate.yaml \\- configuration of dcmgate\n" +
		".SH DESCRIPTION\nA file in YAML, UTF\\-8. Every key with its meaning, default and limits; `dcmgate config check` names the line of each\n" +
		"mistake. A running gateway takes most changes by itself.\n" +
		".SH REFERENCE\n.nf\n" + strings.ReplaceAll("\n"+text, "\n.", "\n\\&.")[1:] + ".fi\n" +
		".SH SEE ALSO\n\\fBdcmgate\\fP(1), \\fBdcmgate\\-config\\-check\\fP(1), \\fBdcmgate\\-reload\\fP(1)\n"
}

// TestExamplesAreAccepted has the command line take every example, without running it.
func TestExamplesAreAccepted(t *testing.T) {
	started := false
	root := newRoot(&started, io.Discard)
	everyCommand(root, func(c *cobra.Command) {
		path := strings.TrimPrefix(c.CommandPath(), "dcmgate ")
		if len(c.Commands()) == 0 && !strings.HasPrefix(path, "completion") && examples[path] == nil {
			t.Errorf("%s has no example", path)
		}
	})
	for path, lines := range examples {
		for _, line := range lines {
			args := exampleArguments(line)
			c, rest, err := newRoot(&started, io.Discard).Find(args[1:])
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err == nil {
				err = c.ValidateArgs(c.Flags().Args())
			}
			if err != nil || c.CommandPath() != "dcmgate "+path {
				t.Errorf("%s: %s: %v", path, line, err)
			}
		}
	}
}

// exampleArguments are those of dcmgate in a line of the shell.
func exampleArguments(line string) (args []string) {
	var word strings.Builder
	quote := rune(0)
	for _, r := range line + " " {
		switch {
		case r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == 0 && (r == '>' || r == '&'):
			return args
		case quote == 0 && r == ' ':
			if word.Len() > 0 {
				args = append(args, word.String())
			}
			word.Reset()
		default:
			word.WriteRune(r)
		}
	}
	return args
}
