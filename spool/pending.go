package spool

import (
	"slices"
	"sync"
)

// arrival is an instance between the decision to store it and its place in the index.
type arrival struct {
	in   *Instance
	kind ChangeKind
	done chan struct{} // closed when the record is durable or has failed
	err  error         // set before done is closed
}

// pending holds what the index does not know yet. Deduplication, queries and claims look here first and at the index
// then: an arrival leaves only after its transaction is durable, so that nothing is ever in neither.
type pending struct {
	mu         sync.RWMutex
	byID       map[InstanceID]*Instance
	byIdentity map[identity][]*arrival
}

func newPending() *pending {
	return &pending{byID: map[InstanceID]*Instance{}, byIdentity: map[identity][]*arrival{}}
}

// arriving registers an arrival whose record is about to be written.
func (p *pending) arriving(k identity, a *arrival) {
	p.mu.Lock()
	p.byIdentity[k] = append(p.byIdentity[k], a)
	p.mu.Unlock()
}

// failed takes an arrival back whose record could not be written.
func (p *pending) failed(k identity, a *arrival, err error) {
	p.mu.Lock()
	p.drop(k, a.in.ID)
	p.mu.Unlock()
	a.err = err
	close(a.done)
}

// committed notes that the record of in is durable.
func (p *pending) committed(in *Instance) {
	p.mu.Lock()
	p.byID[in.ID] = in
	p.mu.Unlock()
}

// indexed removes what the index knows now.
func (p *pending) indexed(k identity, id InstanceID) {
	p.mu.Lock()
	delete(p.byID, id)
	p.drop(k, id)
	p.mu.Unlock()
}

func (p *pending) drop(k identity, id InstanceID) {
	left := slices.DeleteFunc(p.byIdentity[k], func(a *arrival) bool { return a.in.ID == id })
	if len(left) == 0 {
		delete(p.byIdentity, k)
	} else {
		p.byIdentity[k] = left
	}
}

// same finds an arrival with the same content.
func (p *pending) same(k identity, digest [32]byte, syntax string) *arrival {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, a := range p.byIdentity[k] {
		if a.in.Digest == digest && string(a.in.TransferSyntaxUID) == syntax {
			return a
		}
	}
	return nil
}

// any tells whether anything arrives under the UIDs.
func (p *pending) any(k identity) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.byIdentity[k]) > 0
}

func (p *pending) get(id InstanceID) (*Instance, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	in, ok := p.byID[id]
	return in, ok
}

// find lists the durable instances that a test accepts, in order of arrival.
func (p *pending) find(accept func(*Instance) bool) []*Instance {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var found []*Instance
	for _, in := range p.byID {
		if accept(in) {
			found = append(found, in)
		}
	}
	slices.SortFunc(found, func(a, b *Instance) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return found
}

func (p *pending) len() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.byID)
}
