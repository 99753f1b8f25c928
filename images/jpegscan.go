package images

import "math/bits"

// scan is the header of a scan (T.81 B.2.3).
type scan struct {
	components []*component
	dc, ac     []*huffman
	ss, se     int // first and last coefficient
	ah, al     int // bits of the coefficients that came before, and that come later
}

// scan reads a scan header and the scan.
func (j *jpegReader) scan(b []byte) error {
	if j.scans++; j.scans > maxScans {
		return j.bad("more than %d scans", maxScans)
	}
	s, err := j.scanHeader(b)
	if err != nil {
		return err
	}
	width, height := j.mcusX, j.mcusY
	if len(s.components) == 1 {
		width, height = s.components[0].width, s.components[0].height
	}
	j.begin()
	for n := range width * height {
		if n > 0 && j.restart > 0 && n%j.restart == 0 {
			m, err := j.marker(maxSlack)
			if err != nil {
				return err
			}
			if m != markerRST0+byte((n/j.restart-1)&7) {
				return j.bad("marker FF%02X in a scan", m)
			}
			j.begin()
		}
		if err := j.unit(s, n%width, n/width); err != nil {
			return err
		}
	}
	if j.eob > 0 {
		return j.bad("a run leaves the image")
	}
	return nil
}

// begin begins a scan, or a part of one behind a restart marker.
func (j *jpegReader) begin() { j.bits, j.nbits, j.eob = 0, 0, 0 }

func (j *jpegReader) scanHeader(b []byte) (*scan, error) {
	bad := j.bad("scan header")
	if len(j.components) == 0 || len(b) < 1 || b[0] < 1 || b[0] > 4 || len(b) != 4+2*int(b[0]) {
		return nil, bad
	}
	s := &scan{}
	blocks := 0
	for b := b[1 : len(b)-3]; len(b) > 0; b = b[2:] {
		var c *component
		for i := range j.components {
			if j.components[i].id == b[0] {
				c = &j.components[i]
			}
		}
		if c == nil || b[1]>>4 > 3 || b[1]&15 > 3 || !j.quantizers[c.quantization] {
			return nil, bad
		}
		for _, other := range s.components {
			if other == c {
				return nil, bad
			}
		}
		s.components = append(s.components, c)
		s.dc, s.ac = append(s.dc, j.tables[0][b[1]>>4]), append(s.ac, j.tables[1][b[1]&15])
		blocks += c.h * c.v
	}
	end := b[len(b)-3:]
	s.ss, s.se, s.ah, s.al = int(end[0]), int(end[1]), int(end[2]>>4), int(end[2]&15)
	if len(s.components) > 1 && blocks > 10 {
		return nil, bad
	}
	return s, j.accept(s)
}

// accept tells whether a scan may come at this place and has its tables.
func (j *jpegReader) accept(s *scan) error {
	if j.progressive {
		if s.ss > s.se || s.se > 63 || s.ss == 0 && s.se > 0 || s.ss > 0 && len(s.components) > 1 || s.al > 13 || s.ah != 0 && s.ah != s.al+1 {
			return j.bad("scan header")
		}
	} else if s.ss != 0 || s.se != 63 || s.ah != 0 || s.al != 0 {
		return j.bad("scan header")
	}
	for i, c := range s.components {
		if s.ss == 0 && s.ah == 0 && s.dc[i] == nil || s.se > 0 && s.ac[i] == nil {
			return j.bad("a scan without its Huffman table")
		}
		if s.ss > 0 && c.left[0] == 0 {
			return j.bad("a scan of details before their component")
		}
		for k := s.ss; k <= s.se; k++ {
			if s.ah == 0 && c.left[k] != 0 || s.ah > 0 && c.left[k] != s.ah+1 {
				return j.bad("a scan out of order")
			}
			c.left[k] = s.al + 1
		}
	}
	return nil
}

// unit reads the blocks of a minimum coded unit (A.2).
func (j *jpegReader) unit(s *scan, x, y int) error {
	if len(s.components) == 1 {
		return j.block(s, 0, x, y)
	}
	for i, c := range s.components {
		for n := range c.h * c.v {
			if err := j.block(s, i, x*c.h+n%c.h, y*c.v+n/c.h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *jpegReader) block(s *scan, i, x, y int) error {
	c := s.components[i]
	switch {
	case !j.progressive:
		return j.sequential(s, i)
	case s.ss == 0 && s.ah == 0:
		return j.dc(s.dc[i])
	case s.ss == 0:
		_, err := j.take(1)
		return err
	case s.ah == 0:
		return j.details(s, &c.seen[y*c.stride+x])
	}
	return j.refine(s, &c.seen[y*c.stride+x])
}

// dc reads the difference of a DC coefficient (F.2.2.1).
func (j *jpegReader) dc(h *huffman) error {
	n, err := j.symbol(h)
	if err == nil {
		_, err = j.take(uint(n))
	}
	return err
}

// sequential reads a block of a sequential image (F.2.2.2).
func (j *jpegReader) sequential(s *scan, i int) error {
	if err := j.dc(s.dc[i]); err != nil {
		return err
	}
	for k := 1; k < 64; k++ {
		rs, err := j.symbol(s.ac[i])
		if err != nil {
			return err
		}
		run, size := int(rs>>4), uint(rs&15)
		if size == 0 {
			if run != 15 {
				return nil
			}
			k += 15
			continue
		}
		if k += run; k > 63 {
			return j.bad("a run leaves its block")
		}
		if _, err := j.take(size); err != nil {
			return err
		}
	}
	return nil
}

// details reads a block of a first scan of AC coefficients (G.1.2.2).
func (j *jpegReader) details(s *scan, seen *uint64) error {
	if j.eob > 0 {
		j.eob--
		return nil
	}
	for k := s.ss; k <= s.se; k++ {
		rs, err := j.symbol(s.ac[0])
		if err != nil {
			return err
		}
		run, size := int(rs>>4), uint(rs&15)
		if size == 0 {
			if run != 15 {
				return j.endOfBand(run)
			}
			k += 15
			continue
		}
		if k += run; k > s.se {
			return j.bad("a run leaves its block")
		}
		if _, err := j.take(size); err != nil {
			return err
		}
		*seen |= 1 << k
	}
	return nil
}

// endOfBand begins a run of blocks, this one included, that have nothing more.
func (j *jpegReader) endOfBand(size int) error {
	more, err := j.take(uint(size))
	j.eob = 1<<size + int(more) - 1
	return err
}

// refine reads a block of a later scan of AC coefficients (G.1.2.3): a bit for each that is not zero, and new ones.
func (j *jpegReader) refine(s *scan, seen *uint64) error {
	k := s.ss
	for j.eob == 0 && k <= s.se {
		rs, err := j.symbol(s.ac[0])
		if err != nil {
			return err
		}
		run, size := int(rs>>4), rs&15
		if size > 1 {
			return j.bad("size of a coefficient that is refined")
		}
		if size == 0 && run != 15 {
			if err := j.endOfBand(run); err != nil {
				return err
			}
			j.eob++ // it is taken back below
			break
		}
		if size == 1 {
			if _, err := j.take(1); err != nil {
				return err
			}
		}
		for ; k <= s.se; k++ {
			if *seen>>k&1 == 1 {
				if _, err := j.take(1); err != nil {
					return err
				}
			} else if run--; run < 0 {
				break
			}
		}
		if size == 1 {
			if k > s.se {
				return j.bad("a run leaves its block")
			}
			*seen |= 1 << k
		}
		k++
	}
	if j.eob == 0 {
		return nil
	}
	j.eob--
	// k is 64 at most, and a shift by 64 leaves nothing.
	left := bits.OnesCount64(*seen >> k & (1<<(s.se-min(k, s.se+1)+1) - 1))
	for range left {
		if _, err := j.take(1); err != nil {
			return err
		}
	}
	return nil
}
