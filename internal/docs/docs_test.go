// Package docs holds the documentation to the code. There is nothing in it but the test.
package docs

import (
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dcmgate/views"
)

const root = "../.."

// page reads a page of the documentation.
func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var metricName = regexp.MustCompile(`^dcmgate_[a-z0-9_]+$`)

// inspect calls see for every node of the product's sources under dir.
func inspect(t *testing.T, dir string, see func(ast.Node)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "spooltest" {
			return filepath.SkipDir // a suite of tests
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			see(n)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// literal returns the text of a string literal, "" of anything else.
func literal(n ast.Node) string {
	if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if text, err := strconv.Unquote(lit.Value); err == nil {
			return text
		}
	}
	return ""
}

// metricNames gathers the metrics' names from the sources. A running gateway would not do: what has labels shows up only
// once something has happened.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	inspect(t, "", func(n ast.Node) {
		if name := literal(n); metricName.MatchString(name) {
			names[name] = true
		}
	})
	if len(names) < 30 {
		t.Fatalf("only %d metrics were found; are their names no longer whole string literals?", len(names))
	}
	return names
}

func TestEveryMetricIsDocumented(t *testing.T) {
	names := metricNames(t)
	documented := make(map[string]bool)
	for _, name := range regexp.MustCompile("`(dcmgate_[a-z0-9_]+)").FindAllStringSubmatch(page(t, "monitoring.md"), -1) {
		documented[name[1]] = true
	}
	for name := range names {
		// Who reads a histogram names its series.
		series := names[strings.TrimSuffix(name, "_sum")] && strings.HasSuffix(name, "_sum") ||
			names[strings.TrimSuffix(name, "_count")] && strings.HasSuffix(name, "_count")
		if !documented[name] && !series {
			t.Errorf("%s is not in docs/monitoring.md", name)
		}
	}
	for name := range documented {
		if !names[name] {
			t.Errorf("docs/monitoring.md describes %s, which the code does not have", name)
		}
	}
}

// logMessages gathers the messages of log lines: string literals given to what logs.
func logMessages(t *testing.T) []string {
	t.Helper()
	var messages []string
	for _, dir := range []string{
		"audit", "commitment", "dimse", "dropfolder", "forwarder", "gateway", "images", "qr", "restore", "spool", "transfer", "upstream", "views", "web",
	} {
		inspect(t, dir, func(n ast.Node) {
			if call, ok := n.(*ast.CallExpr); ok {
				if message := logMessage(call); message != "" {
					messages = append(messages, message)
				}
			}
		})
	}
	if len(messages) < 30 {
		t.Fatalf("only %d log messages were found", len(messages))
	}
	return messages
}

// logPlaces says which argument is the message, by method: slog's, and those that count repetitions.
var logPlaces = map[string]int{"Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "warn": 3, "report": 2, "caution": 2, "refused": 1, "failed": 0}

func logMessage(call *ast.CallExpr) string {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if place, logs := logPlaces[method.Sel.Name]; logs && place < len(call.Args) {
		return literal(call.Args[place])
	}
	return ""
}

func TestEveryLogMessageIsDocumented(t *testing.T) {
	_, table, _ := strings.Cut(page(t, "monitoring.md"), "\n## Log messages\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, message := range logMessages(t) {
		if !strings.Contains(table, "`"+message+"`") {
			t.Errorf("docs/monitoring.md has no log message %q", message)
		}
	}
	literals := make(map[string]bool)
	inspect(t, "", func(n ast.Node) { literals[literal(n)] = true })
	for _, row := range regexp.MustCompile(`(?m)^\| (?:DEBUG|INFO|WARN|ERROR)(.*?) \|`).FindAllStringSubmatch(table, -1) {
		for _, message := range tokens(row[1]) {
			if !literals[message] {
				t.Errorf("docs/monitoring.md has the log message %q, which the code does not have", message)
			}
		}
	}
}

// command is what the help of a command names.
type command struct {
	path  string
	flags []string
	subs  []string
}

var (
	flagLine = regexp.MustCompile(`^ +(?:-\w, )?--([a-z][a-z-]*)`)
	subLine  = regexp.MustCompile(`^  ([a-z]+) `)
)

// help asks the binary for the help of a command.
func help(t *testing.T, binary string, path []string) command {
	t.Helper()
	out, err := exec.Command(binary, append(slices.Clone(path), "--help")...).Output()
	if err != nil {
		t.Fatalf("%v --help: %v", path, err)
	}
	c := command{path: strings.Join(append([]string{"dcmgate"}, path...), " ")}
	section := ""
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, " ") && strings.TrimSpace(line) != "" {
			section = strings.TrimSpace(line)
		}
		if m := flagLine.FindStringSubmatch(line); m != nil && section == "Flags:" && m[1] != "help" {
			c.flags = append(c.flags, m[1])
		}
		if m := subLine.FindStringSubmatch(line); m != nil && section == "Available Commands:" {
			c.subs = append(c.subs, m[1])
		}
	}
	return c
}

// commands walks the help from a command down and returns those that do something.
func commands(t *testing.T, binary string, path ...string) []command {
	t.Helper()
	c := help(t, binary, path)
	if c.path == "dcmgate completion" || len(c.subs) == 0 {
		return []command{c}
	}
	var all []command
	for _, sub := range slices.Compact(slices.Sorted(slices.Values(c.subs))) {
		if sub != "help" {
			all = append(all, commands(t, binary, append(slices.Clone(path), sub)...)...)
		}
	}
	return all
}

func TestEveryCommandAndFlagIsDocumented(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "dcmgate")
	if out, err := exec.Command("go", "build", "-o", binary, "dcmgate/cmd/dcmgate").CombinedOutput(); err != nil {
		t.Fatalf("build dcmgate: %v\n%s", err, out)
	}
	sections := make(map[string]string) // by heading
	for _, section := range strings.Split(page(t, "commands.md"), "\n### ")[1:] {
		heading, body, _ := strings.Cut(section, "\n")
		sections[heading] = body
	}
	all := commands(t, binary)
	if len(all) < 10 {
		t.Fatalf("only %d commands were found", len(all))
	}
	for _, c := range all {
		body, ok := sections[c.path]
		if !ok {
			t.Errorf("docs/commands.md has no heading %q", c.path)
			continue
		}
		for _, flag := range c.flags {
			if !regexp.MustCompile(`--` + flag + `\b`).MatchString(body) {
				t.Errorf("docs/commands.md, %s: --%s is not there", c.path, flag)
			}
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchors returns what the headings of a page are linked to by.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		found[anchor(m[1])] = true
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	pages := []string{filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md")}
	for _, pattern := range []string{"*.md", "*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, "docs", pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	known := make(map[string]map[string]bool) // anchors, by text
	for _, p := range pages {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to := text
			if m[1] != "" {
				if to, err = os.ReadFile(filepath.Join(filepath.Dir(p), m[1])); err != nil && !errors.Is(err, syscall.EISDIR) {
					t.Errorf("%s links to %s, which is not there", filepath.Base(p), m[1])
					continue
				}
			}
			if known[string(to)] == nil {
				known[string(to)] = anchors(string(to))
			}
			if m[2] != "" && !known[string(to)][m[2]] {
				t.Errorf("%s links to %s#%s; no heading there is called so", filepath.Base(p), m[1], m[2])
			}
		}
	}
}

var update = flag.Bool("update", false, "write the generated parts of the documentation")

// inChinese is what of the columns' description is not the standard's own text.
var inChinese = []string{
	"| column | | required |", "| 列 | | 填报要求 |", "| required |", "| 必填 |", "| recommended |", "| 应填 |", "| ours |", "| 补充 |",
	"MySQL, MariaDB", "MySQL、MariaDB",
	"rises by one with each change of a row of this view; remember the highest one read and ask for what is above it",
	"该视图每有一行变化就加一；记住读到的最大值，请求比它大的", "when the row was changed last", "该行最后变化的时间",
	"V_StudyInfo: 1 when nothing was added to the study for rows.complete_after, else 0. V_DocImage and V_DocImage_F: 1 when the path names the whole file, else 0",
	"V_StudyInfo：rows.complete_after 之内检查没有增加内容时为 1，否则为 0。V_DocImage 和 V_DocImage_F：路径指向完整的文件时为 1，否则为 0",
	"ready; evicted: the bytes were given up after delivery; missing: the instance cannot be read",
	"ready：可以取；evicted：送达之后已清除；missing：实例读不出",
	"ready; withdrawn: the image is not to be shown any more, and FilePath leads nowhere; missing: it cannot be read",
	"ready：可以取；withdrawn：图像已撤回，不应再显示，FilePath 不再有效；missing：图像读不出",
}

func TestColumnsOfViewsAreDocumented(t *testing.T) {
	english := views.Describe()
	columnsAre(t, "views.md", english)
	for i := 0; i < len(inChinese); i += 2 {
		if !strings.Contains(english, inChinese[i]) {
			t.Errorf("the columns' description has no %q to translate", inChinese[i])
		}
	}
	chinese := strings.NewReplacer(inChinese...).Replace(english)
	columnsAre(t, "zh/views.md", regexp.MustCompile(`, section (\S+) of the standard\.`).ReplaceAllString(chinese, "，标准 $1。"))
}

// columnsAre compares what a page has for columns, or with -update writes it.
func columnsAre(t *testing.T, name, columns string) {
	t.Helper()
	const begin, end = "<!-- begin of what views.Describe writes -->\n", "<!-- end -->\n"
	text := page(t, name)
	before, rest, okB := strings.Cut(text, begin)
	_, after, okE := strings.Cut(rest, end)
	want := before + begin + columns + end + after
	switch {
	case !okB || !okE:
		t.Errorf("docs/%s has no place for the columns", name)
	case text == want:
	case !*update:
		t.Errorf("docs/%s does not show the columns as they are; run this test with -update", name)
	default:
		if err := os.WriteFile(filepath.Join(root, "docs", name), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
