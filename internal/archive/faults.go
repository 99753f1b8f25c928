package archive

import (
	"math/rand/v2"
	"net"
	"time"
)

// Faults are the ways in which an archive fails; rates are fractions of all operations (or associations).
type Faults struct {
	Seed uint64 // repeats the same dice; 0 is a seed like any other

	RejectRate     float64 // associations rejected as congested (transient, PS3.8 9.3.4)
	AbortRate      float64 // associations aborted in the middle of a data set
	LoseAnswerRate float64 // data sets received whole, then the association aborted instead of the answer
	StallRate      float64 // operations never answered: the sender has to time out
	WarningRate    float64 // answered with B000 instead of 0000
	StatusRate     float64 // answered with Status
	Status         uint16  // such as A700

	Delay          time.Duration // of every answer
	UpFor, DownFor time.Duration // reachable, then unreachable, and again
}

type fault int

const (
	faultNone fault = iota
	faultAbortEarly
	faultLoseAnswer
	faultStall
	faultStatus
	faultWarning
)

// nextFault throws the dice for one operation.
func (a *Archive) nextFault() fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.o.Faults
	for _, candidate := range []struct {
		rate  float64
		fault fault
	}{
		{f.AbortRate, faultAbortEarly}, {f.LoseAnswerRate, faultLoseAnswer}, {f.StallRate, faultStall},
		{f.StatusRate, faultStatus}, {f.WarningRate, faultWarning},
	} {
		if a.dice.hits(candidate.rate) {
			return candidate.fault
		}
	}
	return faultNone
}

// flap makes the archive unreachable and reachable again until it is closed.
func (a *Archive) flap(address string) {
	for {
		if a.pause(a.o.Faults.UpFor) {
			return
		}
		a.mu.Lock()
		server := a.server
		a.mu.Unlock()
		server.Close()
		if a.pause(a.o.Faults.DownFor) {
			return
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return // somebody took the port; the archive stays away
		}
		a.mu.Lock()
		closed := a.closed
		a.mu.Unlock()
		if closed || a.serve(l) != nil {
			l.Close()
			return
		}
	}
}

// pause waits and tells whether the archive was closed meanwhile.
func (a *Archive) pause(d time.Duration) bool {
	const step = 10 * time.Millisecond
	for ; d > 0; d -= step {
		time.Sleep(min(d, step))
		a.mu.Lock()
		closed := a.closed
		a.mu.Unlock()
		if closed {
			return true
		}
	}
	return false
}

// dice are repeatable; the holder locks.
type dice struct{ *rand.Rand }

func newDice(seed uint64) *dice { return &dice{rand.New(rand.NewPCG(seed, 0x64636d67617465))} }

func (d *dice) hits(rate float64) bool { return rate > 0 && d.Float64() < rate }
