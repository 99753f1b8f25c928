package upstream

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/internal/peertest"
	"dcmgate/qr"
)

// moving makes an archive whose C-MOVE is served by a function.
func moving(t testing.TB, serve func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request)) *movingPACS {
	t.Helper()
	p := &movingPACS{}
	p.move = dimse.ServiceFunc(func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		data, err := io.ReadAll(rq.Data)
		if err != nil {
			return
		}
		id, err := qr.ParseIdentifier(data, rq.Context.TransferSyntax, "")
		if err != nil {
			t.Error(err)
			return
		}
		text := rq.Command.MoveDestination
		for _, tag := range []dicom.Tag{dicom.TagQueryRetrieveLevel, dicom.TagStudyInstanceUID, dicom.TagSeriesInstanceUID, dicom.TagSOPInstanceUID} {
			if a := id.Find(tag); a != nil {
				text += " " + strings.Join(a.Values, `\`)
			}
		}
		p.mu.Lock()
		p.moves = append(p.moves, text)
		p.mu.Unlock()
		serve(ctx, w, rq)
	})
	startPACS(t, &p.pacs)
	return p
}

type movingPACS struct {
	pacs
	moves []string
}

func (p *movingPACS) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.moves)
}

func counted(status dimse.Status, completed, warnings uint16) dimse.Command {
	return dimse.Command{Status: status, NumberOfCompletedSuboperations: &completed, NumberOfWarningSuboperations: &warnings}
}

var series = qr.Wanted{Study: "1", Series: "1.1"}

func TestFetch(t *testing.T) {
	for _, row := range []struct {
		name   string
		wanted qr.Wanted
		serve  func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request)
		asked  string
		moved  int
		reason string
	}{
		{"a series", series, func(_ context.Context, w dimse.ResponseWriter, _ *dimse.Request) {
			w.Respond(dimse.Command{Status: dimse.StatusPending}, nil)
			w.Respond(counted(0, 2, 1), nil)
		}, "DCMGATE SERIES 1 1.1", 3, ""},
		{"instances, not counted", qr.Wanted{Study: "1", Series: "1.1", Instances: []dicom.UID{"1.1.1", "1.1.2"}}, func(_ context.Context, w dimse.ResponseWriter, _ *dimse.Request) {
			w.Respond(dimse.Command{}, nil)
		}, `DCMGATE IMAGE 1 1.1 1.1.1\1.1.2`, -1, ""},
		{"some fail", series, func(_ context.Context, w dimse.ResponseWriter, _ *dimse.Request) {
			w.Respond(counted(dimse.StatusSubOpsCompleteFailures, 1, 0), nil)
		}, "DCMGATE SERIES 1 1.1", 1, ""},
		{"does not know the gateway", series, func(_ context.Context, w dimse.ResponseWriter, _ *dimse.Request) {
			w.Respond(dimse.Command{Status: dimse.StatusMoveDestinationUnknown}, nil)
		}, "DCMGATE SERIES 1 1.1", -1, "answers A801H to C-MOVE"},
		{"aborts", series, func(_ context.Context, _ dimse.ResponseWriter, rq *dimse.Request) { rq.Association.Abort() }, "DCMGATE SERIES 1 1.1", 0, "aborted the association"},
	} {
		p := moving(t, row.serve)
		u := client(t, &p.pacs)
		moved, err := u.Fetch(t.Context(), row.wanted)
		if moved != row.moved || (err == nil) != (row.reason == "") || err != nil && !strings.Contains(err.Error(), row.reason) {
			t.Errorf("%s: %d, %v", row.name, moved, err)
		}
		if got := p.requests(); !slices.Equal(got, []string{row.asked}) {
			t.Errorf("%s: asked %q", row.name, got)
		}
		u.Close()
		if len(u.places) != 0 || len(u.fetches.moving) != 0 || len(u.fetches.active) != 0 {
			t.Errorf("%s: something is left", row.name)
		}
	}
}

// Several who want the same share one C-MOVE, also who wants a part of it; it is cancelled when the last of them has gone.
func TestSharedFetches(t *testing.T) {
	release := make(chan struct{})
	var cancelled atomic.Int32
	p := moving(t, func(_ context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		select {
		case <-release:
			w.Respond(counted(0, 1, 0), nil)
		case <-rq.Cancelled:
			cancelled.Add(1)
			w.Respond(dimse.Command{Status: dimse.StatusCancel}, nil)
		}
	})
	u := client(t, &p.pacs, func(o *Options) { o.Associations = 4 })
	part := qr.Wanted{Study: "1", Series: "1.1", Instances: []dicom.UID{"1.1.1"}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	begun := func(askers int) {
		peertest.Eventually(t, 5*time.Second, fmt.Sprint(askers, " share a fetch"), func() bool {
			u.fetches.mu.Lock()
			defer u.fetches.mu.Unlock()
			f := u.fetches.active[keyOf(series)]
			return f != nil && f.askers == askers && len(p.requests()) > 0
		})
	}
	fetch := func(ctx context.Context, w qr.Wanted, want error) {
		group.Go(func() {
			if _, err := u.Fetch(ctx, w); err != want {
				t.Error(err)
			}
		})
	}
	fetch(ctx, series, context.Canceled)
	begun(1)
	fetch(ctx, part, context.Canceled)
	fetch(t.Context(), series, nil)
	begun(3)
	cancel()
	begun(1)
	release <- struct{}{}
	group.Wait()
	if n := len(p.requests()); n != 1 || cancelled.Load() != 0 {
		t.Errorf("%d moves, %d cancelled", n, cancelled.Load())
	}

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	fetch(ctx, series, context.Canceled)
	begun(1)
	peertest.Eventually(t, 5*time.Second, "the archive moves again", func() bool { return len(p.requests()) == 2 })
	cancel()
	group.Wait()
	u.winding.Wait()
	if n := cancelled.Load(); n != 1 {
		t.Errorf("%d cancelled", n)
	}
}

// An archive that neither responds nor sends is given up; one that sends without responding is not.
func TestStallingFetch(t *testing.T) {
	for !stallingFetch(t) {
		t.Log("the test itself stalled for longer than it lets the archive")
	}
}

// stallingFetch returns false if it says nothing, as instances came later than they should.
func stallingFetch(t *testing.T) bool {
	const timeout = 200 * time.Millisecond
	release := make(chan struct{})
	p := moving(t, func(ctx context.Context, w dimse.ResponseWriter, _ *dimse.Request) {
		select {
		case <-release:
			w.Respond(counted(0, 1, 0), nil)
		case <-ctx.Done():
		}
	})
	u := client(t, &p.pacs, func(o *Options) { o.MoveTimeout = timeout })
	if _, err := u.Fetch(t.Context(), series); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Error(err)
	}
	if s := u.Status(); s.Breaker != forwarder.BreakerClosed || s.Trouble == nil {
		t.Errorf("%+v", s)
	}
	done := make(chan error, 1)
	go func() { _, err := u.Fetch(t.Context(), series); done <- err }()
	longest, last := time.Duration(0), time.Now()
	for range 20 {
		time.Sleep(25 * time.Millisecond)
		u.Arrived("1", "1.1")
		longest = max(longest, time.Since(last))
		last = time.Now()
	}
	close(release)
	err := <-done
	if err != nil && max(longest, time.Since(last)) >= timeout {
		return false
	}
	if err != nil {
		t.Error(err)
	}
	return true
}

// Retrievals leave queries a place, and wait for theirs.
func TestPlacesOfFetches(t *testing.T) {
	release := make(chan struct{})
	p := moving(t, func(_ context.Context, w dimse.ResponseWriter, _ *dimse.Request) {
		<-release
		w.Respond(counted(0, 1, 0), nil)
	})
	p.find = answering(0, "1")
	u := client(t, &p.pacs)
	var group sync.WaitGroup
	for i := range 3 {
		group.Go(func() {
			if _, err := u.Fetch(t.Context(), qr.Wanted{Study: "1", Series: dicom.UID(fmt.Sprint("1.", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	peertest.Eventually(t, 5*time.Second, "three are wanted", func() bool { return u.Status().Moves == 3 && len(p.requests()) == 1 })
	if _, err := ask(t.Context(), u, studies); err != nil {
		t.Error(err)
	}
	close(release)
	group.Wait()
	if n := len(p.requests()); n != 3 {
		t.Errorf("%d moves", n)
	}
	u.Close()
	if _, err := u.Fetch(t.Context(), series); err != errEnding {
		t.Error(err)
	}
}
