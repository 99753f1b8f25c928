package upstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"dcmgate/dimse"
	"dcmgate/qr"
)

// A C-CANCEL reaches an archive in the midst of its answers, and who has cancelled does not wait for its final response.
func TestCancelReachesTheArchive(t *testing.T) {
	type moment struct {
		command dimse.CommandField // that is cancelled
		at      time.Time
	}
	reached, returned := make(chan moment, 1), make(chan struct{}, 1)
	begun := make(chan struct{}, 1)
	withhold := func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		begun <- struct{}{}
		select {
		case <-rq.Cancelled:
			reached <- moment{rq.Command.CommandField, time.Now()}
		case <-ctx.Done():
			t.Error("the association ended without a C-CANCEL")
			return
		}
		select {
		case <-returned:
			w.Respond(dimse.Command{Status: dimse.StatusCancel}, nil)
		case <-ctx.Done():
			t.Error("who has cancelled waits for the archive")
		}
	}
	p := moving(t, func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		w.Respond(dimse.Command{Status: dimse.StatusPending}, nil)
		withhold(ctx, w, rq)
	})
	p.mu.Lock()
	p.find = func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request, _ *qr.Identifier) {
		pending(w, rq, dimse.StatusPending, study("1"))
		withhold(ctx, w, rq)
	}
	p.mu.Unlock()
	u := client(t, &p.pacs)
	for command, operation := range map[dimse.CommandField]func(context.Context) error{
		dimse.CFindRQ: func(ctx context.Context) error { _, err := ask(ctx, u, studies); return err },
		dimse.CMoveRQ: func(ctx context.Context) error { _, err := u.Fetch(ctx, series); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var at time.Time
		go func() { <-begun; at = time.Now(); cancel() }()
		if err := operation(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", command, err)
		}
		back := time.Now()
		got := <-reached
		returned <- struct{}{}
		u.winding.Wait()
		if got.command != command {
			t.Errorf("%v was cancelled, not %v", got.command, command)
		}
		t.Logf("%v: C-CANCEL at the archive after %v, who has cancelled is told after %v", command, got.at.Sub(at), back.Sub(at))
	}
}
