package jpeg

import "encoding/binary"

// losslessScan decodes a scan of a lossless frame (annex H) straight into the result. The MCU is one sample of each
// component of the scan.
func (d *Decoder) losslessScan(s scan, r *bitReader) error {
	shift := d.frame.precision - s.al - 1
	if s.ss < 1 || s.ss > 7 || s.se != 0 || s.ah != 0 || shift < 0 {
		return d.fail(r.pos, "no lossless prediction")
	}
	columns := d.frame.columns
	if d.restartInterval%columns != 0 {
		return d.fail(r.pos, "restart interval of a fraction of a row") // H.1.1
	}
	tables := make([]*huffmanTable, len(s.components))
	for i, sc := range s.components {
		if sc.dc > 3 || !d.huffman[0][sc.dc].defined {
			return d.fail(r.pos, "scan with a table that is not defined")
		}
		tables[i] = &d.huffman[0][sc.dc]
		for k := range d.rows[i] {
			d.rows[i][k] = resize(d.rows[i][k], columns)
		}
	}
	restarts := newIntervals(d.restartInterval / columns)
	for y := range d.frame.rows {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		begins, err := restarts.due(d, r)
		if err != nil {
			return err
		}
		d.losslessRow(s, r, tables, y == 0 || begins, uint16(1)<<shift)
		if r.overrun() {
			return d.fail(r.pos, "entropy coded data end early, or make no sense")
		}
		for i, sc := range s.components {
			d.store(d.rows[i][1], sc.index, y, s.al)
			d.rows[i][0], d.rows[i][1] = d.rows[i][1], d.rows[i][0]
		}
	}
	return nil
}

// losslessRow decodes a row of each component of the scan. first says that it is predicted without the row above, initial is
// the prediction of its first sample then (H.1.2.1).
func (d *Decoder) losslessRow(s scan, r *bitReader, tables []*huffmanTable, first bool, initial uint16) {
	if len(tables) == 1 {
		row, above := d.rows[0][1], d.rows[0][0]
		switch {
		case first:
			row[0] = initial + r.difference(tables[0])
			losslessLeft(row, r, tables[0])
		case s.ss == 1:
			row[0] = above[0] + r.difference(tables[0])
			losslessLeft(row, r, tables[0])
		default:
			row[0] = above[0] + r.difference(tables[0])
			for x := 1; x < len(row); x++ {
				row[x] = predict(s.ss, row, above, x) + r.difference(tables[0])
			}
		}
		return
	}
	var left [maxComponents]uint16
	for i, t := range tables {
		left[i] = initial
		if !first {
			left[i] = d.rows[i][0][0]
		}
		left[i] += r.difference(t)
		d.rows[i][1][0] = left[i]
	}
	for x := 1; x < d.frame.columns; x++ {
		for i, t := range tables {
			rows := &d.rows[i]
			if !first && s.ss != 1 {
				left[i] = predict(s.ss, rows[1], rows[0], x)
			}
			left[i] += r.difference(t)
			rows[1][x] = left[i]
		}
	}
}

// losslessLeft decodes a row from its second sample on, each predicted by the one before.
func losslessLeft(row []uint16, r *bitReader, t *huffmanTable) {
	left := row[0]
	for x := 1; x < len(row); x++ {
		left += r.difference(t)
		row[x] = left
	}
}

// predict is T.81 table H.1: a is the sample to the left, b the one above, c the one between.
func predict(selection int, row, above []uint16, x int) uint16 {
	a, b, c := int32(row[x-1]), int32(above[x]), int32(above[x-1])
	switch selection {
	case 1:
		return uint16(a)
	case 2:
		return uint16(b)
	case 3:
		return uint16(c)
	case 4:
		return uint16(a + b - c)
	case 5:
		return uint16(a + (b-c)>>1)
	case 6:
		return uint16(b + (a-c)>>1)
	}
	return uint16((a + b) >> 1)
}

// difference decodes the next difference, modulo 2^16 (H.1.2.2, H.2.1). Category 16 is 32768 and has no further bits.
func (r *bitReader) difference(t *huffmanTable) uint16 {
	if r.n < 32 {
		r.refill()
	}
	if e := t.whole[r.acc>>(64-lookupBits)]; e != 0 {
		length := int(e & 0xFF)
		r.acc <<= length
		r.n -= length
		return uint16(e >> 16)
	}
	switch category := int(r.decode(t)); {
	case category == 0:
		return 0
	case category < 16:
		return uint16(r.receive(category))
	case category > 16:
		r.broken = true
	}
	return 1 << 15
}

// store writes a row of a component to the result, with the point transform undone (H.2.2).
func (d *Decoder) store(row []uint16, component, y, transform int) {
	at := y*d.frame.columns*d.want.PixelStride + component*d.want.SampleStride
	if d.want.SampleBytes == 1 {
		for _, v := range row {
			d.out[at] = byte(v << transform)
			at += d.want.PixelStride
		}
		return
	}
	if d.want.PixelStride == 1 {
		out := d.out[2*at:][:2*len(row)]
		for x, v := range row {
			binary.LittleEndian.PutUint16(out[2*x:], v<<transform)
		}
		return
	}
	for _, v := range row {
		binary.LittleEndian.PutUint16(d.out[2*at:], v<<transform)
		at += d.want.PixelStride
	}
}
