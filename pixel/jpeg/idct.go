package jpeg

// zigzag leads from the order in which coefficients are coded to their natural order (T.81 figure 5).
var zigzag = [64]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
}

// The inverse DCT is that of Loeffler, Ligtenberg and Moschytz (ICASSP 1989) in fixed point, with 13 fractional bits of the
// constants and, between the passes over columns and rows, 2 of the values, 1 where samples have 12 bits.
const (
	constBits = 13

	c0298 = 2446  // 0.298631336 * 2^13
	c0390 = 3196  // 0.390180644
	c0541 = 4433  // 0.541196100
	c0765 = 6270  // 0.765366865
	c0899 = 7373  // 0.899976223
	c1175 = 9633  // 1.175875602
	c1501 = 12299 // 1.501321110
	c1847 = 15137 // 1.847759065
	c1961 = 16069 // 1.961570560
	c2053 = 16819 // 2.053119869
	c2562 = 20995 // 2.562915447
	c3072 = 25172 // 3.072711026
)

// even and odd are the two halves of a transform of eight values: sums of the even coefficients for the outer to the inner
// pairs of results, and what is to be added to and subtracted from them.
func even(a0, a2, a4, a6 int32) (e0, e1, e2, e3 int32) {
	z := (a2 + a6) * c0541
	t2, t3 := z-a6*c1847, z+a2*c0765
	t0, t1 := (a0+a4)<<constBits, (a0-a4)<<constBits
	return t0 + t3, t1 + t2, t1 - t2, t0 - t3
}

func odd(a1, a3, a5, a7 int32) (o0, o1, o2, o3 int32) {
	z1, z2, z3, z4 := a7+a1, a5+a3, a7+a3, a5+a1
	z5 := (z3 + z4) * c1175
	z1, z2 = -z1*c0899, -z2*c2562
	z3, z4 = z5-z3*c1961, z5-z4*c0390
	return a1*c1501 + z1 + z4, a3*c3072 + z2 + z3, a5*c2053 + z2 + z4, a7*c0298 + z1 + z3
}

// columns is the first pass: it transforms the columns of a block, in place.
func columns(b *[64]int32, shift int) {
	round := int32(1) << (shift - 1)
	for x := range 8 {
		c := b[x : x+57 : x+57]
		if c[8]|c[16]|c[24]|c[32]|c[40]|c[48]|c[56] == 0 {
			v := c[0] << (constBits - shift)
			c[0], c[8], c[16], c[24], c[32], c[40], c[48], c[56] = v, v, v, v, v, v, v, v
			continue
		}
		e0, e1, e2, e3 := even(c[0], c[16], c[32], c[48])
		o0, o1, o2, o3 := odd(c[8], c[24], c[40], c[56])
		e0, e1, e2, e3 = e0+round, e1+round, e2+round, e3+round
		c[0], c[56] = (e0+o0)>>shift, (e0-o0)>>shift
		c[8], c[48] = (e1+o1)>>shift, (e1-o1)>>shift
		c[16], c[40] = (e2+o2)>>shift, (e2-o2)>>shift
		c[24], c[32] = (e3+o3)>>shift, (e3-o3)>>shift
	}
}

// inverse transforms a block of coefficients into samples at dst, rows of which are stride apart. The block is overwritten.
func inverse[T sample](b *[64]int32, dst []T, stride, precision int) {
	pass1 := 2
	if precision > 8 {
		pass1 = 1
	}
	columns(b, constBits-pass1)
	shift := constBits + pass1 + 3
	center := int32(1) << (precision - 1)
	round := center<<shift + 1<<(shift-1) // the level shift of A.3.1 within
	limit := 2*center - 1
	for y := range 8 {
		r := b[8*y : 8*y+8 : 8*y+8]
		out := dst[y*stride : y*stride+8 : y*stride+8]
		e0, e1, e2, e3 := even(r[0], r[2], r[4], r[6])
		o0, o1, o2, o3 := odd(r[1], r[3], r[5], r[7])
		e0, e1, e2, e3 = e0+round, e1+round, e2+round, e3+round
		out[0], out[7] = T(clamp((e0+o0)>>shift, limit)), T(clamp((e0-o0)>>shift, limit))
		out[1], out[6] = T(clamp((e1+o1)>>shift, limit)), T(clamp((e1-o1)>>shift, limit))
		out[2], out[5] = T(clamp((e2+o2)>>shift, limit)), T(clamp((e2-o2)>>shift, limit))
		out[3], out[4] = T(clamp((e3+o3)>>shift, limit)), T(clamp((e3-o3)>>shift, limit))
	}
}

// flat is inverse for a block that has nothing but its DC coefficient.
func flat[T sample](dc int32, dst []T, stride, precision int) {
	center := int32(1) << (precision - 1)
	v := T(clamp((dc+4)>>3+center, 2*center-1))
	for y := range 8 {
		out := dst[y*stride : y*stride+8 : y*stride+8]
		for x := range out {
			out[x] = v
		}
	}
}

func clamp(v, limit int32) int32 { return max(0, min(v, limit)) }
