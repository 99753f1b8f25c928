package segment

import "encoding/binary"

// A segment's file begins with two blocks of Alignment bytes each.
//
//	label, block 0: who the segment is; written and synced before the segment is used, and never again in that generation
//	 0  4  "DGSG"
//	 4  1  version, 1
//	 5  3  zero
//	 8  4  segment ID
//	12  4  zero
//	16  8  generation
//	24  8  nonce
//	32  4  CRC-32C of the 32 bytes before
//	seal, block 1: where the records end; written when the segment takes no more
//	 0  4  "DGSE"
//	 4  4  zero
//	 8  8  nonce
//	16  8  offset behind the last record
//	24  4  CRC-32C of the 24 bytes before
//
// The seal has a block of its own so that writing it cannot harm the label. It is a convenience, not part of the promise:
// without it Replay finds the end by reading on.
const (
	labelMagic   = "DGSG"
	labelVersion = 1
	labelSize    = 36
	sealMagic    = "DGSE"
	sealSize     = 28
	sealOffset   = Alignment
	firstRecord  = 2 * Alignment
)

// putLabel writes the label of a segment into b.
func (d identity) putLabel(b []byte) {
	copy(b, labelMagic)
	b[4] = labelVersion
	le := binary.LittleEndian
	le.PutUint32(b[8:], uint32(d.id))
	le.PutUint64(b[16:], d.generation)
	le.PutUint64(b[24:], d.nonce)
	le.PutUint32(b[32:], checksum(b[:32]))
}

// parseLabel reads a segment's label.
func parseLabel(b []byte) (identity, bool) {
	le := binary.LittleEndian
	if len(b) < labelSize || string(b[:4]) != labelMagic || b[4] != labelVersion || le.Uint32(b[32:]) != checksum(b[:32]) {
		return identity{}, false
	}
	return identity{id: ID(le.Uint32(b[8:])), generation: le.Uint64(b[16:]), nonce: le.Uint64(b[24:])}, true
}

// newerLabel tells which version of a label b is, if it is whole and of a version that is not known. Every version begins
// alike and has its checksum at the same place.
func newerLabel(b []byte) (version int, ok bool) {
	if len(b) < labelSize || string(b[:4]) != labelMagic || binary.LittleEndian.Uint32(b[32:]) != checksum(b[:32]) {
		return 0, false
	}
	return int(b[4]), b[4] > labelVersion
}

// putSeal writes the seal of a segment whose records end at end into b.
func (d identity) putSeal(b []byte, end int64) {
	copy(b, sealMagic)
	le := binary.LittleEndian
	le.PutUint64(b[8:], d.nonce)
	le.PutUint64(b[16:], uint64(end))
	le.PutUint32(b[24:], checksum(b[:24]))
}

// parseSeal reads the seal of the segment d, if it has one.
func (d identity) parseSeal(b []byte) (end int64, ok bool) {
	le := binary.LittleEndian
	if len(b) < sealSize || string(b[:4]) != sealMagic || le.Uint32(b[24:]) != checksum(b[:24]) || le.Uint64(b[8:]) != d.nonce {
		return 0, false
	}
	end = int64(le.Uint64(b[16:]))
	return end, end >= firstRecord && end%Alignment == 0
}
