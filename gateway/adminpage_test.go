package gateway

import (
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"dcmgate/dropfolder"
	"dcmgate/forwarder"
	"dcmgate/upstream"
	"dcmgate/views"
)

// busyStatus has something of everything that the page shows.
func busyStatus(now time.Time) Status {
	return Status{
		Running: true, Version: "1.2.3", AETitle: "GATE<script>", Started: now.Add(-3 * time.Hour),
		Associations: AssociationStatus{In: 3, Out: 2},
		Spool:        SpoolStatus{Healthy: true, Pressure: "slow", Instances: 1234567, Bytes: 80e9, EvictableBytes: 60e9, FreeBytes: 20e9, TotalBytes: 100e9},
		Received:     ReceivedStatus{Instances: 4321, Refused: 2, InstancesPerSecond: 12.34},
		Activity:     ActivityStatus{Delivered: 4000, DeliveredBytes: 2e9, Rejected: 7, Queries: 5, Requests: 9, RequestsFailed: 1, RequestBytes: 5e6},
		Destinations: []DestinationStatus{
			{Name: "cloud", State: forwarder.StateSending, Breaker: "closed", Pending: 12, Active: 8, Oldest: now.Add(-90 * time.Second), Delivered: 4000, BytesPerSecond: 12e6},
			{Name: "backup", State: forwarder.StateUnreachable, Breaker: "open", Pending: 300, Parked: 4, Oldest: now.Add(-50 * time.Hour), LastError: "refused <b>", LastErrorAt: now.Add(-time.Minute),
				Custody: &CustodyStatus{Awaiting: 4, Refused: 1, LastError: "no report"}},
		},
		Upstreams:    []UpstreamStatus{{Name: "pacs", State: upstream.StateFailing, Breaker: "open", LastError: "did not answer in time; see to its load", LastErrorAt: now.Add(-2 * time.Minute)}},
		Views:        []views.Status{{Name: "local", Database: "sqlite views.db", State: views.StateRunning, Behind: 3, Lacking: []views.Lacking{{View: "V_StudyInfo", Reason: "PatID missing", Held: true, Rows: 2}}}},
		Certificates: []CertificateStatus{{Use: "dicom", Expires: now.Add(48 * time.Hour), Remark: "the certificate expires soon"}},
		Commitments:  []CommitmentStatus{{Peer: "CT1", Waiting: 2, Oldest: now.Add(-5 * time.Hour), LastError: "refused"}},
		Incidents: []Incident{
			{Kind: IncidentDelivery, Subject: "backup", What: "no-context: the destination takes no JPEG 2000; have it accepted there, then dcmgate queue retry", Count: 4, At: now.Add(-time.Hour)},
			{Kind: IncidentRejected, Subject: "CT9 10.0.0.9", What: "calling AE title CT9 is not in peers; to admit it, add there: - {ae_title: CT9, from: [10.0.0.9]}", Count: 7, At: now.Add(-3 * time.Minute)},
		},
		Notes: []string{"dicom.accept: any lets everybody in"},
	}
}

func busyHistory(now time.Time) *history {
	h := &history{}
	var m moment
	for i := range historyLength {
		m.at = now.Add(time.Duration(i-historyLength+1) * historyEvery)
		m.received += float64(i * 7 % 50)
		m.delivered += float64(i * 5 % 40)
		m.receivedBytes, m.deliveredBytes = m.received*5e5, m.delivered*5e5
		m.waiting = m.received - m.delivered
		h.add(m)
	}
	return h
}

// getPage returns the page, and its Content-Security-Policy.
func getPage(t *testing.T, target, accept string) (body, policy string) {
	t.Helper()
	now := time.Now()
	a := &admin{status: func() Status { return busyStatus(now) }, history: busyHistory(now)}
	rq := httptest.NewRequest("GET", target, nil)
	rq.Header.Set("Accept-Language", accept)
	w := httptest.NewRecorder()
	a.page(w, rq)
	return w.Body.String(), w.Header().Get("Content-Security-Policy")
}

func TestPageSpeaksTheReadersLanguage(t *testing.T) {
	for _, row := range []struct{ target, accept, lang string }{
		{"/", "", "en"}, {"/", "zh-CN,zh;q=0.9,en;q=0.8", "zh"}, {"/", "zh-TW", "zh"}, {"/", "de-DE,de;q=0.9", "en"}, {"/", "en;q=0.5,zh;q=0.9", "zh"},
		{"/?lang=en", "zh-CN", "en"}, {"/?lang=zh", "en", "zh"}, {"/?lang=xx", "zh", "zh"}, {"/", "\xff,;;", "en"},
	} {
		body, _ := getPage(t, row.target, row.accept)
		other := map[string]string{"en": "已接收", "zh": "Received"}[row.lang]
		if !strings.Contains(body, `<html lang="`+row.lang+`">`) || strings.Contains(body, ">"+other+"<") {
			t.Errorf("%s with Accept-Language %q: not wholly in %s: %.200s", row.target, row.accept, row.lang, body)
		}
	}
}

// TestPageHasEveryWordInChinese looks for texts that nobody has put into Chinese.
func TestPageHasEveryWordInChinese(t *testing.T) {
	texts := []string{forwarder.StateIdle, forwarder.StateSending, forwarder.StatePaused, forwarder.StateUnreachable, forwarder.StateProbing, forwarder.StateStopped,
		upstream.StateReady, upstream.StateBusy, upstream.StateClosed, upstream.StateFailing,
		string(views.StateStarting), string(views.StateRunning), string(views.StateScanning), string(views.StateFailing),
		dropfolder.StateStarting, dropfolder.StateWatching, dropfolder.StateTrouble,
		stateNotRunning, stateNotConfigured, "none", "slow", "reject", "full",
		string(IncidentRejected), string(IncidentRights), string(IncidentStorage), string(IncidentDelivery), string(IncidentDamage), string(IncidentRows), string(IncidentDrop), string(IncidentExpiry), string(IncidentClock), string(IncidentAudit)}
	for _, file := range []string{"admin.html", "adminpage.go", "adminchart.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.T[ (]"([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
			texts = append(texts, m[1])
		}
	}
	used := make(map[string]bool)
	for _, text := range texts {
		if used[text] = true; chinese[text] == "" {
			t.Errorf("%q has no Chinese", text)
		}
	}
	for text := range chinese {
		if !used[text] && len(text) > 3 { // units of time
			t.Errorf("%q is not on the page", text)
		}
	}
}

func TestPageShowsWhatNeedsAPerson(t *testing.T) {
	body, policy := getPage(t, "/", "en")
	for _, want := range []string{
		"GATE&lt;script&gt;", "1\u202f234\u202f567", "refused &lt;b&gt;", "CT9 10.0.0.9", "no-context", `data-n="person">5<`, `data-n="waiting">320<`, "80.0\u00a0GB", "2\u00a0d",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Count(body, `<svg class="chart"`) != 3 || strings.Contains(body, "NaN") || strings.Contains(body, "Inf") {
		t.Errorf("charts: %d", strings.Count(body, `<svg class="chart"`))
	}
	if strings.Contains(body, " style=") || strings.Contains(body, "<script") || strings.Contains(policy, "unsafe") {
		t.Errorf("the page needs more than its policy allows: %s", policy)
	}
}

// TestPageOfNothing is one of a gateway that has just been started.
func TestPageOfNothing(t *testing.T) {
	a := &admin{status: func() Status { return Status{AETitle: "A"} }, history: &history{}}
	w := httptest.NewRecorder()
	a.page(w, httptest.NewRequest("GET", "/", nil))
	if body := w.Body.String(); !strings.HasSuffix(body, "</html>\n") || !strings.Contains(body, "figures follow") || strings.Contains(body, "ZgotmplZ") {
		t.Errorf("%s", body)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	start := time.Now()
	for i := range 2 * historyLength {
		h.add(moment{at: start.Add(time.Duration(i) * historyEvery), received: float64(20 * i)})
	}
	rates := h.rates(func(m moment) float64 { return m.received })
	if len(h.list) != historyLength || len(rates) != historyLength-1 || rates[0].value != 2 {
		t.Errorf("%d moments, %d rates, the first %v", len(h.list), len(rates), rates[0])
	}
}

func TestIncidentsAreBounded(t *testing.T) {
	n := newIncidents()
	now := time.Now()
	n.now = func() time.Time { return now }
	for i := range 3 * maxIncidents {
		n.note(IncidentRejected, strings.Repeat("A", i%60), "unknown")
		n.note(IncidentRights, "CT1", "store")
	}
	list := n.recent()
	if len(list) != maxIncidents || list[0].Kind != IncidentRights || list[0].Count != 3*maxIncidents {
		t.Errorf("%d incidents, the last %+v", len(list), list[0])
	}
	now = now.Add(25 * time.Hour)
	if list := n.recent(); len(list) != 0 {
		t.Errorf("%d incidents are from yesterday", len(list))
	}
	var none *incidents
	none.note(IncidentRights, "CT1", "store")
}
