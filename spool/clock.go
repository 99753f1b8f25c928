package spool

import "time"

// lookAtClock notes whether the clock was set, for the goroutine that evicts by age, and tells of it once.
func (s *Spool) lookAtClock() {
	before := s.clock.Believed()
	by := s.clock.Look()
	switch {
	case by > 0:
		s.log.Warn("the clock jumped ahead; nothing is evicted by age for a day", "by", by.Round(time.Second))
	case by < 0:
		s.log.Warn("the clock was set back", "by", (-by).Round(time.Second))
	}
	if !before && s.clock.Believed() {
		s.log.Info("the clock is believed again; instances are evicted by age")
	}
}

// ClockAhead is by how much the machine's clock jumped ahead, as long as nothing is evicted by age for that; else 0.
func (s *Spool) ClockAhead() time.Duration { return s.clock.Ahead() }
