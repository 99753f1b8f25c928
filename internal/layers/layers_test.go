// Package layers holds the module to its architecture: imports point down only, and packages of one level never import
// each other. There is nothing in it but the test.
package layers

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// level is the house, from the ground up; docs/architecture.md draws it. A package that is not listed fails the test: it must
// be given its place deliberately.
var level = map[string]int{
	"dcmgate/pdu": 10, "dcmgate/dicom": 10, "dcmgate/metrics": 10, "dcmgate/systemd": 10,
	"dcmgate/pixel/jpeg": 10, "dcmgate/pixel/rle": 10,
	"dcmgate/pixel":         12,
	"dcmgate/transcode":     15,
	"dcmgate/spool/segment": 19, "dcmgate/spool/indexfile": 19,
	"dcmgate/dimse": 20, "dcmgate/images": 20, "dcmgate/spool": 20, "dcmgate/cloud": 20, "dcmgate/audit": 20,
	"dcmgate/transfer":    25,
	"dcmgate/commitment":  25,
	"dcmgate/forwarder":   30,
	"dcmgate/qr":          30,
	"dcmgate/web":         30,
	"dcmgate/restore":     30,
	"dcmgate/dropfolder":  30,
	"dcmgate/views":       30,
	"dcmgate/upstream":    35,
	"dcmgate/gateway":     40,
	"dcmgate/cmd/dcmgate": 50,

	// What the demonstration, the measurement and examination of machines and the tests stand on.
	"dcmgate/internal/mrdata":   10,
	"dcmgate/internal/durable":  10,
	"dcmgate/internal/walltime": 10,
	"dcmgate/internal/machine":  10,
	"dcmgate/internal/synth":    15,
	"dcmgate/internal/archive":  25,
	"dcmgate/internal/load":     25,
	"dcmgate/internal/demo":     45,
	"dcmgate/internal/bench":    45,
	"dcmgate/internal/doctor":   45,
}

// testOnly may be imported by tests and by each other, never by the product.
var testOnly = []string{"dcmgate/internal/peertest", "dcmgate/internal/faultdisk", "dcmgate/internal/layers", "dcmgate/internal/docs", "dcmgate/spool/spooltest", "dcmgate/test/"}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func isTestOnly(path string) bool {
	for _, p := range testOnly {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "dcmgate/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		if isTestOnly(p.ImportPath) {
			continue
		}
		own, known := level[p.ImportPath]
		if !known {
			t.Errorf("%s has no level; give it one here and in docs/architecture.md", p.ImportPath)
		}
		for _, imported := range p.Imports {
			if isTestOnly(imported) {
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imported)
			} else if l, ours := level[imported]; ours && l >= own {
				t.Errorf("%s (level %d) imports %s (level %d)", p.ImportPath, own, imported, l)
			}
		}
	}
}

func TestSegmentsAreReachedOnlyThroughTheSpool(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if imported == "dcmgate/spool/segment" && p.ImportPath != "dcmgate/spool" {
				t.Errorf("%s imports %s; only spool may", p.ImportPath, imported)
			}
		}
	}
}
