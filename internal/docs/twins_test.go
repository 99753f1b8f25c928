package docs

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// placeholders are the words for which a reader puts something in, and texts that are theirs to write, as the English page
// has them.
var placeholders = strings.NewReplacer("目的地", "NAME", "名称", "NAME", "新版本", "NEW", "旧版本", "OLD", "版本", "VERSION", "检查UID", "STUDY",
	"行:列: 键", "LINE:COLUMN: KEY",
	"存放DICOM文件的目录", "FOLDER-WITH-DICOM-FILES", "恢复之前已送达", "delivered before the restore", "退回之前已送达", "delivered before going back",
	"云端不收此类", "the cloud does not take these")

// section is what a page says under one heading, as far as it does not depend on the language.
type section struct {
	heading string
	level   int
	tokens  []string   // what is between backquotes, and where links lead
	code    []string   // the lines of code blocks, with their fences
	tables  [][]string // the rows, with their heads
}

var (
	backquoted = regexp.MustCompile("`([^`]+)`")
	capitals   = regexp.MustCompile(`\b(?:[A-Z0-9]{2,}|[0-9])\b`)
	anyLink    = regexp.MustCompile(`\]\(([^)]+)\)`)
	remark     = regexp.MustCompile(`(^|\s+)#.*$`)
)

// sections reads a page of docs (dir is empty) or docs/zh. place says where in its page the heading of a link is.
func sections(text, name, dir string, place func(file, anchor string) string) []section {
	all := []section{{heading: name}}
	var words strings.Builder // of the section, without its code
	end := func() {
		s := &all[len(all)-1]
		s.tokens = unique(append(tokens(words.String()), leads(words.String(), path.Join(dir, name), place)...))
		words.Reset()
	}
	fenced, table, blank := false, false, true
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n ")
		s := &all[len(all)-1]
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		switch {
		case fenced || fence:
			s.code = append(s.code, codeLine(line)...)
			fenced = fenced != fence
		case strings.HasPrefix(line, "    ") && blank:
			s.code = append(s.code, codeLine(line)...)
			continue // a block goes on as if a blank line were above
		case strings.HasPrefix(line, "#"):
			end()
			marks, title, _ := strings.Cut(line, " ")
			all = append(all, section{heading: title, level: len(marks)})
		case strings.HasPrefix(line, "|"):
			if !table {
				s.tables = append(s.tables, nil)
			}
			s.tables[len(s.tables)-1] = append(s.tables[len(s.tables)-1], line)
			words.WriteString(line + "\n")
		default:
			words.WriteString(line + "\n")
		}
		table, blank = strings.HasPrefix(line, "|"), line == ""
	}
	end()
	return all
}

// codeLine is a line of code without its remark and its indentation, nothing if it is but a remark.
func codeLine(line string) []string {
	line = strings.Join(strings.Fields(remark.ReplaceAllString(line, "")), " ")
	if line == "" {
		return nil
	}
	return []string{placeholders.Replace(line)}
}

// tokens are what stands between backquotes, which people type or find in logs: the same in every language.
func tokens(text string) []string {
	var found []string
	for _, m := range backquoted.FindAllStringSubmatch(text, -1) {
		found = append(found, placeholders.Replace(strings.Join(strings.Fields(m[1]), " ")))
	}
	return found
}

// leads tells where the links of a page lead, which is one of docs's or of docs/zh's.
func leads(text, from string, place func(file, anchor string) string) []string {
	var found []string
	for _, m := range anyLink.FindAllStringSubmatch(text, -1) {
		file, anchor, _ := strings.Cut(m[1], "#")
		switch {
		case strings.Contains(file, "://"):
			found = append(found, "link to "+m[1])
			continue
		case file == "":
			file = from
		default:
			file = path.Join(path.Dir(from), file)
		}
		to := "link to " + strings.TrimPrefix(file, "zh/")
		if anchor != "" {
			to += place(file, anchor)
		}
		found = append(found, to)
	}
	return found
}

func unique(of []string) []string { return slices.Compact(slices.Sorted(slices.Values(of))) }

// differences tells what a page has and its twin has not.
func differences(english, chinese []section) []string {
	var found []string
	differ := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for i := range max(len(english), len(chinese)) {
		if i >= len(english) || i >= len(chinese) || english[i].level != chinese[i].level {
			differ("heading %d: %s; %s", i, described(english, i), described(chinese, i))
			return found // what follows is shifted
		}
		e, c := english[i], chinese[i]
		where := e.heading + " / " + c.heading
		for _, missing := range without(e.tokens, c.tokens) {
			differ("%s: only the English page has %s", where, missing)
		}
		for _, missing := range without(c.tokens, e.tokens) {
			differ("%s: only the Chinese page has %s", where, missing)
		}
		if !slices.Equal(e.code, c.code) {
			differ("%s: the code differs:\n%s\n---\n%s", where, strings.Join(e.code, "\n"), strings.Join(c.code, "\n"))
		}
		if len(e.tables) != len(c.tables) {
			differ("%s: %d tables and %d", where, len(e.tables), len(c.tables))
			continue
		}
		for t := range e.tables {
			found = append(found, rowsDiffer(where, e.tables[t], c.tables[t])...)
		}
	}
	return found
}

func described(of []section, i int) string {
	if i >= len(of) {
		return "none"
	}
	return fmt.Sprintf("%q of level %d", of[i].heading, of[i].level)
}

func without(all, others []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
}

// rowsDiffer compares two tables.
func rowsDiffer(where string, english, chinese []string) []string {
	if len(english) != len(chinese) {
		return []string{fmt.Sprintf("%s: the table that begins with %s has %d rows and %d", where, english[0], len(english), len(chinese))}
	}
	var found []string
	for i := range english {
		e, c := strings.Split(english[i], " |"), strings.Split(chinese[i], " |")
		if len(e) != len(c) || !slices.Equal(rowKey(e[0]), rowKey(c[0])) || !slices.Equal(unique(tokens(english[i])), unique(tokens(chinese[i]))) {
			found = append(found, fmt.Sprintf("%s: rows differ in columns or in what is between backquotes:\n%s\n%s", where, english[i], chinese[i]))
		}
	}
	return found
}

// rowKey is what a row is found by: what is between backquotes in its first column, statuses, levels of the log, other abbreviations.
func rowKey(cell string) []string {
	return unique(append(tokens(cell), capitals.FindAllString(backquoted.ReplaceAllString(cell, ""), -1)...))
}

// The Chinese pages say all that the English ones say: the administrators of most hospitals read only those.
func TestChinesePagesAreComplete(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "zh", "*.md"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	// Headings have other words in the other language: they are the same if they are as far down.
	places := make(map[string]map[string]int) // of the headings, by file
	place := func(file, to string) string {
		if places[file] == nil {
			places[file] = make(map[string]int)
			for i, s := range sections(page(t, file), file, "", func(string, string) string { return "" }) {
				places[file][anchor(s.heading)] = i
			}
		}
		if i := places[file][to]; i > 0 {
			return fmt.Sprintf(", heading %d", i)
		}
		return "#" + to
	}
	for _, f := range files {
		name := filepath.Base(f)
		chinese := page(t, "zh/"+name)
		for _, d := range differences(sections(page(t, name), name, "", place), sections(chinese, name, "zh", place)) {
			t.Errorf("docs/%s and docs/zh/%s: %s", name, name, d)
		}
		for _, m := range anyLink.FindAllStringSubmatch(chinese, -1) {
			file, _, _ := strings.Cut(m[1], "#")
			if to, up := strings.CutPrefix(file, "../"); up && slices.ContainsFunc(files, func(f string) bool { return filepath.Base(f) == to }) {
				t.Errorf("docs/zh/%s leads to the English page %s", name, to)
			}
		}
	}
}

func TestDifferencesOfPagesAreFound(t *testing.T) {
	const english = "# Room\n\n- [Disk](#disk)\n\n## Disk\n\nSee `status`, [there](other.md).\n\n    dcmgate queue drop -d NAME   # gives up\n\n" +
		"```yaml\n# a remark\na: 1\n```\n\n| key | means |\n| --- | --- |\n| `a` | one, `x` |\n| A700 refused | two |\n"
	const chinese = "# 空间\n\n- [磁盘](#磁盘)\n\n## 磁盘\n\n看 `status`，见[那里](../other.md)。\n\n    dcmgate queue drop -d 目的地   # 放弃\n\n" +
		"```yaml\na: 1   # 说明\n```\n\n| 键 | 含义 |\n| --- | --- |\n| `a` | 一，`x` |\n| A700 拒绝 | 二 |\n"
	place := func(file, to string) string {
		if to == "disk" || to == "磁盘" {
			return " 2"
		}
		return " " + to
	}
	compare := func(other string) []string {
		return differences(sections(english, "room.md", "", place), sections(other, "room.md", "zh", place))
	}
	if found := compare(chinese); found != nil {
		t.Errorf("of the same pages: %q", found)
	}
	for _, change := range [][2]string{
		{"## 磁盘", "### 磁盘"}, {"## 磁盘\n", ""}, {"# 空间\n", "# 空间\n\n## 更多\n"}, {"`status`", "状态"}, {"看 ", "看 `more`"},
		{"../other", "../others"}, {"#磁盘", "#空间"}, {"queue drop", "queue retry"}, {"a: 1", "a: 2"}, {"```yaml", "```"},
		{"| `a` | 一，`x` |\n", ""}, {"| `a` | 一，`x` |", "| `a` | 一 |"}, {"| `a` | 一，`x` |", "| `x` | 一，`a` |"},
		{"A700 拒绝", "A900 拒绝"}, {"A700 拒绝 | 二 |", "A700 拒绝 | 二 | 三 |"}, {"\n| 键", "\n键"},
	} {
		changed := strings.Replace(chinese, change[0], change[1], 1)
		if changed == chinese || compare(changed) == nil {
			t.Errorf("%q instead of %q is not found", change[1], change[0])
		}
	}
}
