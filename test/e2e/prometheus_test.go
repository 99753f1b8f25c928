package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// A real Prometheus scrapes a gateway that has done some of everything, evaluates the alerts that are shipped, and answers what
// the dashboard asks.
func TestPrometheusReadsTheGateway(t *testing.T) {
	prometheus, promtool := peertest.Require(t, "prometheus"), peertest.Require(t, "promtool")
	_, cloud := startArchive(t, archive.Options{})
	g := newGate(t, "peers: [{ae_title: LOAD, allow: [store, query]}]\n", destination{"cloud", "CLOUD", cloud, ""}, destination{"nowhere", "NOWHERE", peertest.Address(t), ""})
	g.start(t)
	s := newSender(g.address, 20_000, 20)
	if err := s.Run(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	g.delivered(t, "cloud", 20, 20*time.Second)
	if out, status := peertest.Run(t, nil, binary, "find", g.address); status != 0 {
		t.Fatal(out)
	}

	metrics := filepath.Join(t.TempDir(), "metrics")
	fetch(t, "http://"+g.http+"/metrics", metrics)
	if out, status := peertest.Run(t, nil, "/bin/sh", "-c", fmt.Sprintf("%q check metrics <%q", promtool, metrics)); status != 0 {
		t.Errorf("promtool check metrics: %s", out)
	}

	at := startPrometheus(t, prometheus, g.http)
	peertest.Eventually(t, 30*time.Second, "Prometheus has scraped twice", func() bool {
		return ask(t, at, `count_over_time(dcmgate_instances_received_total[10m]) >= 2 and dcmgate_instances_received_total == 20`) == 1
	})
	for _, q := range dashboardQueries(t) {
		// Some series come after the others, and a rate needs two samples.
		peertest.Eventually(t, 20*time.Second, "something answers "+q, func() bool { return ask(t, at, q) > 0 || mayBeEmpty(q) })
	}
	var loaded struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	peertest.Eventually(t, 30*time.Second, "the alerts have been evaluated", func() bool {
		getJSON(t, at+"/api/v1/rules", &loaded)
		n := 0
		for _, group := range loaded.Data.Groups {
			for _, r := range group.Rules {
				if r.Health == "unknown" {
					return false
				}
				if n++; r.Health != "ok" {
					t.Fatalf("alert %s: %s", r.Name, r.LastError)
				}
			}
		}
		return n > 30
	})
}

// mayBeEmpty tells of the dashboard's queries those whose series come only with what they count.
func mayBeEmpty(query string) bool {
	for _, name := range []string{
		"dcmgate_conversions_total", "dcmgate_views_rows_lacking", "_upstream_", "_public_", "_cloud_", "_destination_commitment_", "dcmgate_drop_", "dcmgate_certificate_",
		`status!="0000"`, "< Inf", "congested",
	} {
		if strings.Contains(query, name) {
			return true
		}
	}
	return false
}

func startPrometheus(t *testing.T, program, target string) (address string) {
	t.Helper()
	rules, err := filepath.Abs("../../deploy/prometheus/dcmgate.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir, listen := t.TempDir(), peertest.Address(t)
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nscrape_configs: [{job_name: dcmgate, static_configs: [{targets: [%q]}]}]\nrule_files: [%q]\n", target, rules)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := peertest.Start(t, nil, program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen)
	p.Listening(t, listen)
	return "http://" + listen
}

// dashboardQueries are those of the dashboard, with its variables as it has them at first.
func dashboardQueries(t *testing.T) (list []string) {
	t.Helper()
	data, err := os.ReadFile("../../deploy/grafana/dcmgate.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$instance", ".*", "$destination", ".*", "$__rate_interval", "1m")
	for _, p := range board.Panels {
		for _, q := range p.Targets {
			list = append(list, variables.Replace(q.Expr))
		}
	}
	if len(list) < 60 {
		t.Fatalf("only %d queries in the dashboard", len(list))
	}
	return list
}

// ask returns how many series answer a query; an error of it fails the test.
func ask(t *testing.T, at, query string) int {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	getJSON(t, at+"/api/v1/query?"+url.Values{"query": {query}}.Encode(), &answer)
	if answer.Status != "success" && answer.Status != "" {
		t.Fatalf("%s: %s", query, answer.Error)
	}
	return len(answer.Data.Result)
}

// getJSON leaves into as it is where there is no answer yet.
func getJSON(t *testing.T, address string, into any) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		return
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func fetch(t *testing.T, address, file string) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
