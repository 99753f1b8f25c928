// Package deploy tests what is shipped for running dcmgate: alerts and dashboard. There is nothing in it but tests.
package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"dcmgate/internal/peertest"
)

const rulesFile = "../../deploy/prometheus/dcmgate.rules.yml"

// alertCase is what makes an alert fire and what does not. Series are without the labels job and instance, with values in
// promtool's notation, one a minute from minute 0 on, or one every ten.
type alertCase struct {
	alert  string
	fires  []string
	at     string   // when it fires
	before string   // when it does not yet, "" if it fires at once
	quiet  []string // does not fire at the same time
	slow   bool     // ten minutes from value to value
}

var alertCases = []alertCase{
	{"DcmgateDown", []string{`up 0x10`}, "2m", "1m", []string{`up 0 1x10`}, false},
	{"DcmgateNotReady", []string{`dcmgate_ready 0x10`}, "5m", "4m", []string{`dcmgate_ready 0 0 1x10`}, false},
	{"DcmgateRestartsOften", []string{`process_start_time_seconds 0+100x7`}, "1h", "", []string{`process_start_time_seconds 0+0x4 100+0x3`}, true},
	{"DcmgateServicePanicked", []string{`dcmgate_dimse_panics_total 0 1x10`}, "5m", "", []string{`dcmgate_dimse_panics_total 1x10`}, false},
	{"DcmgateConfigurationNotTaken", []string{`dcmgate_config_valid 0x20`}, "10m", "9m", []string{`dcmgate_config_valid 0x5 1x15`}, false},
	{"DcmgateCertificateExpiresSoon", []string{`dcmgate_certificate_expiry_timestamp_seconds{use="dicom"} 1000000x12`}, "1h", "50m", []string{`dcmgate_certificate_expiry_timestamp_seconds{use="dicom"} 10000000x12`}, true},
	{"DcmgateCertificateExpired", []string{`dcmgate_certificate_expiry_timestamp_seconds{use="dicom"} 100000x20`}, "5m", "4m", []string{`dcmgate_certificate_expiry_timestamp_seconds{use="dicom"} 1000000x20`}, false},
	{"DcmgateTokenRefused", []string{`dcmgate_admin_requests_refused_total{reason="token"} 0+3x20`}, "15m", "5m", []string{`dcmgate_admin_requests_refused_total{reason="host"} 0+9x20`}, false},
	{"DcmgateAuditIncomplete", []string{`dcmgate_audit_write_failures_total 0 1x20`}, "5m", "", []string{`dcmgate_audit_write_failures_total 0x20`, `dcmgate_audit_lost_total 5x20`}, false},
	{"DcmgateAuditServerUnreachable", []string{`dcmgate_audit_syslog_connected 1 0x30`}, "16m", "15m", []string{`dcmgate_audit_syslog_connected 0x30`}, false},
	{"DcmgateSpoolNotHealthy", []string{`dcmgate_spool_healthy 0x10`}, "1m", "0m", []string{`dcmgate_spool_healthy 1x10`}, false},
	{"DcmgateSpoolPressure", []string{`dcmgate_spool_pressure 1x20`}, "10m", "9m", []string{`dcmgate_spool_pressure 2x20`}, false},
	{"DcmgateSendersTurnedAway", []string{`dcmgate_spool_pressure 3x20`}, "1m", "0m", []string{`dcmgate_spool_pressure 1x20`}, false},
	{"DcmgateDiskNearlyFull",
		[]string{`dcmgate_spool_free_bytes 2x20`, `dcmgate_spool_evictable_bytes 2x20`, `dcmgate_spool_filesystem_bytes 100x20`}, "10m", "9m",
		[]string{`dcmgate_spool_free_bytes 2x20`, `dcmgate_spool_evictable_bytes 70x20`, `dcmgate_spool_filesystem_bytes 100x20`}, false},
	{"DcmgateDiskFillsUp", // a hundredth in a hundred minutes
		[]string{`dcmgate_spool_free_bytes 1500-10x48`, `dcmgate_spool_evictable_bytes 0x48`, `dcmgate_spool_filesystem_bytes 10000x48`}, "8h", "30m",
		[]string{`dcmgate_spool_free_bytes 1500-10x48`, `dcmgate_spool_evictable_bytes 0+10x48`, `dcmgate_spool_filesystem_bytes 10000x48`}, true},
	{"DcmgateCommitFailures", []string{`dcmgate_commit_failures_total{reason="write"} 0 1x20`}, "5m", "", []string{`dcmgate_commit_failures_total{reason="write"} 7x20`}, false},
	{"DcmgateCommitSlow",
		[]string{`dcmgate_commit_seconds_bucket{le="1"} 0+90x30`, `dcmgate_commit_seconds_bucket{le="5"} 0+100x30`, `dcmgate_commit_seconds_bucket{le="+Inf"} 0+100x30`}, "15m", "5m",
		[]string{`dcmgate_commit_seconds_bucket{le="1"} 0+100x30`, `dcmgate_commit_seconds_bucket{le="5"} 0+100x30`, `dcmgate_commit_seconds_bucket{le="+Inf"} 0+100x30`}, false},
	{"DcmgateIndexBehind", []string{`dcmgate_spool_unindexed 5000x5`}, "1m", "0m", []string{`dcmgate_spool_unindexed 4000x5`}, false},
	{"DcmgateInstancesDamaged", []string{`dcmgate_instances_damaged_total 0 1x30`}, "30m", "", []string{`dcmgate_instances_damaged_total 3x30`}, false},
	{"DcmgateIndexDamaged", []string{`dcmgate_index_damages 1x5`}, "1m", "", []string{`dcmgate_index_damages 0x5`}, false},
	{"DcmgateAssociationsRejected",
		[]string{`dcmgate_association_requests_total{direction="in",outcome="rejected-permanent"} 0+3x20`}, "15m", "5m",
		[]string{`dcmgate_association_requests_total{direction="in",outcome="rejected-permanent"} 0+1x20`, `dcmgate_association_requests_total{direction="in",outcome="accepted"} 0+100x20`}, false},
	{"DcmgateConnectionFlood",
		[]string{`dcmgate_association_requests_total{direction="in",outcome="overload"} 0 1x20`}, "5m", "",
		[]string{`dcmgate_association_requests_total{direction="in",outcome="overload"} 0x20`}, false},
	{"DcmgateInstancesRefused", []string{`dcmgate_store_responses_total{status="A700"} 0 1x20`}, "5m", "", []string{`dcmgate_store_responses_total{status="0000"} 0+100x20`}, false},
	{"DcmgateNewVersions", []string{`dcmgate_new_versions_total 0 2x20`}, "5m", "", []string{`dcmgate_new_versions_total 2x20`}, false},
	{"DcmgateDropFolderStuck", []string{`dcmgate_drop_trouble{folder="f"} 1x20`}, "10m", "9m", []string{`dcmgate_drop_trouble{folder="f"} 0x20`}, false},
	{"DcmgateDropFilesWait", []string{`dcmgate_drop_oldest_seconds{folder="f"} 850+60x20`}, "6m", "5m", []string{`dcmgate_drop_oldest_seconds{folder="f"} 800x20`}, false},
	{"DcmgateDropFilesRejected", []string{`dcmgate_drop_rejected_files{folder="f"} 2x20`}, "15m", "14m", []string{`dcmgate_drop_rejected_files{folder="f"} 0x20`}, false},
	{"DcmgateDestinationDown", []string{`dcmgate_destination_breaker{destination="c"} 2x20`}, "15m", "14m", []string{`dcmgate_destination_breaker{destination="c"} 2x5 0x15`}, false},
	{"DcmgateBacklogOld",
		[]string{`dcmgate_jobs_oldest_seconds{destination="c",state="pending"} 3601+60x20`, `dcmgate_destination_rate_limit_bytes_per_second{destination="c"} 1000000x20`}, "10m", "9m",
		[]string{`dcmgate_jobs_oldest_seconds{destination="c",state="pending"} 3601+60x20`, `dcmgate_destination_rate_limit_bytes_per_second{destination="c"} 0x20`}, false},
	{"DcmgateBacklogVeryOld", []string{`dcmgate_jobs_oldest_seconds{destination="c",state="pending"} 86401x20`}, "10m", "9m", []string{`dcmgate_jobs_oldest_seconds{destination="c",state="parked"} 86401x20`}, false},
	{"DcmgateJobsParked", []string{`dcmgate_jobs{destination="c",state="refused"} 1x20`}, "15m", "14m", []string{`dcmgate_jobs{destination="c",state="pending"} 1000x20`}, false},
	{"DcmgateDestinationDoesNotCommit", []string{`dcmgate_destination_commitment_degraded{destination="c"} 1x7`}, "1h", "50m", []string{`dcmgate_destination_commitment_degraded{destination="c"} 0x7`}, true},
	{"DcmgateCommitmentOverdue", []string{`dcmgate_jobs_oldest_seconds{destination="c",state="awaiting"} 172801x7`}, "1h", "50m", []string{`dcmgate_jobs_oldest_seconds{destination="c",state="parked"} 172801x7`}, true},
	{"DcmgateDestinationLosesInstances",
		[]string{`dcmgate_destination_commitment_instances_total{destination="c",outcome="sent_again"} 0 4x20`}, "10m", "",
		[]string{`dcmgate_destination_commitment_instances_total{destination="c",outcome="committed"} 0+10x20`}, false},
	{"DcmgateCommitmentReportsWait", []string{`dcmgate_commitment_waiting 1x40`}, "6h", "5h", []string{`dcmgate_commitment_waiting 1x20 0x20`}, true},
	{"DcmgateUpstreamDown", []string{`dcmgate_upstream_breaker{upstream="p"} 2x20`}, "15m", "14m", []string{`dcmgate_upstream_breaker{upstream="p"} 1x20`}, false},
	{"DcmgateIndexCannotAnswer", []string{`dcmgate_queries_total{level="STUDY",status="C000"} 0 1x20`}, "5m", "", []string{`dcmgate_queries_total{level="STUDY",status="0000"} 0+5x20`}, false},
	{"DcmgateDownloadsFail", []string{`dcmgate_public_requests_total{kind="download",outcome="damaged"} 0 1x20`}, "5m", "", []string{`dcmgate_public_requests_total{kind="download",outcome="aborted"} 0+1x20`}, false},
	{"DcmgateSignaturesRejected",
		[]string{`dcmgate_public_requests_total{kind="retrieve",outcome="bad_signature"} 0+5x20`}, "15m", "5m",
		[]string{`dcmgate_public_requests_total{kind="retrieve",outcome="bad_signature"} 0+1x20`}, false},
	{"DcmgateViewsDown", []string{`dcmgate_views_up{database="d"} 0x10`}, "5m", "4m", []string{`dcmgate_views_up{database="d"} 1x10`}, false},
	{"DcmgateViewsBehind", []string{`dcmgate_views_behind{database="d"} 5000x40`}, "35m", "", []string{`dcmgate_views_behind{database="d"} 5000x20 10x3 5000x17`}, false},
	{"DcmgateRowsHeldBack",
		[]string{`dcmgate_views_rows_lacking{database="d",view="V_StudyInfo",held="true",reason="PatID missing"} 3x7`}, "1h", "50m",
		[]string{`dcmgate_views_rows_lacking{database="d",view="V_StudyInfo",held="false",reason="PatID missing"} 3x7`}, true},
	{"DcmgateRowsLost", []string{`dcmgate_views_lost_total{database="d",view="V_StudyInfo"} 0 1x20`}, "5m", "", []string{`dcmgate_views_lost_total{database="d",view="V_StudyInfo"} 0x20`}, false},
}

// rules is the file as far as the tests look at it.
type rules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for,omitempty"`
			Labels      map[string]string `yaml:"labels,omitempty"`
			Annotations map[string]string `yaml:"annotations,omitempty"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func readRules(t *testing.T) rules {
	t.Helper()
	data, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var r rules
	if err := yaml.UnmarshalWithOptions(data, &r, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRulesAreValid(t *testing.T) {
	promtool := peertest.Require(t, "promtool")
	if out, status := peertest.Run(t, nil, promtool, "check", "rules", "--lint=all", "--lint-fatal", rulesFile); status != 0 {
		t.Errorf("%s", out)
	}
	if out, status := peertest.Run(t, nil, promtool, "check", "config", "../../deploy/prometheus/prometheus.yml"); status != 0 {
		t.Errorf("%s", out)
	}
}

func TestAlertsSayWhatToDo(t *testing.T) {
	tested := make(map[string]bool)
	for _, c := range alertCases {
		tested[c.alert] = true
	}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			if !tested[r.Alert] {
				t.Errorf("%s has no case in this test", r.Alert)
			}
			for _, key := range []string{"summary", "description", "runbook"} {
				if r.Annotations[key] == "" {
					t.Errorf("%s has no %s", r.Alert, key)
				}
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
				t.Errorf("%s has severity %q", r.Alert, s)
			}
		}
	}
}

// TestAlertsFire has promtool evaluate each alert over series that make it fire, and over others that do not.
func TestAlertsFire(t *testing.T) {
	promtool := peertest.Require(t, "promtool")
	r := readRules(t)
	labels := make(map[string]map[string]string)
	for _, g := range r.Groups {
		for i := range g.Rules {
			g.Rules[i].Annotations = nil // else each case would have to repeat them
			labels[g.Rules[i].Alert] = g.Rules[i].Labels
		}
	}
	bare, err := yaml.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.yml"), bare, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, slow := range []bool{false, true} {
		file := filepath.Join(dir, fmt.Sprintf("slow-%v.yml", slow))
		if err := os.WriteFile(file, []byte(unitTests(t, slow, labels)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, status := peertest.Run(t, nil, promtool, "test", "rules", file); status != 0 {
			t.Errorf("%s", out)
		}
	}
}

// unitTests writes the cases down for promtool.
func unitTests(t *testing.T, slow bool, labels map[string]map[string]string) string {
	t.Helper()
	step := "1m"
	if slow {
		step = "10m"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [rules.yml]\nevaluation_interval: %s\ntests:\n", step)
	for _, c := range alertCases {
		if c.slow != slow {
			continue
		}
		if labels[c.alert] == nil {
			t.Errorf("there is no alert %s", c.alert)
		}
		expected := fmt.Sprintf("[{exp_labels: {%s}}]", strings.Join(append(seriesLabels(c), "severity: "+labels[c.alert]["severity"]), ", "))
		checks := []string{check(c.alert, c.at, expected)}
		if c.before != "" {
			checks = append(checks, check(c.alert, c.before, "[]"))
		}
		writeCase(&b, step, c.fires, checks)
		writeCase(&b, step, c.quiet, []string{check(c.alert, c.at, "[]")})
	}
	return b.String()
}

func check(alert, at, expected string) string {
	return fmt.Sprintf("      - {eval_time: %s, alertname: %s, exp_alerts: %s}\n", at, alert, expected)
}

func writeCase(b *strings.Builder, step string, series, checks []string) {
	fmt.Fprintf(b, "  - interval: %s\n    input_series:\n", step)
	for _, s := range series {
		name, values, _ := strings.Cut(s, "} ")
		name, more, braces := strings.Cut(name, "{")
		if !braces {
			name, values, _ = strings.Cut(s, " ")
		} else {
			more = "," + more
		}
		fmt.Fprintf(b, "      - series: '%s{job=\"dcmgate\",instance=\"gate:8080\"%s}'\n        values: '%s'\n", name, more, values)
	}
	b.WriteString("    alert_rule_test:\n" + strings.Join(checks, ""))
}

// seriesLabels are the labels of the alert that fires: those of its first series but those that it sums over.
func seriesLabels(c alertCase) []string {
	list := []string{"job: dcmgate", "instance: 'gate:8080'"}
	_, rest, _ := strings.Cut(c.fires[0], "{")
	inner, _, ok := strings.Cut(rest, "}")
	if !ok {
		return list
	}
	for _, label := range strings.Split(inner, ",") {
		name, value, _ := strings.Cut(label, "=")
		if !summedOver[c.alert+" "+name] {
			list = append(list, name+": "+value)
		}
	}
	return list
}

// summedOver are the labels that alerts do not keep.
var summedOver = map[string]bool{
	"DcmgateCommitSlow le": true, "DcmgateAssociationsRejected direction": true, "DcmgateConnectionFlood direction": true,
	"DcmgateConnectionFlood outcome": true, "DcmgateDestinationLosesInstances outcome": true, "DcmgateIndexCannotAnswer level": true,
	"DcmgateIndexCannotAnswer status": true, "DcmgateDownloadsFail kind": true, "DcmgateSignaturesRejected kind": true,
	"DcmgateRowsHeldBack held": true, "DcmgateTokenRefused reason": true,
}
