package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"dcmgate/commitment"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// lines is a log that many goroutines write to.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Every line of the log that is about an association names it, so that all of one can be found.
func TestLogLinesNameTheAssociation(t *testing.T) {
	refusing := acceptor(t, func(ctx context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
		a, err := new(sink).associate(ctx, rq)
		a.Service = dimse.Mux{dimse.CEchoRQ: dimse.Echo(), dimse.CStoreRQ: dimse.StoreFunc(func(context.Context, *dimse.Request) (dimse.Status, string) {
			return 0xA900, "not mine"
		})}
		return a, err
	}, nil)
	archive := newSink(t)
	log := &lines{}
	cfg := configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, accept: known}\npeers: [{ae_title: CT1, allow: [store, query, retrieve, commit], move_to: [WS]}, {ae_title: WS, address: %q}, {ae_title: VIEWER, allow: [query]}]\n"+
		"destinations:\n%s  - {name: refuses, ae_title: SINK, address: %q, linger: 0}\n", archive.address, archive.destination("cloud"), refusing))
	g := runWith(t, cfg, Options{Version: "test", Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	address := g.Listeners().DICOM
	results := make(chan *commitment.Result, 1)
	a := asker(t, address, results)
	storeAndAsk(t, a, "1.2.3.4", 2)
	<-results
	_ = a.Release(t.Context())
	for title, contexts := range map[string][]pdu.PresentationContext{"VIEWER": ctContexts, "STRANGER": ctContexts} {
		d := dimse.Dialer{LocalAETitle: title}
		if a, err := d.Dial(t.Context(), address, dimse.Proposal{CalledAETitle: "DCMGATE", Contexts: contexts}); err == nil {
			a.Close()
		}
	}
	asked, err := dialReceiver(t, address, []pdu.PresentationContext{
		{ID: 1, AbstractSyntax: string(qr.StudyRootFind), TransferSyntaxes: []string{string(implicit)}},
		{ID: 3, AbstractSyntax: string(qr.StudyRootMove), TransferSyntaxes: []string{string(implicit)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := append(element(0x0008, 0x0052, "CS", "STUDY "), element(0x0020, 0x000D, "UI", "1.2\x00")...)
	for id, c := range map[byte]dimse.Command{
		1: {CommandField: dimse.CFindRQ, AffectedSOPClassUID: qr.StudyRootFind},
		3: {CommandField: dimse.CMoveRQ, AffectedSOPClassUID: qr.StudyRootMove, MoveDestination: "NOBODY"},
	} {
		p, err := asked.Do(t.Context(), id, c, bytes.NewReader(keys))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_ = asked.Release(t.Context())
	wanted := []string{
		"association ended", "no association", "peer lacks rights", "instance stored", "commitment requested", "commitment reported", "query", "retrieval", "instance parked",
	}
	eventually(t, "a line of each kind", func() bool {
		text := log.String()
		for _, w := range wanted {
			if !strings.Contains(text, `"msg":"`+w) {
				return false
			}
		}
		return true
	})
	g.stop(t)
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if fields["association"] != nil {
			continue
		}
		for _, key := range []string{"remote", "calling", "peer", "operation", "sop_instance_uid"} {
			if fields[key] != nil {
				t.Errorf("names no association: %s", line)
				break
			}
		}
	}
}
