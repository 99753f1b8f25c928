package gateway

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dimse"
)

func TestCallersAreBounded(t *testing.T) {
	peers := []Peer{{AETitle: "CT1"}, {AETitle: "*"}}
	for i := range maxCallerNames + 50 {
		peers = append(peers, Peer{AETitle: fmt.Sprintf("MR%d", i)})
	}
	registry := prometheus.NewRegistry()
	c := newCallers(registry)
	c.know(peers)
	for _, row := range []struct{ calling, want string }{
		{"CT1", "CT1"}, {"CT1   ", "CT1"}, {"ct1", "other"}, {"STRANGER", "other"}, {"*", "other"}, {"", "other"},
		{"MR0", "MR0"}, {fmt.Sprintf("MR%d", maxCallerNames+49), "other"},
	} {
		if got := c.label(peers, row.calling); got != row.want {
			t.Errorf("%q is counted as %q, want %q", row.calling, got, row.want)
		}
	}
	c.instance("CT1", dimse.StatusSuccess, 500)
	c.instance("CT1", dimse.StatusOutOfResources, 20)
	if got := testutil.ToFloat64(c.bytes.WithLabelValues("CT1", "0000")); got != 500 {
		t.Errorf("%v bytes", got)
	}
	if n, err := testutil.GatherAndCount(registry, "dcmgate_caller_instances_total"); err != nil || n != maxCallerNames+2 { // others, and A700 of CT1
		t.Errorf("%d series, %v", n, err)
	}
}

func TestCallersOfNobody(t *testing.T) {
	var c *callers
	label := c.label([]Peer{{AETitle: "CT1"}}, "CT1")
	c.association(label, callerAdmitted)
	c.instance(label, dimse.StatusSuccess, 1)
}
