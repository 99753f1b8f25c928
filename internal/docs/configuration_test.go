package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dcmgate/gateway"
)

// setting is a key of the reference configuration.
type setting struct {
	path, value string
	text        []string // its comment, a line each
	example     bool     // in a stanza that is commented out
}

var (
	// exampleLine is a line of the reference that is commented out, as in the gateway's own test of it.
	exampleLine = regexp.MustCompile(`^#(\s{2,}|[a-z])`)
	keyLine     = regexp.MustCompile(`^( *)(- )?([a-z0-9_]+):(?: (.*))?$`)
	commentLine = regexp.MustCompile(`^ *# ?(.*)$`)
)

// settings reads the reference: what it begins with, and its keys in order.
func settings(t *testing.T) (head []string, keys []setting) {
	t.Helper()
	type level struct {
		indent int
		path   string
	}
	var above []level
	var comment []string
	for line := range strings.Lines(gateway.Reference) {
		line = strings.TrimRight(line, "\n")
		example := exampleLine.MatchString(line)
		if example {
			line = line[1:]
		}
		switch m := keyLine.FindStringSubmatch(line); {
		case line == "" && keys == nil && head == nil:
			head, comment = comment, nil
		case line == "":
			comment = nil
		case m != nil:
			indent := len(m[1]) + len(m[2])
			for len(above) > 0 && above[len(above)-1].indent >= indent {
				above = above[:len(above)-1]
			}
			path := m[3]
			if len(above) > 0 {
				path = above[len(above)-1].path + "." + path
			}
			keys = append(keys, setting{path, m[4], comment, example})
			comment = nil
			if m[4] == "" { // a mapping or, if its first line says so, a list
				above = append(above, level{indent, path})
			}
			if m[2] != "" && len(above) > 0 && !strings.HasSuffix(above[len(above)-1].path, "[]") {
				above[len(above)-1].path += "[]"
				keys[len(keys)-1].path = above[len(above)-1].path + "." + m[3]
			}
		case commentLine.MatchString(line):
			comment = append(comment, commentLine.FindStringSubmatch(line)[1])
		default:
			t.Fatalf("the reference has a line that is neither key nor comment: %q", line)
		}
	}
	return head, keys
}

// configurationPage writes docs/configuration.md.
func configurationPage(t *testing.T) string {
	head, keys := settings(t)
	var b strings.Builder
	b.WriteString("# Configuration\n\n<!-- made from gateway/reference.yaml by the test of internal/docs; change it there and run: go test ./internal/docs -run Configuration -update -->\n\n" +
		"Every key with its meaning, default and limits: what `dcmgate config example` prints, as a page. How a running gateway takes a\n" +
		"change is in [operations.md](operations.md#changing-the-configuration).\n\n")
	_, rest, ok := strings.Cut(strings.Join(head, "\n"), "limits. ") // what the page has said already
	if !ok {
		t.Fatal("the reference begins otherwise")
	}
	b.WriteString(rest + "\n\n")
	table := false
	for _, k := range keys {
		top := !strings.Contains(k.path, ".")
		if top {
			if table {
				b.WriteString("\n")
			}
			table = false
			fmt.Fprintf(&b, "## %s\n\n%s\n\n", k.path, strings.Join(k.text, "\n"))
			if k.value != "" {
				fmt.Fprintf(&b, "Default: `%s`\n\n", k.value)
			}
			continue
		}
		if !table {
			column := "default"
			if k.example {
				column = "default or example"
			}
			fmt.Fprintf(&b, "| key | %s | meaning |\n| --- | --- | --- |\n", column)
			table = true
		}
		value := ""
		if k.value != "" {
			value = "`" + strings.ReplaceAll(k.value, "|", `\|`) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.path, value, strings.ReplaceAll(strings.Join(k.text, " "), "|", `\|`))
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func TestConfigurationPageIsTheReference(t *testing.T) {
	path := filepath.Join(root, "docs", "configuration.md")
	want := configurationPage(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/configuration.md is not what gateway/reference.yaml says (%v); go test ./internal/docs -run Configuration -update", err)
	}
	_, keys := settings(t)
	if len(keys) < 150 {
		t.Errorf("only %d keys were found", len(keys))
	}
	for _, k := range keys {
		if len(k.text) == 0 && !strings.HasSuffix(k.path, ".key") {
			t.Logf("%s has no comment of its own", k.path)
		}
	}
}
