package jpeg

// sample is what the planes of a frame are made of: 8 bits, or 12 in 16.
type sample interface{ uint8 | uint16 }

// dct holds the decoded components of a frame, each in a plane of whole MCUs.
type dct[T sample] struct {
	planes [maxComponents]plane[T]
	lines  [maxComponents][]T // for output: a row of each component at full width
	sums   []int32            // for output: a row of two rows' weighted sums
}

type plane[T sample] struct {
	samples []T
	stride  int // samples of a row
}

// begin takes memory for the planes: the frame rounded up to MCUs.
func (t *dct[T]) begin(f *frame) {
	across, down := f.mcus()
	for i, c := range f.components {
		p := &t.planes[i]
		p.stride = 8 * c.h * across
		p.samples = resize(p.samples, p.stride*8*c.v*down)
	}
}

// mcus returns the number of MCUs of a scan of all components (A.2.3).
func (f *frame) mcus() (across, down int) {
	return ceilDiv(f.columns, 8*f.hMax), ceilDiv(f.rows, 8*f.vMax)
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// blocks decodes the blocks of one component of a scan.
type blocks[T sample] struct {
	plane        *plane[T]
	h, v         int // blocks of an MCU
	dc, ac       *huffmanTable
	quantization *[64]int32
	predictor    int32
}

// decodeDCT decodes a scan of a baseline or extended sequential frame (F.2.1). In these each block comes at once, so that it
// can be transformed at once.
func decodeDCT[T sample](d *Decoder, t *dct[T], s scan, r *bitReader) error {
	// The decoder of the Independent JPEG Group takes other parameters of spectral selection for a mistake of the
	// encoder, since they cannot mean anything here; so do we.
	if s.ah != 0 || s.al != 0 {
		return d.fail(r.pos, "successive approximation in a sequential frame")
	}
	across, down := d.frame.mcus()
	parts := make([]blocks[T], 0, maxComponents)
	for _, sc := range s.components {
		c := &d.frame.components[sc.index]
		b := blocks[T]{plane: &t.planes[sc.index], h: c.h, v: c.v}
		if len(s.components) == 1 { // not interleaved (A.2.2)
			b.h, b.v = 1, 1
			across, down = ceilDiv(c.width, 8), ceilDiv(c.height, 8)
		}
		if sc.dc > 3 || sc.ac > 3 || c.quantization > 3 || !d.huffman[0][sc.dc].defined || !d.huffman[1][sc.ac].defined ||
			!d.quantization[c.quantization].defined {
			return d.fail(r.pos, "scan with tables that are not defined")
		}
		b.dc, b.ac = &d.huffman[0][sc.dc], &d.huffman[1][sc.ac]
		b.quantization = &d.quantization[c.quantization].values
		parts = append(parts, b)
	}
	if perMCU := sumBlocks(parts); perMCU > 10 { // B.2.3
		return d.fail(r.pos, "too many blocks in an MCU")
	}
	return decodeMCUs(d, r, parts, across, down)
}

func sumBlocks[T sample](parts []blocks[T]) (n int) {
	for i := range parts {
		n += parts[i].h * parts[i].v
	}
	return n
}

func decodeMCUs[T sample](d *Decoder, r *bitReader, parts []blocks[T], across, down int) error {
	restarts := newIntervals(d.restartInterval)
	for y := range down {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		for x := range across {
			begins, err := restarts.due(d, r)
			if err != nil {
				return err
			}
			for i := range parts {
				p := &parts[i]
				if begins {
					p.predictor = 0
				}
				p.mcu(r, x, y, d.frame.precision)
			}
		}
		if r.overrun() {
			return d.fail(r.pos, "entropy coded data end early, or make no sense")
		}
	}
	return nil
}

// mcu decodes the component's blocks of the MCU at column x and row y.
func (p *blocks[T]) mcu(r *bitReader, x, y, precision int) {
	for v := range p.v {
		for h := range p.h {
			at := 8*(y*p.v+v)*p.plane.stride + 8*(x*p.h+h)
			p.block(r, p.plane.samples[at:], precision)
		}
	}
}

// block decodes the coefficients of a block (F.2.2.1, F.2.2.2) and makes samples of them.
func (p *blocks[T]) block(r *bitReader, dst []T, precision int) {
	if r.n < 32 {
		r.refill()
	}
	if category := int(r.decode(p.dc)); category > 0 {
		if category > 16 {
			r.broken = true
			return
		}
		p.predictor += r.receive(category)
	}
	dc := p.predictor * p.quantization[0]
	var coefficients [64]int32
	last := 0
	for k := 1; k < 64; k++ {
		if r.n < 32 {
			r.refill()
		}
		if e := p.ac.whole[r.acc>>(64-lookupBits)]; e != 0 {
			length := int(e & 0xFF)
			r.acc <<= length
			r.n -= length
			if k += int(e >> 8 & 0xFF); k > 63 {
				r.broken = true
				return
			}
			at := zigzag[k&63] & 63
			coefficients[at] = (e >> 16) * p.quantization[at]
			last = k
			continue
		}
		code := r.decode(p.ac)
		zeros, category := int(code>>4), int(code&15)
		if category == 0 {
			if zeros != 15 {
				break // end of block
			}
			k += 15
			continue
		}
		if k += zeros; k > 63 {
			r.broken = true
			return
		}
		at := zigzag[k]
		coefficients[at&63] = r.receive(category) * p.quantization[at&63]
		last = k
	}
	if last == 0 {
		flat(dc, dst, p.plane.stride, precision)
		return
	}
	coefficients[0] = dc
	inverse(&coefficients, dst, p.plane.stride, precision)
}
