package gateway

import (
	"errors"
	"testing"
	"time"

	"dcmgate/spool"
)

func TestStartWaitsForWhoeverLooksIntoTheSpool(t *testing.T) {
	cfg := Default()
	cfg.DataDir = t.TempDir()
	looking, err := spool.Open(cfg.DataDir, spoolOptions(cfg, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.openSpool(0, newEvictions()); !errors.Is(err, spool.ErrLocked) {
		t.Fatalf("opened beside another: %v", err)
	}
	time.AfterFunc(3*lockPoll, func() { looking.Close() })
	s, err := g.openSpool(lockWait, newEvictions())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
