package qr

import (
	"context"
	"errors"
	"strings"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// maxLost bounds the instances that Collected names.
const maxLost = 20

// Collected says what became of a study that upstreams were asked for.
type Collected struct {
	Listed  int   // instances that upstreams have
	Present int   // of these, that were stored already
	Arrived int   // that have come
	Missing int   // that have not
	Bytes   int64 // of the data sets that have come; 0 while it goes on
	// Lost are the first of those that have not come.
	Lost []dicom.UID
	// Reason says in few words why instances have not come; "" if all have.
	Reason string
	// Shortfall names the upstreams that could not be asked, or not to the end; "" if all could.
	Shortfall string
}

// Collect brings to the spool what upstreams have of a study and the spool lacks, as a retrieval of the study does, for
// somebody who has not asked over an association. It shares moves with retrievals, and their bounds. progress, which may be
// nil, is called after arrivals. The error is that of ctx, or that too much is under way.
func (s *SCP) Collect(ctx context.Context, study dicom.UID, progress func(Collected)) (Collected, error) {
	end, ok := s.retrievals.take("")
	if !ok {
		return Collected{}, errors.New("too many retrievals at once; try again")
	}
	defer end()
	begun := time.Now()
	q, level, err := studyRetrieval(study)
	if err != nil {
		return Collected{}, err
	}
	r := &retrieval{scp: s, index: s.o.Index, query: q, level: level, through: s.terms.Load().upstreams, tally: newTally(s.metrics.suboperations[dimse.CMoveRQ])}
	g := r.gather(ctx)
	if g == nil {
		return Collected{}, nil
	}
	defer g.stop()
	for {
		select {
		case <-g.arrival:
			if progress != nil {
				progress(g.collected())
			}
			continue
		case <-g.over:
		case <-ctx.Done():
			return g.collected(), ctx.Err()
		}
		break
	}
	if err := ctx.Err(); err != nil {
		return g.collected(), err
	}
	c, err := g.conclusion(ctx, study)
	args := []any{"listed", c.Listed, "present", c.Present, "arrived", c.Arrived, "missing", c.Missing, "bytes", c.Bytes, "seconds", time.Since(begun).Seconds()}
	if c.Missing > 0 || c.Shortfall != "" {
		s.o.Logger.Warn("study not wholly collected", append(args, "reason", strings.Trim(c.Reason+"; "+c.Shortfall, "; "))...)
	} else {
		s.o.Logger.Info("study collected", args...)
	}
	return c, err
}

// collected counts what has come so far.
func (g *gathering) collected() (c Collected) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.Present, c.Listed = len(g.present.seen), len(g.present.seen)+len(g.missing)
	for uid, e := range g.missing {
		switch {
		case e.arrived:
			c.Arrived++
		default:
			c.Missing++
			if len(c.Lost) < maxLost {
				c.Lost = append(c.Lost, uid)
			}
		}
	}
	return c
}

// conclusion says how it has ended.
func (g *gathering) conclusion(ctx context.Context, study dicom.UID) (Collected, error) {
	c := g.collected()
	c.Shortfall = strings.TrimPrefix(g.shortfall(), incomplete)
	if c.Missing > 0 {
		c.Reason = g.reason()
	}
	if c.Arrived == 0 {
		return c, nil
	}
	for in, err := range g.scp.o.Index.Latest(ctx, study, "") {
		if err != nil {
			return c, err
		}
		g.mu.Lock()
		if e := g.missing[in.SOPInstanceUID]; e != nil && e.arrived {
			c.Bytes += in.Size
		}
		g.mu.Unlock()
	}
	return c, nil
}
