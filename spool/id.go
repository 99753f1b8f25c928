package spool

import (
	"sync"
	"time"
)

const idSequenceBits = 20

// time is when the ID was given, as long as the clock did not step back before.
func (id InstanceID) time() time.Time { return time.UnixMilli(int64(id >> idSequenceBits)) }

// idSource gives InstanceIDs.
type idSource struct {
	mu   sync.Mutex
	last InstanceID
}

// next gives an ID above every one before, near now. A clock that steps back only makes the sequence count on.
func (s *idSource) next(now time.Time) InstanceID {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last+1, InstanceID(max(now.UnixMilli(), 0))<<idSequenceBits)
	return s.last
}

// raise makes sure that no ID up to id is given.
func (s *idSource) raise(id InstanceID) {
	s.mu.Lock()
	s.last = max(s.last, id)
	s.mu.Unlock()
}
