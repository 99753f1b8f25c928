package docs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	rulesFile     = "prometheus/dcmgate.rules.yml"
	dashboardFile = "grafana/dcmgate.json"
)

// deployed reads a file of deploy.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAlertsAndDashboardKnowTheMetrics finds metrics that were renamed. That their queries give something is a test of test/e2e.
func TestAlertsAndDashboardKnowTheMetrics(t *testing.T) {
	names := metricNames(t)
	series := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, file := range []string{rulesFile, dashboardFile} {
		found := regexp.MustCompile(`\bdcmgate_[a-z0-9_]+`).FindAllString(deployed(t, file), -1)
		if len(found) < 30 {
			t.Errorf("%s names only %d metrics", file, len(found))
		}
		for _, name := range slices.Compact(slices.Sorted(slices.Values(found))) {
			if !names[name] && !names[series.ReplaceAllString(name, "")] {
				t.Errorf("%s asks for %s, which the code does not have", file, name)
			}
		}
	}
}

var notOfAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// anchor is what a heading is linked to by.
func anchor(heading string) string {
	heading = notOfAnchors.ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

func TestRunbooksLeadToHeadings(t *testing.T) {
	runbooks := regexp.MustCompile(`(?m)^ +runbook: docs/(\S+)#(\S+)$`).FindAllStringSubmatch(deployed(t, rulesFile), -1)
	if len(runbooks) < 30 {
		t.Fatalf("only %d runbooks were found", len(runbooks))
	}
	for _, r := range runbooks {
		if !anchors(page(t, r[1]))[r[2]] {
			t.Errorf("docs/%s has no heading for #%s", r[1], r[2])
		}
	}
}

// Both pages say of every alert, in the order of the rules, how severe it is and what to do.
func TestAlertsAreDocumented(t *testing.T) {
	var want []string
	for _, alert := range regexp.MustCompile(`(?m)^ +- alert: (\S+)$(?s:.*?)severity: (\w+)`).FindAllStringSubmatch(deployed(t, rulesFile), -1) {
		want = append(want, alert[1]+" "+alert[2])
	}
	if len(want) < 30 {
		t.Fatalf("only %d alerts were found", len(want))
	}
	for _, name := range []string{"monitoring.md", "zh/monitoring.md"} {
		var got []string
		for _, row := range regexp.MustCompile("(?m)^\\| `(Dcmgate\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(page(t, name), -1) {
			got = append(got, row[1]+" "+row[2])
		}
		if !slices.Equal(got, want) {
			t.Errorf("docs/%s has the alerts\n%q, the rules\n%q", name, got, want)
		}
	}
}

// panel is a dashboard's panel as far as Grafana cannot do without it.
type panel struct {
	ID          int `json:"id"`
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Datasource  struct{ Type, UID string }
	Targets     []struct{ RefID, Expr string }
}

func TestDashboardIsWhole(t *testing.T) {
	var board struct {
		Title, UID    string
		SchemaVersion int
		Panels        []panel
		Templating    struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal([]byte(deployed(t, dashboardFile)), &board); err != nil {
		t.Fatal(err)
	}
	if board.Title == "" || board.UID == "" || board.SchemaVersion < 36 {
		t.Errorf("title %q, uid %q, schema %d", board.Title, board.UID, board.SchemaVersion)
	}
	var variables []string
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name)
	}
	if !slices.Equal(variables, []string{"datasource", "instance", "destination"}) {
		t.Errorf("variables %v", variables)
	}
	seen, below := make(map[int]bool), 0
	var titles []string
	for _, p := range board.Panels {
		if seen[p.ID] || p.Title == "" || p.GridPos.W < 1 || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.Y < below {
			t.Errorf("panel %d %q at %+v", p.ID, p.Title, p.GridPos)
		}
		seen[p.ID] = true
		if p.Type == "row" {
			below = p.GridPos.Y
			titles = append(titles, p.Title)
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q has the data source %q and %d queries", p.Title, p.Datasource.UID, len(p.Targets))
		}
		for _, q := range p.Targets {
			if !strings.Contains(q.Expr, `job="dcmgate",instance=~"$instance"`) {
				t.Errorf("panel %q asks for more than the gateways chosen: %s", p.Title, q.Expr)
			}
		}
	}
	if want := []string{"Overview", "Receiving", "Associations", "Delivering", "Spool", "Queries and retrievals", "Upstreams", "Storage commitment", "Interface 203", "Metadata rows", "Drop folders", "Administration", "Process"}; !slices.Equal(titles, want) {
		t.Errorf("rows %v, want %v", titles, want)
	}
}
