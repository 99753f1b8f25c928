package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/gateway"
)

// auditTable is the table of docs/security.md: all that the audit trail tells of.
func auditTable() string {
	var b strings.Builder
	b.WriteString("| way | what has happened | message | PS3.15 |\n| --- | --- | --- | --- |\n")
	for _, e := range gateway.AuditEvents() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", e.Way, e.What, e.Message, e.Section)
	}
	return b.String()
}

func TestAuditTableIsTheProgram(t *testing.T) {
	const begin, end = "<!-- made by the test of internal/docs: go test ./internal/docs -run Audit -update -->\n\n", "\n<!-- end of what is made -->"
	before, rest, ok := strings.Cut(page(t, "security.md"), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("docs/security.md has no place for the table of audited events")
	}
	want := auditTable()
	if got == want {
		return
	}
	if !*update {
		t.Fatal("the table of docs/security.md is not what the program tells; run this test with -update")
	}
	if err := os.WriteFile(filepath.Join(root, "docs", "security.md"), []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
