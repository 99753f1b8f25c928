package forwarder

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/transfer"
)

// differentPairs are n pairs that no association carries together unless it
// was made for them.
func differentPairs(n int) []transfer.Pair {
	var pairs []transfer.Pair
	for _, class := range dicom.StorageSOPClasses()[:n] {
		pairs = append(pairs, transfer.Pair{SOPClassUID: class, TransferSyntaxUID: dicom.ExplicitVRLittleEndian})
	}
	return pairs
}

// TestOneAssociationAtATime has a destination that leaves further requests
// unanswered, as a plain storescp does.
func TestOneAssociationAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := newMemQueue(t), &peer{serves: 1, delay: time.Millisecond}
		r := start(t, q, p, Destination{})
		pairs := differentPairs(10)
		for _, pair := range pairs[:2] {
			q.add("cloud", pair, 1, 1000)
			time.Sleep(5 * time.Millisecond)
		}
		r.untilDone(300 * time.Millisecond) // not a linger of 2 s
		if s := r.forwarder.Status()[0]; s.Allowed != 1 || s.Breaker != BreakerClosed || strings.Contains(r.log.String(), "fails") {
			t.Errorf("status %+v, log %s", s, r.log)
		}
		for _, pair := range pairs[2:] {
			q.add("cloud", pair, 1, 1000)
			time.Sleep(5 * time.Millisecond)
		}
		r.untilDone(50 * time.Millisecond) // it knows by now
		if n := q.count(isDelivered); n != 10 {
			t.Errorf("%d delivered", n)
		}
		r.until(3*time.Second, "released", func() bool { return p.opened() == 0 })
		r.stop()
		if p.most != 1 || len(p.queue) > 0 {
			t.Errorf("%d associations at once, %d requests still waiting", p.most, len(p.queue))
		}
	})
}

// TestSerialDestinationAndManyRequests has several requests unanswered at
// once, each for something else.
func TestSerialDestinationAndManyRequests(t *testing.T) {
	for _, serves := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			q, p := newMemQueue(t), &peer{serves: serves, delay: time.Millisecond}
			r := start(t, q, p, Destination{})
			for _, pair := range differentPairs(5) {
				q.add("cloud", pair, 1, 1000)
				time.Sleep(5 * time.Millisecond)
			}
			r.untilDone(time.Second)
			r.until(3*time.Second, "released", func() bool { return p.opened() == 0 && len(p.queue) == 0 })
			r.stop()
			if n := q.count(isDelivered); n != 5 || p.most > serves {
				t.Errorf("%d delivered, %d associations at once", n, p.most)
			}
		})
	}
}

// TestLearnsHowManyAreServed lets associations end by their batch.
func TestLearnsHowManyAreServed(t *testing.T) {
	for _, serves := range []int{1, 2, 3} {
		synctest.Test(t, func(t *testing.T) {
			q, p := newMemQueue(t), &peer{serves: serves, delay: 10 * time.Millisecond}
			q.add("cloud", ctPair, 1000*serves, 1000)
			r := start(t, q, p, Destination{BatchPerAssociation: 100})
			r.until(5*time.Second, "learnt", func() bool { return r.forwarder.Status()[0].Allowed == serves })
			r.untilDone(12 * time.Second)
			if s := r.forwarder.Status()[0]; s.Allowed > serves || strings.Contains(r.log.String(), "fails") {
				t.Errorf("serves %d: status %+v, log %s", serves, s, r.log)
			}
			r.stop()
		})
	}
}

// TestARequestThatIsNeverAnswered has work for the one association that is
// served until the others' requests time out.
func TestARequestThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := newMemQueue(t), &peer{serves: 1, delay: 100 * time.Millisecond}
		q.add("cloud", ctPair, 1000, 1000)
		r := start(t, q, p, Destination{Associations: 16, BatchPerAssociation: -1})
		time.Sleep(time.Minute)
		if s := r.forwarder.Status()[0]; s.Allowed != 1 || s.Breaker != BreakerClosed || strings.Contains(r.log.String(), "fails") {
			t.Errorf("status %+v, log %s", s, r.log)
		}
		r.untilDone(time.Minute)
		r.stop()
	})
}

// TestASlowAnswerIsNoLimit has a destination that takes its time to accept,
// but accepts all.
func TestASlowAnswerIsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := newMemQueue(t), &peer{latency: 800 * time.Millisecond, delay: 20 * time.Millisecond}
		q.add("cloud", ctPair, 2000, 1000)
		r := start(t, q, p, Destination{})
		r.untilDone(20 * time.Second)
		if s := r.forwarder.Status()[0]; s.Allowed < 4 || strings.Contains(r.log.String(), "serves only") {
			t.Errorf("status %+v, log %s", s, r.log)
		}
		r.stop()
	})
}

// serialListener accepts a connection when the one before is closed; others
// wait in the backlog, connected.
type serialListener struct {
	net.Listener
	busy chan struct{} // capacity 1
}

func (l serialListener) Accept() (net.Conn, error) {
	l.busy <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.busy
		return nil, err
	}
	return &serialConn{Conn: c, closed: func() { <-l.busy }}, nil
}

type serialConn struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *serialConn) Close() error {
	defer c.once.Do(c.closed)
	return c.Conn.Close()
}

// TestSerialArchive delivers to the real engine behind such a listener. The
// linger is longer than the test would wait.
func TestSerialArchive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{window: 1}
	a.serveOn(t, serialListener{l, make(chan struct{}, 1)})
	s, sent := fill(t, 0, 1000)
	f, err := New(Options{
		Queue: FromSpool(s), Dialer: &DIMSE{CallingAETitle: "DCMGATE"},
		Destinations: []Destination{{Name: "cloud", CalledAETitle: "CLOUD", Address: l.Addr().String(), Linger: time.Hour}},
		Logger:       slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	template := synth.NewTemplate(2000, 1)
	for i, pair := range differentPairs(5) {
		o := template.Object(1, 1, i)
		storeAs(t, s, o, pair)
		sent[dicom.UID(o.SOPInstanceUID)] = sha256.Sum256(o.Data)
		eventually(t, "delivered", func() bool { return int(s.Counts()["cloud"].Delivered) == i+1 })
	}
	if allowed := f.Status()[0].Allowed; allowed != 1 {
		t.Errorf("%d associations are allowed", allowed)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	a.check(t, sent)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s in time", what)
		}
	}
}
