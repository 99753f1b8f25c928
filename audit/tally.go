package audit

import (
	"sync"
	"time"

	"dcmgate/dicom"
)

// How long instances are added up before they are told of.
const (
	idleAfter  = 15 * time.Second // without another instance
	tellAfter  = 10 * time.Minute // at the latest
	maxCounts  = 4096             // transfers added up at a time; beyond, those that have waited longest are told of
	maxClasses = 32               // SOP classes told apart in one
)

// tally adds instances up by transfer.
type tally struct {
	record func(*Message)
	now    func() time.Time

	mu       sync.Mutex
	counts   map[Transfer]*count
	sessions map[string]map[Transfer]*count // the same by session
}

type count struct {
	begun, last time.Time
	classes     map[dicom.UID]int
}

func newTally(record func(*Message), now func() time.Time) *tally {
	return &tally{record: record, now: now, counts: make(map[Transfer]*count), sessions: make(map[string]map[Transfer]*count)}
}

// add counts n instances of a SOP class. The first successful one of what goes over the network is told of at once, so
// that there is a trace of it whatever happens.
func (t *tally) add(tr Transfer, class dicom.UID, n int) {
	t.mu.Lock()
	c, ok := t.counts[tr]
	var told *Message
	if !ok {
		if len(t.counts) >= maxCounts {
			told = t.tellOldest()
		}
		c = &count{begun: t.now(), classes: make(map[dicom.UID]int, 1)}
		t.counts[tr] = c
		if t.sessions[tr.Session] == nil {
			t.sessions[tr.Session] = make(map[Transfer]*count, 1)
		}
		t.sessions[tr.Session][tr] = c
	}
	c.last = t.now()
	if _, known := c.classes[class]; !known && len(c.classes) >= maxClasses-1 {
		class = ""
	}
	c.classes[class] += n
	t.mu.Unlock()
	if told != nil {
		t.record(told)
	}
	if !ok && tr.Kind == Transferred && tr.Outcome == Success {
		t.record(tr.begun())
	}
}

// forget takes a transfer out and returns what there is to tell. t.mu is held.
func (t *tally) forget(tr Transfer, c *count) *Message {
	delete(t.counts, tr)
	delete(t.sessions[tr.Session], tr)
	if len(t.sessions[tr.Session]) == 0 {
		delete(t.sessions, tr.Session)
	}
	return tr.finished(c.classes)
}

func (t *tally) tellOldest() *Message {
	var oldest *Transfer
	var least time.Time
	for tr, c := range t.counts {
		if oldest == nil || c.last.Before(least) {
			oldest, least = &tr, c.last
		}
	}
	return t.forget(*oldest, t.counts[*oldest])
}

// end tells of all transfers of a session.
func (t *tally) end(session string) {
	t.mu.Lock()
	var told []*Message
	for tr, c := range t.sessions[session] {
		told = append(told, t.forget(tr, c))
	}
	t.mu.Unlock()
	t.tell(told)
}

// due tells of what has waited long enough; of all if all is true.
func (t *tally) due(all bool) {
	now := t.now()
	t.mu.Lock()
	var told []*Message
	for tr, c := range t.counts {
		if all || now.Sub(c.last) >= idleAfter || now.Sub(c.begun) >= tellAfter {
			told = append(told, t.forget(tr, c))
		}
	}
	t.mu.Unlock()
	t.tell(told)
}

func (t *tally) tell(list []*Message) {
	for _, m := range list {
		t.record(m)
	}
}
