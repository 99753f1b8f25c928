package forwarder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// rig is a forwarder that runs over a queue in memory, inside a synctest
// bubble, where hours pass in no time.
type rig struct {
	t         *testing.T
	queue     *memQueue
	forwarder *Forwarder
	registry  *prometheus.Registry
	log       *logBuffer
	cancel    context.CancelFunc
	result    chan error
}

// logBuffer is a bytes.Buffer that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// dialers reaches each destination's peer.
type dialers map[string]*peer

func (d dialers) Dial(ctx context.Context, to Destination, contexts []pdu.PresentationContext) (transfer.Association, error) {
	return d[to.Name].Dial(ctx, to, contexts)
}

func start(t *testing.T, q *memQueue, d Dialer, destinations ...Destination) *rig {
	t.Helper()
	r := &rig{t: t, queue: q, registry: prometheus.NewRegistry(), log: &logBuffer{}, result: make(chan error, 1)}
	for i := range destinations {
		destinations[i].CalledAETitle, destinations[i].Address = "CLOUD", "cloud:104"
		if destinations[i].Name == "" {
			destinations[i].Name = "cloud"
		}
	}
	var err error
	r.forwarder, err = New(Options{
		Queue: q, Dialer: d, Destinations: destinations, Registerer: r.registry,
		Logger: slog.New(slog.NewTextHandler(r.log, nil)), Converter: transfer.NewConverter(r.registry, slog.New(slog.NewTextHandler(r.log, nil))),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.result <- r.forwarder.Run(ctx) }()
	return r
}

// stop ends the forwarder and checks that it kept no lease.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.result; err != nil {
		r.t.Errorf("Run returned %v", err)
	}
	if n := r.queue.count(isLeased); n > 0 {
		r.t.Errorf("%d leases were not handed back", n)
	}
}

// until lets time pass until the condition holds.
func (r *rig) until(limit time.Duration, what string, condition func() bool) {
	r.t.Helper()
	pace := max(limit/5000, 5*time.Millisecond)
	for end := time.Now().Add(limit); !condition(); time.Sleep(pace) {
		if time.Now().After(end) {
			r.t.Fatalf("not %s after %v: %d open jobs, status %+v\n%s", what, limit, r.queue.count(isOpen), r.forwarder.Status(), r.log)
		}
	}
}

func (r *rig) untilDone(limit time.Duration) {
	r.t.Helper()
	r.until(limit, "done", func() bool { return r.queue.count(isOpen) == 0 })
}

func TestDeliversEverythingOnce(t *testing.T) {
	for _, window := range []int{1, 8} {
		for _, associations := range []int{1, 4} {
			synctest.Test(t, func(t *testing.T) {
				q, p := newMemQueue(t), &peer{window: window, delay: 10 * time.Millisecond}
				q.add("cloud", ctPair, 1000, 1000)
				q.add("cloud", mrPair, 1000, 1000)
				r := start(t, q, p, Destination{Associations: associations})
				begun := time.Now()
				r.untilDone(time.Minute)
				took, ideal := time.Since(begun), 20*time.Second/time.Duration(window*associations)
				if took > ideal*3/2+time.Second {
					t.Errorf("window %d, %d associations: took %v, ideally %v", window, associations, took, ideal)
				}
				for id := uint64(1); id <= 2000; id++ {
					if p.stored[uidOf(id)] != 1 || q.job(id).results != 1 {
						t.Fatalf("instance %d was stored %d times with %d results", id, p.stored[uidOf(id)], q.job(id).results)
					}
				}
				if p.most > associations {
					t.Errorf("%d associations at once, bound %d", p.most, associations)
				}
				r.until(3*time.Second, "released", func() bool { return p.opened() == 0 })
				r.stop()
			})
		}
	}
}

func TestDeliversAtOnceWhatComesWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, p := newMemQueue(t), &peer{}
		r := start(t, q, p, Destination{})
		for range 20 {
			id, _ := q.add("cloud", ctPair, 1, 1000)
			synctest.Wait()
			if j := q.job(id); !isDelivered(&j) || !j.finished.Equal(j.Received) {
				t.Fatalf("instance %d is not delivered at once: %+v", id, j)
			}
			time.Sleep(1900 * time.Millisecond)
		}
		if p.dialed() != 1 {
			t.Errorf("%d associations, although each instance came within the linger time", p.dialed())
		}
		r.stop()
	})
}

func TestADeadDestinationCostsTheOthersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alive, healed := &peer{delay: time.Millisecond}, time.Now().Add(6*time.Hour)
		dead := &peer{dial: func(int) error {
			if time.Now().Before(healed) {
				return fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
			}
			return nil
		}}
		q := newMemQueue(t)
		q.add("dead", ctPair, 500, 10)
		q.add("alive", ctPair, 500, 10)
		r := start(t, q, dialers{"alive": alive, "dead": dead}, Destination{Name: "dead"}, Destination{Name: "alive"})
		r.until(5*time.Second, "delivered to the living", func() bool { return alive.holds() == 500 })
		r.until(time.Minute, "open", func() bool { return r.forwarder.Status()[0].Breaker == BreakerOpen })
		if n := q.count(isLeased); n > 0 {
			t.Errorf("%d jobs leased while the breaker is open", n)
		}
		time.Sleep(time.Hour)
		s := r.forwarder.Status()[0]
		if s.State != StateUnreachable && s.State != StateProbing || s.NextProbe.IsZero() || s.Trouble == nil || !strings.Contains(s.Trouble.Text, "nothing listens") {
			t.Errorf("status %+v, trouble %+v", s, s.Trouble)
		}
		if n := dead.dialed(); n < 60 || n > 140 {
			t.Errorf("%d dials in an hour", n)
		}
		if lines := strings.Count(r.log.String(), "\n"); lines > 150 {
			t.Errorf("%d log lines about one outage", lines)
		}
		r.untilDone(6 * time.Hour)
		if n := q.count(func(j *memJob) bool { return j.results != 1 }); n > 0 {
			t.Errorf("%d jobs have aged during the outage", n)
		}
		r.stop()
	})
}

func TestARejectionForGoodParksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{dial: func(n int) error {
			if n < 20 {
				return &dimse.RejectError{Result: 1, Source: 1, Reason: 3}
			}
			return nil
		}}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 100, 10)
		r := start(t, q, p, Destination{})
		time.Sleep(time.Second)
		s := r.forwarder.Status()[0]
		if p.dialed() != 1 || s.Breaker != BreakerOpen || !strings.Contains(s.Trouble.Text, "calling AE title") {
			t.Errorf("%d dials, status %+v", p.dialed(), s)
		}
		time.Sleep(time.Hour)
		if n := p.dialed(); n < 6 || n > 15 {
			t.Errorf("%d probes in an hour", n)
		}
		r.untilDone(4 * time.Hour)
		if n := q.count(isDelivered); n != 100 {
			t.Errorf("%d delivered", n)
		}
		r.stop()
	})
}

func TestAPersonMayHurryTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mended := false
		p := &peer{dial: func(int) error {
			if !mended {
				return &dimse.RejectError{Result: 1, Source: 1, Reason: 7}
			}
			return nil
		}}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 10, 10)
		r := start(t, q, p, Destination{})
		time.Sleep(time.Second)
		p.do(func() { mended = true })
		if !r.forwarder.Probe("cloud") || r.forwarder.Probe("nowhere") {
			t.Error("Probe does not know its destinations")
		}
		r.untilDone(time.Second)
		r.stop()
	})
}

func TestWithoutJobsTheProbeIsAnEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{store: func(dicom.UID) reply { return reply{breaks: errPeerAborts} }}
		q := newMemQueue(t)
		id, _ := q.add("cloud", ctPair, 1, 10)
		r := start(t, q, p, Destination{Policy: Policy{BreakerThreshold: 1, Backoff: Backoff{Initial: 24 * time.Hour, Max: 24 * time.Hour}}})
		r.until(time.Second, "open", func() bool { return r.forwarder.Status()[0].Breaker == BreakerOpen })
		r.until(5*time.Second, "closed", func() bool { return r.forwarder.Status()[0].Breaker == BreakerClosed })
		if p.echoes != 1 || q.job(id).results != 1 {
			t.Errorf("%d echoes, job %+v", p.echoes, q.job(id))
		}
		r.stop()
	})
}

func TestABusyDestinationIsNotInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{admits: 2, delay: 10 * time.Millisecond}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 5000, 10)
		r := start(t, q, p, Destination{Associations: 8})
		r.untilDone(time.Minute)
		if s := r.forwarder.Status()[0]; s.Breaker != BreakerClosed || strings.Contains(r.log.String(), "fails") {
			t.Errorf("status %+v, log %s", s, r.log)
		}
		if n := p.dialed(); n > 8+60 {
			t.Errorf("%d dials, although it said that two is the limit", n)
		}
		if n := q.count(isDelivered); n != 5000 {
			t.Errorf("%d delivered", n)
		}
		r.stop()
	})
}

func TestParksWhatHasNoContext(t *testing.T) {
	for name, test := range map[string]struct {
		destination Destination
		code, words string
		dials       bool
	}{
		"refused by the destination": {Destination{}, "no-context", "Ultrasound Image Storage 1.2.840.10008.5.1.4.1.1.6.1 in Explicit VR Little Endian", true},
		"refused here":               {Destination{TransferSyntaxes: []dicom.UID{dicom.ImplicitVRLittleEndian}}, "not-proposed", "1.2.840.10008.5.1.4.1.1.6.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{refuses: func(pair transfer.Pair) bool { return pair == usPair }}
				q := newMemQueue(t)
				first, last := q.add("cloud", usPair, 50, 10)
				implicit := ctPair
				implicit.TransferSyntaxUID = dicom.ImplicitVRLittleEndian
				q.add("cloud", implicit, 50, 10)
				begun := time.Now()
				r := start(t, q, p, test.destination)
				r.untilDone(time.Second)
				if took := time.Since(begun); took > 100*time.Millisecond {
					t.Errorf("took %v", took)
				}
				for id := first; id <= last; id++ {
					j := q.job(id)
					if !isParked(&j) || j.code != test.code || !strings.Contains(j.reason, test.words) {
						t.Fatalf("job %d: %+v", id, j)
					}
				}
				if q.count(isDelivered) != 50 {
					t.Error("the others were not delivered")
				}
				if n := strings.Count(r.log.String(), "instance parked"); n != 1 {
					t.Errorf("%d log lines for 50 instances parked for one reason", n)
				}
				r.stop()
			})
		})
	}
}

// TestConverts has a destination that takes nothing but implicit VR.
func TestConverts(t *testing.T) {
	j2kPair := transfer.Pair{SOPClassUID: mrPair.SOPClassUID, TransferSyntaxUID: dicom.JPEG2000Lossless}
	rlePair := transfer.Pair{SOPClassUID: mrPair.SOPClassUID, TransferSyntaxUID: dicom.RLELossless}
	for name, test := range map[string]struct {
		destination              Destination
		explicit, image, unknown string // codes of the jobs, "" for delivered
	}{
		"unless asked for, nothing":      {Destination{}, "no-context", "no-context", "no-context"},
		"what can be":                    {Destination{Convert: true}, "", "conversion", "conversion"},
		"to what it may be sent":         {Destination{Convert: true, TransferSyntaxes: []dicom.UID{dicom.ImplicitVRLittleEndian}}, "", "conversion", "not-proposed"},
		"only if it may be sent as such": {Destination{Convert: true, TransferSyntaxes: []dicom.UID{dicom.ExplicitVRLittleEndian}}, "no-context", "no-context", "not-proposed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{refuses: func(pair transfer.Pair) bool { return pair.TransferSyntaxUID != dicom.ImplicitVRLittleEndian }}
				q := newMemQueue(t)
				q.opened = func(j Job) (io.ReadCloser, error) {
					data := "\x08\x00\x18\x00UI\x04\x001.2\x00"
					if j.Pair == rlePair { // pixel data that is not described
						data += "\xE0\x7F\x10\x00OB\x00\x00\xFF\xFF\xFF\xFF"
					}
					return io.NopCloser(strings.NewReader(data)), nil
				}
				explicit, _ := q.add("cloud", ctPair, 20, 16)
				image, _ := q.add("cloud", rlePair, 20, 28)
				unknown, _ := q.add("cloud", j2kPair, 20, 16)
				r := start(t, q, p, test.destination)
				r.untilDone(time.Minute)
				for first, code := range map[uint64]string{explicit: test.explicit, image: test.image, unknown: test.unknown} {
					for id := first; id < first+20; id++ {
						if j := q.job(id); j.code != code || isDelivered(&j) != (code == "") || isParked(&j) != (code != "") {
							t.Fatalf("job %d: %+v, want %q", id, j, code)
						}
					}
				}
				r.stop()
			})
		})
	}
}

// TestAPoisonousInstance has a destination that ends the association whenever
// one of the instances comes.
func TestAPoisonousInstance(t *testing.T) {
	for name, breaks := range map[string]error{
		"aborts":  errPeerAborts,
		"dies":    io.EOF,
		"stalls":  &dimse.AbortError{Err: &dimse.TimeoutError{Waiting: "a response"}},
		"garbage": &dimse.AbortError{Err: &pdu.FormatError{}},
	} {
		for _, window := range []int{1, 8} {
			t.Run(fmt.Sprint(name, window), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					poison := uidOf(300)
					p := &peer{window: window, delay: 5 * time.Millisecond, store: func(uid dicom.UID) reply {
						if uid == poison {
							return reply{breaks: breaks}
						}
						return reply{}
					}}
					q := newMemQueue(t)
					q.add("cloud", ctPair, 1000, 10)
					r := start(t, q, p, Destination{})
					r.until(30*time.Second, "delivered", func() bool { return q.count(isDelivered) == 999 })
					if n := q.count(func(j *memJob) bool { return isDelivered(j) && j.Attempts > 0 }); n > 0 {
						t.Errorf("%d innocents were charged", n)
					}
					r.untilDone(24 * time.Hour)
					j := q.job(300)
					if !isParked(&j) || j.Attempts < 9 || !strings.Contains(j.reason, "attempts") {
						t.Errorf("the poison: %+v", j)
					}
					r.stop()
				})
			})
		}
	}
}

func TestPoisonAmongSteadyWorkIsParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{window: 8, store: func(uid dicom.UID) reply {
			if uid == uidOf(1) {
				return reply{breaks: errPeerAborts}
			}
			return reply{}
		}}
		q := newMemQueue(t)
		r := start(t, q, p, Destination{Policy: Policy{MaxAttempts: 3}})
		for range 600 {
			q.add("cloud", ctPair, 1, 10)
			time.Sleep(100 * time.Millisecond)
		}
		j := q.job(1)
		if !isParked(&j) || j.results != 3 {
			t.Errorf("the poison: %+v", j)
		}
		r.untilDone(time.Minute)
		r.stop()
	})
}

// TestALonePoisonousInstance has nothing else to send to a destination that
// aborts, or answers a failure, whenever the instances come. One of them is
// parked, because the destination answers C-ECHO in between; of two either may
// be the sick one's victim, and both are kept.
func TestALonePoisonousInstance(t *testing.T) {
	for what, answer := range map[string]reply{
		"abort-user":         {breaks: errPeerAborts},
		"processing-failure": {status: 0x0110},
		"unknown-status":     {status: 0xD123},
		"not-authorized":     {status: 0x0124},
	} {
		for _, test := range []struct {
			name         string
			instances    int
			echoes       bool
			associations int
			linger       time.Duration
			parked       int
		}{
			{"alone", 1, true, 4, 0, 1},
			{"alone on one association", 1, true, 1, 24 * time.Hour, 1},
			{"alone, and no echo", 1, false, 4, 0, 0},
			{"two", 2, true, 4, 0, 0},
		} {
			t.Run(what+" "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &peer{
						admits:  test.associations,
						store:   func(dicom.UID) reply { return answer },
						refuses: func(pair transfer.Pair) bool { return !test.echoes && pair.SOPClassUID == dicom.VerificationSOPClass },
					}
					q := newMemQueue(t)
					q.add("cloud", ctPair, test.instances, 10)
					r := start(t, q, p, Destination{Associations: test.associations, Linger: test.linger})
					const hours = 6 // for some 70 attempts
					time.Sleep(hours * time.Hour)
					if n := q.count(isParked); n != test.parked {
						t.Errorf("%d parked, want %d; %d echoes", n, test.parked, p.echoes)
					}
					if j := q.job(1); test.parked > 0 && (j.code != what || j.results < 10 || j.results > 15 || !strings.Contains(j.reason, "attempts")) {
						t.Errorf("parked as %+v", j)
					}
					// The wait between attempts is five minutes on average in the end, and an echo goes with an attempt.
					if p.most > test.associations || p.echoes > test.instances*hours*60/5*3/2 {
						t.Errorf("%d associations at once, %d echoes", p.most, p.echoes)
					}
					r.stop()
				})
			})
		}
	}
}

func TestStatuses(t *testing.T) {
	for _, test := range []struct {
		status  dimse.Status
		verdict Verdict
		code    string
	}{
		{0x0000, Delivered, ""},
		{0xB000, Delivered, "warning"},
		{0xB007, Delivered, "warning"},
		{0x0111, Delivered, "duplicate"},
		{0xA900, Parked, "data-set-mismatch"},
		{0xC123, Parked, "cannot-understand"},
		{0x0122, Parked, "sop-class"},
	} {
		t.Run(fmt.Sprintf("%04X", uint16(test.status)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{window: 4, store: func(uid dicom.UID) reply {
					if uid == uidOf(5) {
						return reply{status: test.status}
					}
					return reply{}
				}}
				q := newMemQueue(t)
				q.add("cloud", ctPair, 10, 10)
				r := start(t, q, p, Destination{})
				r.untilDone(time.Second)
				j := q.job(5)
				if j.verdict != test.verdict || j.code != test.code || test.verdict == Delivered && j.status != uint16(test.status) {
					t.Errorf("got %+v", j)
				}
				if s := r.forwarder.Status()[0]; s.Breaker != BreakerClosed || s.Delivered < 9 {
					t.Errorf("status %+v", s)
				}
				r.stop()
			})
		})
	}
}

func TestTransientStatusesEndInDelivery(t *testing.T) {
	for _, status := range []dimse.Status{0xA700, 0x0110, 0x0213, 0x0124, 0xFE00, 0xD123} {
		t.Run(fmt.Sprintf("%04X", uint16(status)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				healed := time.Now().Add(30 * time.Minute)
				p := &peer{window: 4, delay: time.Millisecond, store: func(dicom.UID) reply {
					if time.Now().Before(healed) {
						return reply{status: status}
					}
					return reply{}
				}}
				q := newMemQueue(t)
				q.add("cloud", ctPair, 200, 10)
				r := start(t, q, p, Destination{})
				r.untilDone(2 * time.Hour)
				if n := q.count(isDelivered); n != 200 {
					t.Errorf("%d delivered, %d parked: a whole queue must not be parked for an ailing destination", n, q.count(isParked))
				}
				r.stop()
			})
		})
	}
}

func TestADestinationThatAbortsEverythingGetsNothingParked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		healed := time.Now().Add(48 * time.Hour)
		p := &peer{window: 4, delay: time.Millisecond, store: func(dicom.UID) reply {
			if time.Now().Before(healed) {
				return reply{breaks: errPeerAborts}
			}
			return reply{}
		}}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 200, 10)
		r := start(t, q, p, Destination{})
		r.untilDone(50 * time.Hour)
		if n := q.count(isDelivered); n != 200 {
			t.Errorf("%d delivered, %d parked", n, q.count(isParked))
		}
		r.stop()
	})
}

func TestALostResponseMeansASecondDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[dicom.UID]bool{}
		p := &peer{store: func(uid dicom.UID) reply {
			if uid == uidOf(7) && !seen[uid] {
				seen[uid] = true
				return reply{lost: true}
			}
			if seen[uid] {
				return reply{status: 0x0111}
			}
			return reply{}
		}}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 20, 10)
		r := start(t, q, p, Destination{})
		r.untilDone(time.Minute)
		if j := q.job(7); !isDelivered(&j) || j.code != "duplicate" || j.results != 2 {
			t.Errorf("job %+v", j)
		}
		r.stop()
	})
}

func TestMorePairsThanFitIntoAnAssociation(t *testing.T) {
	for _, associations := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{window: 8, delay: time.Millisecond}
			q := newMemQueue(t)
			for i := range 900 {
				q.add("cloud", transfer.Pair{SOPClassUID: dicom.UID(fmt.Sprintf("1.2.%d", i%300)), TransferSyntaxUID: dicom.ExplicitVRLittleEndian}, 1, 10)
			}
			r := start(t, q, p, Destination{Associations: associations})
			r.untilDone(time.Minute)
			for i, proposal := range p.proposed {
				if len(proposal) == 0 || len(proposal) > transfer.MaxContexts {
					t.Errorf("association %d proposed %d contexts", i, len(proposal))
				}
			}
			if q.count(isDelivered) != 900 || p.most > associations {
				t.Errorf("%d delivered, %d associations at once", q.count(isDelivered), p.most)
			}
			r.stop()
		})
	}
}

// TestALateSOPClassGetsItsTurn floods a single association with one class
// and then adds an instance of another.
func TestALateSOPClassGetsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{delay: time.Millisecond}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 50, 10)
		r := start(t, q, p, Destination{Associations: 1, BatchPerAssociation: -1})
		time.Sleep(20 * time.Millisecond)
		late, _ := q.add("cloud", mrPair, 1, 10)
		q.add("cloud", ctPair, 5000, 10)
		r.untilDone(time.Minute)
		at := slices.Index(p.order, uidOf(late))
		if at < 0 || at > 50+2*maxPassed {
			t.Errorf("the late one was delivered as number %d", at)
		}
		r.stop()
	})
}

func TestBatchPerAssociation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{delay: time.Millisecond}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 100, 10)
		r := start(t, q, p, Destination{Associations: 1, BatchPerAssociation: 10})
		r.untilDone(time.Minute)
		if p.dialed() != 10 {
			t.Errorf("%d associations for 10 batches", p.dialed())
		}
		r.stop()
	})
}

func TestUrgentOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{delay: 10 * time.Millisecond}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 1000, 10)
		r := start(t, q, p, Destination{Associations: 1})
		time.Sleep(time.Second)
		id, _ := q.add("cloud", ctPair, 1, 10)
		q.mu.Lock()
		q.jobs[id-1].Urgency = 1
		q.mu.Unlock()
		r.until(time.Second, "delivered", func() bool { j := q.job(id); return isDelivered(&j) })
		if lag := q.job(id).finished.Sub(q.job(id).Received); lag > 400*time.Millisecond {
			t.Errorf("waited %v behind routine work", lag)
		}
		r.stop()
	})
}

func TestAnUnreadableInstanceIsParkedAlone(t *testing.T) {
	after := func(n int, err error) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, n)), badReader{err})), nil
		}
	}
	for name, test := range map[string]struct {
		payload func() (io.ReadCloser, error)
		code    string
		tries   int
	}{
		"gone":           {func() (io.ReadCloser, error) { return nil, spool.ErrEvicted }, "local-read", 1},
		"known damaged":  {func() (io.ReadCloser, error) { return nil, spool.ErrDamaged }, "damaged", 1},
		"shorter":        {after(100, io.EOF), "damaged", 1},
		"damaged at end": {after(299_000, spool.ErrDamaged), "damaged", 1},
		"unopened":       {func() (io.ReadCloser, error) { return nil, syscall.EIO }, "local-read", maxReads},
		"unreadable":     {after(0, syscall.EIO), "local-read", maxReads},
		"bad at its end": {after(299_000, syscall.EIO), "local-read", maxReads},
	} {
		for _, window := range []int{1, 8} {
			t.Run(fmt.Sprint(name, window), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &peer{window: window, delay: time.Millisecond}
					q := newMemQueue(t)
					q.opened = func(j Job) (io.ReadCloser, error) {
						if j.ID == 50 {
							return test.payload()
						}
						return io.NopCloser(bytes.NewReader(make([]byte, j.Size))), nil
					}
					q.add("cloud", ctPair, 100, 300_000)
					r := start(t, q, p, Destination{})
					r.until(time.Second, "delivered", func() bool { return q.count(isDelivered) == 99 })
					if n := q.count(func(j *memJob) bool { return isDelivered(j) && j.results == 1 }); n != 99 {
						t.Errorf("%d delivered at the first attempt", n)
					}
					r.untilDone(time.Hour)
					j := q.job(50)
					if !isParked(&j) || j.code != test.code || j.results != test.tries || j.unreadable != (test.tries > 1) {
						t.Errorf("job %+v", j)
					}
					if s := r.forwarder.Status()[0]; s.Breaker != BreakerClosed || strings.Contains(r.log.String(), "destination fails") {
						t.Errorf("the destination is blamed: %+v", s)
					}
					if p.stored[uidOf(50)] != 0 {
						t.Error("the destination has it")
					}
					r.stop()
				})
			})
		}
	}
}

type badReader struct{ err error }

func (b badReader) Read([]byte) (int, error) { return 0, b.err }

// TestADiskThatRecovers has reading fail for a while.
func TestADiskThatRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{window: 8, delay: time.Millisecond}
		q := newMemQueue(t)
		failures := map[uint64]int{}
		var mu sync.Mutex
		q.opened = func(j Job) (io.ReadCloser, error) {
			mu.Lock()
			defer mu.Unlock()
			if failures[j.ID]++; failures[j.ID] < maxReads {
				return io.NopCloser(badReader{syscall.EIO}), nil
			}
			return io.NopCloser(bytes.NewReader(make([]byte, j.Size))), nil
		}
		q.add("cloud", ctPair, 20, 1000)
		r := start(t, q, p, Destination{})
		r.untilDone(time.Hour)
		if n := q.count(isDelivered); n != 20 {
			t.Errorf("%d delivered", n)
		}
		r.stop()
	})
}

// TestADiskOfWhichNothingCanBeRead has all reading fail for most of a day, upon which nothing is given up, and then for good.
func TestADiskOfWhichNothingCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{window: 8, delay: time.Millisecond}
		q := newMemQueue(t)
		var sick atomic.Bool
		sick.Store(true)
		q.opened = func(j Job) (io.ReadCloser, error) {
			if sick.Load() {
				return nil, syscall.EIO
			}
			return io.NopCloser(bytes.NewReader(make([]byte, j.Size))), nil
		}
		q.add("cloud", ctPair, 3, 1000)
		r := start(t, q, p, Destination{})
		time.Sleep(lastRead - time.Hour)
		if n := q.count(isParked); n > 0 {
			t.Errorf("%d parked", n)
		}
		sick.Store(false)
		r.untilDone(time.Hour)
		if n := q.count(isDelivered); n != 3 {
			t.Errorf("%d delivered", n)
		}
		sick.Store(true)
		id, _ := q.add("cloud", ctPair, 1, 1000)
		r.untilDone(lastRead + time.Hour)
		if j := q.job(id); !isParked(&j) || !j.unreadable || j.finished.Sub(j.Received) < lastRead {
			t.Errorf("job %+v", j)
		}
		r.stop()
	})
}

func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	for _, window := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{window: window, delay: 3 * time.Second}
			q := newMemQueue(t)
			q.add("cloud", ctPair, 1000, 10)
			r := start(t, q, p, Destination{})
			time.Sleep(time.Second)
			begun := time.Now()
			r.stop()
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("took %v to stop", took)
			}
			if n := q.count(isDelivered); n != p.holds() || n == 0 {
				t.Errorf("%d delivered of %d stored", n, p.holds())
			}
			if n := q.count(func(j *memJob) bool { return j.Attempts > 0 }); n > 0 {
				t.Errorf("%d jobs were charged", n)
			}
		})
	}
}

func TestStopDoesNotWaitForASilentDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{window: 8, delay: time.Hour}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 100, 10)
		r := start(t, q, p, Destination{})
		time.Sleep(time.Second)
		begun := time.Now()
		r.stop()
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("took %v to stop, with 10 s of grace", took)
		}
		if n := q.count(func(j *memJob) bool { return j.results > 0 }); n > 0 {
			t.Errorf("%d jobs were charged", n)
		}
	})
}

func TestTheCalendarPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A bubble begins at midnight UTC, 2000-01-01, a Saturday.
		time.Sleep(time.Until(time.Date(2000, 1, 1, 7, 0, 0, 0, time.Local)))
		calendar, err := ParseCalendar([]string{"08:00-18:00 paused"})
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{}
		q := newMemQueue(t)
		r := start(t, q, p, Destination{Calendar: calendar})
		for range 24 {
			q.add("cloud", ctPair, 3, 10)
			time.Sleep(time.Hour)
		}
		for _, j := range q.jobs {
			if h := j.finished.Hour(); !isDelivered(j) || h >= 8 && h < 18 {
				t.Errorf("job %d was delivered at %v", j.ID, j.finished)
			}
		}
		r.stop()
	})
}

func TestTheCalendarLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calendar, err := ParseCalendar([]string{"1MB/s"})
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{window: 8}
		q := newMemQueue(t)
		q.add("cloud", ctPair, 60, 500_000)
		begun := time.Now()
		r := start(t, q, p, Destination{Calendar: calendar})
		r.untilDone(time.Minute)
		if took := time.Since(begun); took < 29*time.Second || took > 31*time.Second {
			t.Errorf("30 MB at 1 MB/s took %v", took)
		}
		r.stop()
	})
}

func TestAnIdleAssociationMayEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		q := newMemQueue(t)
		r := start(t, q, p, Destination{Linger: time.Hour})
		for range 10 {
			q.add("cloud", ctPair, 1, 10)
			time.Sleep(time.Minute)
			p.endAll(errPeerAborts)
			time.Sleep(time.Second)
		}
		if s := r.forwarder.Status()[0]; q.count(isDelivered) != 10 || s.Trouble != nil {
			t.Errorf("status %+v", s)
		}
		r.stop()
	})
}

func TestAFlakyDestinationGetsEverything(t *testing.T) {
	for _, window := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			p := &peer{window: window, delay: 2 * time.Millisecond, store: func(dicom.UID) reply {
				switch n++; {
				case n%97 == 0:
					return reply{breaks: errPeerAborts}
				case n%89 == 0:
					return reply{lost: true}
				case n%83 == 0:
					return reply{status: 0xA700}
				case n%79 == 0:
					return reply{status: 0x0110}
				}
				return reply{}
			}}
			p.dial = func(n int) error {
				if n%5 == 4 {
					return syscall.ECONNRESET
				}
				return nil
			}
			q := newMemQueue(t)
			q.add("cloud", ctPair, 3000, 10)
			r := start(t, q, p, Destination{})
			r.untilDone(30 * time.Minute)
			if d := q.count(isDelivered); d != 3000 {
				t.Errorf("window %d: %d delivered, %d parked", window, d, q.count(isParked))
			}
			r.stop()
		})
	}
}

func TestNewRejectsBadOptions(t *testing.T) {
	good := Destination{Name: "cloud", CalledAETitle: "CLOUD", Address: "cloud:104"}
	for want, change := range map[string]func(*Destination){
		"has no name":      func(d *Destination) { d.Name = "" },
		"has no AE title":  func(d *Destination) { d.CalledAETitle = " " },
		"has no address":   func(d *Destination) { d.Address = "" },
		"associations":     func(d *Destination) { d.Associations = 500 },
		"window":           func(d *Destination) { d.Window = -1 },
		"transfer syntax":  func(d *Destination) { d.TransferSyntaxes = []dicom.UID{"a.b"} },
		"must be positive": func(d *Destination) { d.Policy.MaxAttempts = -1 },
		"is there twice":   nil,
	} {
		d := good
		destinations := []Destination{d, d}
		if change != nil {
			change(&d)
			destinations = []Destination{d}
		}
		_, err := New(Options{Queue: newMemQueue(t), Dialer: &peer{}, Destinations: destinations})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("accepts neither queue nor dialer")
	}
}
