package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// TestManPages makes a manual page of every command. scripts/deb has them written to $MAN_DIR: being made by a test, they
// cost the program itself nothing.
func TestManPages(t *testing.T) {
	dir := os.Getenv("MAN_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	started := false
	root := newRoot(&started)
	root.DisableAutoGenTag = true // the day of the build
	date := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "dcmgate", Manual: "DICOM gateway", Date: &date}, dir); err != nil {
		t.Fatal(err)
	}
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		page, err := os.ReadFile(filepath.Join(dir, name+".1"))
		for _, part := range []string{".SH NAME\n" + name, ".SH SYNOPSIS\n", c.Short, "SEE ALSO"} {
			if err != nil || !strings.Contains(strings.ReplaceAll(string(page), `\-`, "-"), part) {
				t.Errorf("%s: no %q in its page, %v", name, part, err)
			}
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				check(sub)
			}
		}
	}
	check(root)
}
