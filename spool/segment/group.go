package segment

import "sync"

// group commits small records together: while one sync is under way, those that become ready wait, and the next sync
// serves them all. The first of them leads: it writes everybody's record into its own lane, and the lanes of the others
// go back as they were. A writer that is alone waits for nobody.
//
// A sync that covers sixteen records of 20 KB costs little more than one that covers one, and sixteen syncs at once of
// sixteen files get in each other's way; from about a hundred kilobytes on it is the other way round, so those records
// go each its own way.
type group struct {
	mu    sync.Mutex
	busy  bool // somebody leads
	queue []*commit
}

// small reports whether the whole record is in memory, so that it may be written to any lane.
func (c *commit) small() bool {
	tail := int64(len(c.meta) + trailerSize)
	return c.w.written == 0 && aligned(int64(len(c.w.buf))+tail) <= bufferSize
}

// commit commits c, with others or not.
func (g *group) commit(c *commit) {
	if !g.join(c) && !<-c.w.mem.turn {
		return
	}
	batch := g.batch(c)
	writeGroup(c.w.lane, batch)
	for _, f := range batch[1:] {
		f.w.mem.turn <- false
	}
	g.pass()
}

// join makes c the leader, or puts it into the queue.
func (g *group) join(c *commit) (leads bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.busy {
		g.busy = true
		return true
	}
	g.queue = append(g.queue, c)
	return false
}

// batch takes from the queue what the leader's lane has room for without reserving more.
func (g *group) batch(leader *commit) []*commit {
	g.mu.Lock()
	defer g.mu.Unlock()
	batch := []*commit{leader}
	room := leader.w.lane.reserved - leader.w.lane.offset - leader.length()
	n := 0
	for _, c := range g.queue {
		if room -= c.length(); room < 0 {
			break
		}
		batch = append(batch, c)
		n++
	}
	g.queue = append(g.queue[:0], g.queue[n:]...)
	return batch
}

// pass makes the first of the queue the next leader.
func (g *group) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 {
		g.busy = false
		return
	}
	next := g.queue[0]
	g.queue = append(g.queue[:0], g.queue[1:]...)
	next.w.mem.turn <- true
}

// length is the length of the record.
func (c *commit) length() int64 { return recordLength(c.w.size, len(c.meta)) }

// writeGroup writes the records one behind the other into l, syncs once, and finishes them. If any of it fails none of
// them is committed.
func writeGroup(l *lane, batch []*commit) {
	s := batch[0].w.store
	err := func() error {
		at := l.offset
		for _, c := range batch {
			b := c.bytes(l, at)
			if _, err := l.f.WriteAt(b, at); err != nil {
				return failed("write", l.seg.id, err)
			}
			at += int64(len(b))
		}
		return l.datasync()
	}()
	if err != nil {
		batch[0].w.broken = true // its lane is l
	}
	for _, c := range batch {
		if c.err = err; err == nil {
			s.finish(l, c)
		} else {
			c.location = Location{}
		}
	}
}

// bytes completes the record, which will be at offset in the segment of l, and returns all of it.
func (c *commit) bytes(l *lane, offset int64) []byte {
	w := c.w
	h, crc := c.headerIn(l.seg.identity, offset-l.offset, w.buf)
	w.buf = append(w.buf, c.meta...)
	w.buf = h.appendTrailer(w.buf, c.digest, crc)
	w.pad()
	c.location = h.location(offset)
	return w.buf
}
