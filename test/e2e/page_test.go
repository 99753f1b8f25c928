package e2e

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// A browser shows the page in both languages without a complaint, with the figures that Prometheus gets.
func TestPageInABrowser(t *testing.T) {
	chromium := peertest.Require(t, "chromium")
	_, cloud := startArchive(t, archive.Options{})
	g := newGate(t, "", destination{"cloud", "CLOUD", cloud, ""}, destination{"nowhere", "NOWHERE", peertest.Address(t), ""})
	g.start(t)
	s := newSender(g.address, 20_000, 30)
	if err := s.Run(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	g.delivered(t, "cloud", 30, 20*time.Second)
	peertest.Eventually(t, 20*time.Second, "what was delivered waits no more", func() bool {
		text, _ := g.scrape()
		return waiting(t, text) == 30
	})
	for lang, word := range map[string]string{"en": "Received", "zh": "已接收"} {
		dom, complaints := browse(t, chromium, "http://"+g.http+"/?lang="+lang)
		if len(complaints) > 0 || !strings.Contains(dom, ">"+word+"<") {
			t.Errorf("%s: the browser complains: %q\n%s", lang, complaints, dom)
		}
		text, ok := g.scrape() // at one moment: jobs are tried again and again
		if !ok {
			t.Fatal("no metrics")
		}
		for name, want := range map[string]float64{
			"received":  sample(t, text, "dcmgate_store_responses_total", `status="0000"`),
			"delivered": sample(t, text, "dcmgate_instances_delivered_total"),
			"waiting":   waiting(t, text),
			"person":    sample(t, text, "dcmgate_jobs", `state="parked"`) + sample(t, text, "dcmgate_jobs", `state="refused"`),
			"stored":    sample(t, text, "dcmgate_spool_instances"),
		} {
			if got := figure(dom, name); got != fmt.Sprint(want) {
				t.Errorf("%s: %s is %q, Prometheus gets %v", lang, name, got, want)
			}
		}
	}
}

// waiting is how many instances wait for delivery.
func waiting(t *testing.T, text string) float64 {
	t.Helper()
	return sample(t, text, "dcmgate_jobs", `state="pending"`) + sample(t, text, "dcmgate_jobs", `state="active"`)
}

// That the browser does complain if there is something to complain about.
func TestBrowserComplains(t *testing.T) {
	chromium := peertest.Require(t, "chromium")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src data:")
		_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><style>p { color: red }</style><p>x`)
	}))
	defer srv.Close()
	if _, complaints := browse(t, chromium, srv.URL); len(complaints) != 1 || !strings.Contains(complaints[0], "style") {
		t.Errorf("%q", complaints)
	}
}

// browse loads a page and returns its tree as HTML, and what the browser's console has said.
func browse(t *testing.T, chromium, address string) (dom string, complaints []string) {
	t.Helper()
	out, status := peertest.Run(t, nil, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(), "--enable-logging=stderr", "--dump-dom", address)
	if status != 0 {
		t.Fatalf("chromium ended with %d: %s", status, out)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, ":CONSOLE") {
			complaints = append(complaints, line)
		}
	}
	return out, complaints
}

// figure finds a figure of the page.
func figure(dom, name string) string {
	m := regexp.MustCompile(`data-n="` + name + `">([^<]*)<`).FindStringSubmatch(dom)
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(html.UnescapeString(m[1]), "\u202f", "")
}
