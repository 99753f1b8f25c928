package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dcmgate/internal/peertest"
)

func getscu(t testing.TB, g *gate, dir string, args ...string) (string, int) {
	t.Helper()
	host, port, _ := strings.Cut(g.address, ":")
	return peertest.Run(t, nil, peertest.Require(t, "getscu"), append(append([]string{"-v", "-aet", "WS", "-aec", "DCMGATE", "-od", dir}, args...), host, port)...)
}

// DCMTK's getscu in every model, at every level.
func TestGetscu(t *testing.T) {
	g := queried(t, "")
	for _, row := range retrievals {
		dir := t.TempDir()
		out, status := getscu(t, g, dir, row.args...)
		files, _ := filepath.Glob(filepath.Join(dir, "*.*"))
		if got := sopsOf(files); status != 0 || !slices.Equal(got, row.want) || !strings.Contains(out, "Success") {
			t.Errorf("%s: status %d, got %v, want %v\n%s", row.name, status, got, row.want, out)
		}
	}
	if n := g.metric(t, "dcmgate_gets_total", `status="0000"`); n != float64(len(retrievals)) {
		t.Errorf("%v retrievals counted", n)
	}
	if n := g.metric(t, "dcmgate_get_suboperations_total", `outcome="completed"`); n != selected() {
		t.Errorf("%v sub-operations counted", n)
	}
}
