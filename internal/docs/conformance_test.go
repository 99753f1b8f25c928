package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/transcode"
)

// annexes are the tables of the conformance statement that the program itself has.
func annexes() string {
	var b strings.Builder
	classes := dicom.StorageSOPClasses()
	fmt.Fprintf(&b, "## Annex A: SOP classes of Storage\n\nThe %d SOP classes of PS3.6 that are known by name, each as SCU and SCP, each in all transfer syntaxes of annex B.\n\n"+
		"| SOP class | UID |\n| --- | --- |\n", len(classes))
	for _, uid := range classes {
		fmt.Fprintf(&b, "| %s | %s |\n", dicom.SOPClassName(uid), uid)
	}
	syntaxes := dicom.TransferSyntaxes()
	fmt.Fprintf(&b, "\n## Annex B: transfer syntaxes\n\nThe %d transfer syntaxes of PS3.6 table A-1. What is not converted is sent as it is stored, or not at all.\n\n"+
		"| transfer syntax | UID | pixel data | can be converted |\n| --- | --- | --- | --- |\n", len(syntaxes))
	for _, uid := range syntaxes {
		pixels, converted := "native", "no"
		if uid.Encapsulated() {
			pixels = "encapsulated"
		}
		if len(transcode.Targets(uid)) > 0 {
			converted = "yes"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", dicom.TransferSyntaxName(uid), uid, pixels, converted)
	}
	return b.String()
}

func TestConformanceAnnexesAreTheProgram(t *testing.T) {
	const begin = "<!-- from here on made by the test of internal/docs: go test ./internal/docs -run Conformance -update -->\n\n"
	text := page(t, "conformance.md")
	before, got, ok := strings.Cut(text, begin)
	if !ok {
		t.Fatal("docs/conformance.md has no place for the annexes")
	}
	want := annexes()
	if got == want {
		return
	}
	if !*update {
		t.Fatal("the annexes of docs/conformance.md are not as the program has them; run this test with -update")
	}
	if err := os.WriteFile(filepath.Join(root, "docs", "conformance.md"), []byte(before+begin+want), 0o644); err != nil {
		t.Fatal(err)
	}
}
