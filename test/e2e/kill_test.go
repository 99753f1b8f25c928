package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// killRounds is how often the gateway is killed; DCMGATE_KILL_ROUNDS sets another number.
func killRounds(t *testing.T) int {
	if s := os.Getenv("DCMGATE_KILL_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return 5
	}
	return 50
}

// TestKill ends the gateway with SIGKILL again and again while modalities send and the cloud receives: every acknowledged
// instance must arrive, intact. An instance may arrive twice only if the gateway died between the cloud's answer and its own
// record of it.
func TestKill(t *testing.T) {
	rounds := killRounds(t)
	cloud, address := startArchive(t, archive.Options{Window: 4})
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "retry: {initial: 100ms}"})
	g.start(t)

	s := newSender(g.address, 64<<10, 1<<30) // without end: the rounds decide
	ctx, stop := context.WithCancel(t.Context())
	sent := make(chan struct{})
	go func() { defer close(sent); s.Run(ctx, 4) }()

	random := rand.New(rand.NewPCG(1, 2))
	for round := range rounds {
		time.Sleep(time.Duration(100+random.IntN(300)) * time.Millisecond)
		before := s.Acked()
		g.process.Kill()
		started := time.Now()
		g.start(t)
		t.Logf("round %d: %d acknowledged before, listening again after %v", round, before, time.Since(started).Round(time.Millisecond))
	}
	stop()
	<-sent
	acked := s.Acked()
	if acked < rounds*10 {
		t.Fatalf("only %d instances were acknowledged in %d rounds: that tests nothing", acked, rounds)
	}
	peertest.Eventually(t, 60*time.Second, "every acknowledged instance in the cloud", func() bool { return missing(t, s, cloud) == 0 })

	twice := 0
	cloud.Walk(func(_ dicom.UID, e archive.Entry) {
		if e.Answered > 1 {
			twice++
		}
	})
	// Each kill can make the answers of what was in flight repeat: associations times window, and what was not yet indexed.
	t.Logf("%d acknowledged in %d kills, all arrived intact; %d sent twice after a kill", acked, rounds, twice)
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// verifyOffline stops the gateway in order and runs `dcmgate verify` over its data folder.
func (g *gate) verifyOffline(t testing.TB) (string, int) {
	t.Helper()
	g.stop(t)
	return g.run(t, "verify")
}

// stop ends the gateway with SIGTERM; it must end with status 0.
func (g *gate) stop(t testing.TB) {
	t.Helper()
	if err := g.process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	status, err := g.process.Wait(2 * time.Minute)
	if err != nil { // what hangs is in the stacks
		g.process.Signal(syscall.SIGQUIT)
		g.process.Wait(5 * time.Second)
	}
	if err != nil || status != 0 {
		t.Fatalf("stop: exit status %d, %v\n%s", status, err, g.process.Output())
	}
}
