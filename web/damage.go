package web

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"dcmgate/spool"
)

// When the bytes of an instance are looked at. A disk may have changed them since they were received, and nobody may take
// that for what was received:
//
//   - A whole file is compared with its checksum while it is sent. If it is wrong, its end is held back and the connection
//     closed, so that the client sees that something is missing.
//   - A range cannot be judged by itself, so the whole instance is read and compared before its first range is sent, once for
//     all clients that want some of it at that time.
//   - What was found right is sent without being looked at again for a while, by sendfile.

const (
	// verifiedFor is how long an instance counts as right; up to twice as long if nothing else is asked for.
	verifiedFor = 5 * time.Minute
	// verifiedMost bounds the instances that are remembered, in each of two halves.
	verifiedMost = 8192
)

// verified remembers the instances that were found right lately, and those that are being looked at.
type verified struct {
	mu          sync.Mutex
	turned      time.Time
	young, aged map[spool.InstanceID]bool
	looking     map[spool.InstanceID]chan struct{} // closed when it is over
}

func newVerified() *verified {
	return &verified{turned: time.Now(), young: map[spool.InstanceID]bool{}, looking: map[spool.InstanceID]chan struct{}{}}
}

func (v *verified) add(id spool.InstanceID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.turn()
	v.young[id] = true
}

func (v *verified) has(id spool.InstanceID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.turn()
	return v.young[id] || v.aged[id]
}

// turn forgets the older half. v.mu is held.
func (v *verified) turn() {
	if now := time.Now(); now.Sub(v.turned) > verifiedFor || len(v.young) >= verifiedMost {
		v.turned, v.aged, v.young = now, v.young, map[spool.InstanceID]bool{}
	}
}

// lead makes the caller the one who looks at an instance, or tells whom to wait for.
func (v *verified) lead(id spool.InstanceID) (others chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if others := v.looking[id]; others != nil {
		return others
	}
	v.looking[id] = make(chan struct{})
	return nil
}

func (v *verified) done(id spool.InstanceID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.looking[id])
	delete(v.looking, id)
}

// verify makes sure that an instance is right, which takes reading all of it unless that was done lately.
func (s *Server) verify(ctx context.Context, r *spool.Reader) error {
	id := r.Instance().ID
	for !s.verified.has(id) {
		if others := s.verified.lead(id); others != nil {
			select {
			case <-others: // look again: its client may have gone in the midst
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return s.look(ctx, r)
	}
	return nil
}

// look reads an instance. The caller leads.
func (s *Server) look(ctx context.Context, r *spool.Reader) error {
	id := r.Instance().ID
	defer s.verified.done(id)
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{bounded{ctx, r.Checked()}}, make([]byte, 128<<10)); err != nil {
		return err
	}
	s.verified.add(id)
	return nil
}

// bounded ends reading with a context.
type bounded struct {
	ctx context.Context
	io.Reader
}

func (b bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

// content is an instance's Part 10 file as http.ServeContent wants it. For one goroutine at a time.
type content struct {
	s   *Server
	ctx context.Context // of the request
	r   *spool.Reader
	at  int64
}

// Seek implements io.Seeker.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.r.Size()
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	c.at = offset
	return offset, nil
}

// Read implements io.Reader for parts of a multipart answer.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.r.ReadAt(p, c.at)
	c.at += int64(n)
	return n, err
}

// sendTo sends the next n bytes.
func (c *content) sendTo(w *writer, n int64) (int64, error) {
	if c.s.verified.has(c.r.Instance().ID) {
		return c.sendRight(w, n)
	}
	if c.at != 0 || n != c.r.Size() { // whoever serves a range has verified before; its memory may have turned since
		if w.err = c.s.verify(c.ctx, c.r); w.err != nil {
			return 0, w.err
		}
		return c.sendRight(w, n)
	}
	sent, err := sendChecked(w, c.r)
	if err == nil {
		c.s.verified.add(c.r.Instance().ID)
	}
	return sent, err
}

// sendRight sends what was found right.
func (c *content) sendRight(w *writer, n int64) (int64, error) {
	f, err := c.r.File()
	if err != nil {
		w.err = err
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(c.at, io.SeekCurrent); err != nil {
		w.err = err
		return 0, err
	}
	sent, err := w.sendFile(f, n)
	c.at += sent
	return sent, err
}

// sendChecked sends a whole file and compares its data set on the way. The last bytes go only if it is right.
func sendChecked(w *writer, r *spool.Reader) (int64, error) {
	buf := make([]byte, 128<<10)
	header := io.NewSectionReader(r, 0, r.HeaderLength())
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.MultiReader(header, r.Checked())}, buf)
	if err == nil && n < r.Size() {
		err = io.ErrUnexpectedEOF
	}
	w.err = err
	return n, err
}
