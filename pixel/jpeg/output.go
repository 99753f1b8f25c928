package jpeg

import "encoding/binary"

// write brings the components to full size, row by row, and writes them to the result.
func write[T sample](d *Decoder, t *dct[T]) error {
	f := &d.frame
	for i := range f.components {
		t.lines[i] = resize(t.lines[i], f.columns+8) // upsampling writes some more
	}
	for y := range f.rows {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		for i := range f.components {
			t.line(f, i, y)
		}
		if d.want.RGB && len(f.components) == 3 {
			toRGB(t.lines[0][:f.columns], t.lines[1][:f.columns], t.lines[2][:f.columns], f.precision)
		}
		for i := range f.components {
			storeLine(d, t.lines[i][:f.columns], i, y)
		}
	}
	return nil
}

// line makes row y of a component at full width. Chroma that was halved horizontally is filtered if there are more than two
// samples in a row, also vertically if it was halved both ways; other ratios repeat samples.
func (t *dct[T]) line(f *frame, i, y int) {
	c := &f.components[i]
	p := &t.planes[i]
	across, down := f.hMax/c.h, f.vMax/c.v
	row := func(y int) []T { return p.samples[y*p.stride:][:c.width] }
	out := t.lines[i]
	switch {
	case across == 1:
		copy(out, row(y/down))
	case across == 2 && down == 1 && c.width > 2:
		doubleWidth(out, row(y))
	case across == 2 && down == 2 && c.width > 2:
		near := y / 2
		far := near - 1
		if y%2 == 1 {
			far = near + 1
		}
		far = min(max(far, 0), c.height-1)
		t.sums = resize(t.sums, c.width)
		a, b := row(near), row(far)
		for x := range t.sums {
			t.sums[x] = 3*int32(a[x]) + int32(b[x])
		}
		doubleSums(out, t.sums)
	default:
		for x, v := range row(y / down) {
			for k := range across {
				if n := x*across + k; n < len(out) {
					out[n] = v
				}
			}
		}
	}
}

// doubleWidth doubles a row: each result is three quarters of the nearer sample and a quarter of the other neighbour,
// rounded down and up in turn.
func doubleWidth[T sample](out, in []T) {
	last := len(in) - 1
	out[0], out[1] = in[0], T((3*int32(in[0])+int32(in[1])+2)>>2)
	for x := 1; x < last; x++ {
		v := 3 * int32(in[x])
		out[2*x], out[2*x+1] = T((v+int32(in[x-1])+1)>>2), T((v+int32(in[x+1])+2)>>2)
	}
	out[2*last], out[2*last+1] = T((3*int32(in[last])+int32(in[last-1])+1)>>2), in[last]
}

// doubleSums is the same of sums that are four times a sample.
func doubleSums[T sample](out []T, in []int32) {
	last := len(in) - 1
	out[0], out[1] = T((4*in[0]+8)>>4), T((3*in[0]+in[1]+7)>>4)
	for x := 1; x < last; x++ {
		v := 3 * in[x]
		out[2*x], out[2*x+1] = T((v+in[x-1]+8)>>4), T((v+in[x+1]+7)>>4)
	}
	out[2*last], out[2*last+1] = T((3*in[last]+in[last-1]+8)>>4), T((4*in[last]+7)>>4)
}

// The coefficients of the conversion of PS3.3 C.7.6.3.1.2, YBR_FULL, with 16 fractional bits.
const (
	redOfCr   = 91881  // 1.40200
	greenOfCb = 22554  // 0.34414
	greenOfCr = 46802  // 0.71414
	blueOfCb  = 116130 // 1.77200
	half      = 1 << 15
)

// toRGB converts a row, in place.
func toRGB[T sample](ys, cbs, crs []T, precision int) {
	center := int32(1) << (precision - 1)
	limit := 2*center - 1
	for x := range ys {
		y, cb, cr := int32(ys[x]), int32(cbs[x])-center, int32(crs[x])-center
		ys[x] = T(clamp(y+(redOfCr*cr+half)>>16, limit))
		cbs[x] = T(clamp(y+(-greenOfCb*cb-greenOfCr*cr+half)>>16, limit))
		crs[x] = T(clamp(y+(blueOfCb*cb+half)>>16, limit))
	}
}

// storeLine writes row y of a component to the result.
func storeLine[T sample](d *Decoder, line []T, component, y int) {
	at := y*d.frame.columns*d.want.PixelStride + component*d.want.SampleStride
	stride := d.want.PixelStride
	if d.want.SampleBytes == 1 {
		for _, v := range line {
			d.out[at] = byte(v)
			at += stride
		}
		return
	}
	for _, v := range line {
		binary.LittleEndian.PutUint16(d.out[2*at:], uint16(v))
		at += stride
	}
}
