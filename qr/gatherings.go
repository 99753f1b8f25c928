package qr

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
)

// gatherings are those under way, by the studies that they wait for.
type gatherings struct {
	mu    sync.Mutex
	many  atomic.Int32 // watched studies, so that who stores pays nothing while there are none
	study map[dicom.UID][]*gathering
}

func (s *gatherings) watch(g *gathering, study dicom.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.study[study], g) {
		return
	}
	if s.study == nil {
		s.study = map[dicom.UID][]*gathering{}
	}
	s.study[study] = append(s.study[study], g)
	g.watched = append(g.watched, study)
	s.many.Add(1)
}

func (s *gatherings) unwatch(g *gathering) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, study := range g.watched {
		left := slices.DeleteFunc(slices.Clone(s.study[study]), func(o *gathering) bool { return o == g })
		if s.study[study] = left; len(left) == 0 {
			delete(s.study, study)
		}
		s.many.Add(-1)
	}
	g.watched = nil
}

func (s *gatherings) of(study dicom.UID) []*gathering {
	if s.many.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.study[study])
}

// Arrived tells retrievals and upstreams that an instance is stored, from wherever it came. It is called for each instance
// that is received, and costs nothing while nobody waits.
func (s *SCP) Arrived(study, series, sop dicom.UID) {
	for _, u := range s.terms.Load().heard {
		u.Arrived(study, series)
	}
	for _, g := range s.gatherings.of(study) {
		g.arrived(sop)
	}
}

func (g *gathering) arrived(sop dicom.UID) {
	g.mu.Lock()
	if e := g.missing[sop]; e != nil {
		e.arrived = true
		g.last = time.Now()
	}
	g.mu.Unlock()
	select {
	case g.arrival <- struct{}{}:
	default:
	}
}

// Expects tells whether a retrieval waits for an instance.
func (s *SCP) Expects(sop dicom.UID) bool {
	if s.gatherings.many.Load() == 0 {
		return false
	}
	s.gatherings.mu.Lock()
	var all []*gathering
	for _, of := range s.gatherings.study {
		all = append(all, of...)
	}
	s.gatherings.mu.Unlock()
	return slices.ContainsFunc(all, func(g *gathering) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.missing[sop] != nil
	})
}
