package spool

import (
	"fmt"
	"time"
)

// slots bounds the instances that are durable but not indexed. It is what makes receivers wait for the index.
type slots chan struct{}

// healthInterval is how often who waits for the index looks whether waiting still makes sense.
const healthInterval = 100 * time.Millisecond

// acquire takes a slot. It gives up when the index cannot be written: the wait could last for ever.
func (c slots) acquire(s *Spool) error {
	select {
	case c <- struct{}{}:
		return nil
	default:
	}
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		select {
		case c <- struct{}{}:
			return nil
		case <-s.closing:
			return ErrClosed
		case <-tick.C:
			if err := s.health.indexErr(); err != nil {
				return fmt.Errorf("%w: %w", ErrUnhealthy, err)
			}
		}
	}
}

func (c slots) release() { <-c }
