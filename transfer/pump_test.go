package transfer

import (
	"context"
	"errors"
	"io"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

var windows = []int{1, 2, 8}

func TestPumpSendsAll(t *testing.T) {
	for _, window := range windows {
		a := newFake(window)
		a.script = func(n int, _ dicom.UID) (dimse.Status, error) {
			return []dimse.Status{0, 0xB000, 0xA700}[n%3], nil
		}
		s := newSource(t)
		for i := range 20 {
			s.items = append(s.items, item(uidOf(i), 1000*i))
		}
		if err := (&Pump{Association: a, Source: s}).Run(t.Context()); err != nil {
			t.Fatalf("window %d: %v", window, err)
		}
		if len(s.outcomes) != 20 || len(a.received) != 20 {
			t.Fatalf("window %d: %d outcomes of %d requests", window, len(s.outcomes), len(a.received))
		}
		for i, uid := range a.received {
			want := []dimse.Status{0, 0xB000, 0xA700}[i%3]
			if o := s.outcomes[uid]; uid != uidOf(i) || o.Kind != Answered || o.Status != want {
				t.Errorf("window %d: request %d is %s with outcome %+v", window, i, uid, o)
			}
			if len(a.data[uid]) != 1000*i {
				t.Errorf("window %d: instance %d arrived with %d bytes", window, i, len(a.data[uid]))
			}
		}
	}
}

func uidOf(i int) dicom.UID { return dicom.UID("1.2.3." + string(rune('a'+i))) }

func TestPumpFillsTheWindow(t *testing.T) {
	for _, test := range []struct{ negotiated, wanted, most int }{{1, 0, 1}, {8, 0, 8}, {8, 3, 3}, {2, 5, 2}} {
		synctest.Test(t, func(t *testing.T) {
			a := newFake(test.negotiated)
			a.hold = make(chan struct{})
			s := newSource(t)
			for i := range 20 {
				s.items = append(s.items, item(uidOf(i), 10))
			}
			result := make(chan error)
			go func() { result <- (&Pump{Association: a, Source: s, Window: test.wanted}).Run(t.Context()) }()
			synctest.Wait()
			if a.unanswered != test.most {
				t.Errorf("%+v: %d requests unanswered", test, a.unanswered)
			}
			close(a.hold)
			if err := <-result; err != nil || a.most != test.most || len(s.outcomes) != 20 {
				t.Errorf("%+v: %v, %d at once, %d outcomes", test, err, a.most, len(s.outcomes))
			}
		})
	}
}

func TestPumpSendsWhatComesWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake(2)
		a.hold = make(chan struct{})
		s := newSource(t, item("1.1", 10))
		s.open = true
		result := make(chan error)
		go func() { result <- (&Pump{Association: a, Source: s, Linger: time.Minute}).Run(t.Context()) }()
		synctest.Wait()
		s.add(item("1.2", 10))
		synctest.Wait()
		if a.unanswered != 2 {
			t.Errorf("the second request waits for the first response")
		}
		close(a.hold)
		s.close()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

func TestPumpLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake(1)
		s := newSource(t)
		s.open = true
		begun := time.Now()
		time.AfterFunc(1500*time.Millisecond, func() { s.add(item("1.1", 10)) })
		err := (&Pump{Association: a, Source: s, Linger: 2 * time.Second}).Run(t.Context())
		if err != nil || time.Since(begun) != 3500*time.Millisecond || s.kinds()["1.1"] != Answered {
			t.Errorf("ended after %v with %v and %v", time.Since(begun), err, s.kinds())
		}
	})
}

func TestPumpGoesOnWithoutAContext(t *testing.T) {
	a := newFake(1)
	a.refuse[Pair{mr, j2k}] = true
	refused := item("1.2", 10)
	refused.Pair = Pair{mr, j2k}
	refused.Open = func() (io.ReadCloser, error) { t.Error("was opened"); return nil, io.EOF }
	s := newSource(t, item("1.1", 10), refused, item("1.3", 10))
	if err := (&Pump{Association: a, Source: s}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[dicom.UID]Kind{"1.1": Answered, "1.2": NoContext, "1.3": Answered}
	if got := s.kinds(); !maps.Equal(got, want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
	const words = "no accepted presentation context for MR Image Storage 1.2.840.10008.5.1.4.1.1.4 in " +
		"JPEG 2000 Image Compression (Lossless Only) 1.2.840.10008.1.2.4.90"
	if got := s.outcomes["1.2"].Err.Error(); got != words {
		t.Errorf("the reason is %q, want %q", got, words)
	}
}

func TestPumpSurvivesAPayloadThatFailsBeforeItIsSent(t *testing.T) {
	gone := errors.New("gone")
	for _, window := range windows {
		unopened := item("1.2", 10)
		unopened.Open = func() (io.ReadCloser, error) { return nil, gone }
		// The third fails within what is read ahead while a response is awaited.
		s := newSource(t, item("1.1", 10), unopened, item("1.3", 10))
		a := newFake(window)
		if err := (&Pump{Association: a, Source: s}).Run(t.Context()); err != nil {
			t.Fatalf("window %d: %v", window, err)
		}
		want := map[dicom.UID]Kind{"1.1": Answered, "1.2": LocalError, "1.3": Answered}
		if got := s.kinds(); !maps.Equal(got, want) || !errors.Is(s.outcomes["1.2"].Err, gone) {
			t.Errorf("window %d: outcomes %v, want %v", window, got, want)
		}
	}
}

func TestPumpReadsAheadWithoutTouchingTheAssociation(t *testing.T) {
	gone := errors.New("gone")
	a := newFake(1)
	s := newSource(t, item("1.1", 10), broken("1.2", 5, 10, gone), item("1.3", 10))
	if err := (&Pump{Association: a, Source: s}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[dicom.UID]Kind{"1.1": Answered, "1.2": LocalError, "1.3": Answered}
	if got := s.kinds(); !maps.Equal(got, want) || a.aborted {
		t.Errorf("outcomes %v, aborted %v; want %v", got, a.aborted, want)
	}
}

func TestPumpAbortsOverAPayloadThatFailsInTheMiddle(t *testing.T) {
	gone := errors.New("gone")
	for _, window := range windows {
		for name, bad := range map[string]*Item{
			"read error": broken("1.2", 5, 10, gone),
			"too short":  broken("1.2", 5, 10, io.EOF),
		} {
			synctest.Test(t, func(t *testing.T) {
				a := newFake(window)
				a.hold = make(chan struct{})
				s := newSource(t, item("1.1", 10), bad, item("1.3", 10))
				result := make(chan error)
				go func() {
					result <- (&Pump{Association: a, Source: s, ReadAhead: -1}).Run(t.Context())
				}()
				synctest.Wait()
				close(a.hold)
				var local *LocalAbortError
				if err := <-result; !errors.As(err, &local) || !a.aborted {
					t.Fatalf("window %d, %s: %v, aborted %v", window, name, err, a.aborted)
				}
				if o := s.outcomes["1.2"]; o.Kind != LocalError {
					t.Errorf("window %d, %s: outcome %v", window, name, o)
				}
				first := s.outcomes["1.1"]
				if window == 1 && first.Kind != Answered || window > 1 && first.Kind != Interrupted {
					t.Errorf("window %d, %s: the one before has outcome %+v", window, name, first)
				}
				if _, sent := a.data["1.3"]; sent {
					t.Errorf("window %d, %s: went on over an aborted association", window, name)
				}
			})
		}
	}
}

func TestPumpTellsHowManyWereUnanswered(t *testing.T) {
	for _, test := range []struct {
		window, answered, unanswered int
	}{{1, 2, 1}, {4, 0, 4}, {8, 0, 6}} {
		synctest.Test(t, func(t *testing.T) {
			lost := errors.New("connection lost")
			a := newFake(test.window)
			a.hold = make(chan struct{})
			s := newSource(t)
			for i := range 6 {
				s.items = append(s.items, item(uidOf(i), 10))
			}
			result := make(chan error)
			go func() { result <- (&Pump{Association: a, Source: s}).Run(t.Context()) }()
			for range test.answered {
				a.hold <- struct{}{}
			}
			synctest.Wait()
			a.end(lost)
			if err := <-result; !errors.Is(err, lost) {
				t.Fatalf("window %d: %v", test.window, err)
			}
			count := map[Kind]int{}
			for uid, o := range s.outcomes {
				count[o.Kind]++
				if o.Kind == Interrupted && (o.Unanswered != test.unanswered || !errors.Is(o.Err, lost)) {
					t.Errorf("window %d: %s is one of %d unanswered, want %d: %v", test.window, uid, o.Unanswered, test.unanswered, o.Err)
				}
			}
			if count[Answered] != test.answered || count[Interrupted] != test.unanswered || count[NotSent] > 1 {
				t.Errorf("window %d: outcomes %v", test.window, count)
			}
		})
	}
}

func TestPumpSendsALoneItemAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake(8)
		a.hold = make(chan struct{})
		alone := item("1.3", 10)
		alone.Alone = true
		s := newSource(t, item("1.1", 10), item("1.2", 10), alone, item("1.4", 10), item("1.5", 10))
		result := make(chan error)
		go func() { result <- (&Pump{Association: a, Source: s}).Run(t.Context()) }()
		for _, want := range []struct{ answers, unanswered, sent int }{{0, 2, 2}, {1, 1, 2}, {1, 1, 3}, {1, 2, 5}} {
			for range want.answers {
				a.hold <- struct{}{}
			}
			synctest.Wait()
			if a.unanswered != want.unanswered || len(a.received) != want.sent {
				t.Errorf("%d unanswered of %d sent, want %d of %d", a.unanswered, len(a.received), want.unanswered, want.sent)
			}
		}
		close(a.hold)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

func TestPumpStops(t *testing.T) {
	for name, test := range map[string]struct {
		window  int
		answers bool // within the grace time
		took    time.Duration
		want    Kind
	}{
		"after what is under way, window 1": {1, true, 3 * time.Second, Answered},
		"after what is under way, window 8": {8, true, 3 * time.Second, Answered},
		"when grace is over, window 1":      {1, false, 5 * time.Second, Interrupted},
		"when grace is over, window 8":      {8, false, 5 * time.Second, Interrupted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newFake(test.window)
				a.hold = make(chan struct{})
				s := newSource(t, item("1.1", 10))
				s.open = true
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, func() {
					cancel()
					s.add(item("1.2", 10))
				})
				if test.answers {
					time.AfterFunc(3*time.Second, func() { close(a.hold) })
				}
				begun := time.Now()
				err := (&Pump{Association: a, Source: s, Linger: time.Hour, Grace: 4 * time.Second}).Run(ctx)
				if (err == nil) != test.answers || a.aborted == test.answers {
					t.Errorf("ended with %v, aborted %v", err, a.aborted)
				}
				if s.kinds()["1.1"] != test.want || time.Since(begun) != test.took {
					t.Errorf("after %v the outcome is %v", time.Since(begun), s.kinds())
				}
				if len(a.received) != 1 {
					t.Error("took another item after it was told to stop")
				}
			})
		})
	}
}

func TestPumpNoticesThatAnIdleAssociationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFake(1)
		s := newSource(t)
		s.open = true
		time.AfterFunc(time.Second, func() { a.end(io.EOF) })
		if err := (&Pump{Association: a, Source: s, Linger: time.Hour}).Run(t.Context()); err != io.EOF {
			t.Errorf("ended with %v", err)
		}
	})
}
