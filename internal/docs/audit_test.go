package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/gateway"
)

// auditTable is the table of security.md: all that the audit trail tells of. Names of messages and sections of the standard are
// the same in every language, the words of the rest are given.
func auditTable(word func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s | %s | PS3.15 |\n| --- | --- | --- | --- |\n", word("way"), word("what has happened"), word("message"))
	for _, e := range gateway.AuditEvents() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", word(e.Way), word(e.What), e.Message, e.Section)
	}
	return b.String()
}

func TestAuditTableIsTheProgram(t *testing.T) {
	madeTable(t, "security.md", auditTable(func(text string) string { return text }))
}

func TestAuditTableInChinese(t *testing.T) {
	used := make(map[string]bool)
	table := auditTable(func(text string) string {
		if strings.Trim(backquoted.ReplaceAllString(text, ""), ", ") == "" {
			return strings.ReplaceAll(text, ", ", "、")
		}
		used[text] = true
		if auditWords[text] == "" {
			t.Errorf("auditWords has no Chinese for %q", text)
		}
		return auditWords[text]
	})
	for text := range auditWords {
		if !used[text] {
			t.Errorf("auditWords has Chinese for %q, which the program does not tell", text)
		}
	}
	madeTable(t, "zh/security.md", table)
}

// madeTable compares the table between a page's marks, or writes it there.
func madeTable(t *testing.T, name, want string) {
	t.Helper()
	const begin, end = "<!-- made by the test of internal/docs: go test ./internal/docs -run Audit -update -->\n\n", "\n<!-- end of what is made -->"
	before, rest, ok := strings.Cut(page(t, name), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("docs/%s has no place for the table of audited events", name)
	}
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("the table of docs/%s is not what the program tells; run this test with -update", name)
	}
	if err := os.WriteFile(filepath.Join(root, "docs", name), []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
