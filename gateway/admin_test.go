package gateway

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dcmgate/metrics"
)

func TestAdmin(t *testing.T) {
	var health, ready error
	h := (&admin{
		metrics: metrics.NewRegistry("1").Handler(),
		health:  func() error { return health },
		ready:   func() error { return ready },
		status: func() Status {
			return Status{AETitle: "GATE<script>", Destinations: []DestinationStatus{{Name: "cloud", LastError: "refused"}}}
		},
	}).handler()
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	for _, row := range []struct {
		path string
		want string
	}{
		{"/metrics", "dcmgate_build_info"}, {"/healthz", "ok"}, {"/readyz", "ok"},
		{"/", "GATE&lt;script&gt;"}, {"/", "refused"}, {"/", "/metrics"},
	} {
		if code, body := get("GET", row.path); code != http.StatusOK || !strings.Contains(body, row.want) {
			t.Errorf("%s: %d %.200s", row.path, code, body)
		}
	}
	health, ready = errors.New("the last write failed"), errors.New("spool pressure reject")
	if code, body := get("GET", "/healthz"); code != http.StatusServiceUnavailable || body != "the last write failed\n" {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, _ := get("GET", "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", code)
	}
	health = nil
	if code, _ := get("GET", "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz is not green again: %d", code)
	}
	for _, path := range []string{"/nothing", "/metrics/x"} {
		if code, _ := get("GET", path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _ := get("POST", "/healthz"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
}
