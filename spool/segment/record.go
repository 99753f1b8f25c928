package segment

import (
	"encoding/binary"
	"hash/crc32"
)

// The format of a record. All integers are little endian, as most of DICOM's are.
//
//	header, 64 bytes at a multiple of Alignment
//	 0  4  "DGRC"
//	 4  1  version, 1
//	 5  3  zero
//	 8  4  segment ID
//	12  4  length of the payload's Part 10 header
//	16  8  generation of the segment
//	24  8  nonce of the segment in that generation
//	32  8  length of the record on disk
//	40  8  length of the payload
//	48  4  length of the metadata
//	52  4  CRC-32C of the payload's Part 10 header
//	56  4  blocks from the first record of its commit group to this one
//	60  4  CRC-32C of the 60 bytes before
//	payload, metadata
//	trailer, 64 bytes
//	 0 32  SHA-256 of the data set
//	32  8  length of the payload
//	40  8  generation of the segment
//	48  4  length of the metadata
//	52  4  CRC-32C of the header, its last field, which ties the two ends together
//	56  4  "DGRT"
//	60  4  CRC-32C of the metadata and the 60 bytes before
//	zeros up to the next multiple of Alignment
const (
	headerSize    = 64
	trailerSize   = 64
	recordVersion = 1

	headerMagic  = "DGRC"
	trailerMagic = "DGRT"

	// maxPayload keeps sums of lengths read from disk far from overflow: 1 TiB.
	maxPayload = 1 << 40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// aligned rounds n up to a multiple of Alignment.
func aligned(n int64) int64 { return (n + Alignment - 1) &^ (Alignment - 1) }

// identity is what a segment's records must carry to belong to it. The nonce is random, so that a payload that imitates
// a record, which any sender may compose, is never taken for one.
type identity struct {
	id         ID
	generation uint64
	nonce      uint64
}

// header is a record's header.
type header struct {
	identity
	length        int64 // of the record
	payloadLength int64
	headerLength  uint32 // of the payload's Part 10 header
	metaLength    uint32
	headerCRC     uint32 // of the payload's Part 10 header
	back          uint32 // blocks from the first record that was synced together with this one
}

// recordLength is the length on disk of a record with such a payload and metadata.
func recordLength(payload int64, meta int) int64 {
	return aligned(headerSize + payload + int64(meta) + trailerSize)
}

// put writes h into the headerSize bytes at b and returns the CRC in them.
func (h header) put(b []byte) uint32 {
	b = b[:headerSize]
	clear(b)
	copy(b, headerMagic)
	b[4] = recordVersion
	le := binary.LittleEndian
	le.PutUint32(b[8:], uint32(h.id))
	le.PutUint32(b[12:], h.headerLength)
	le.PutUint64(b[16:], h.generation)
	le.PutUint64(b[24:], h.nonce)
	le.PutUint64(b[32:], uint64(h.length))
	le.PutUint64(b[40:], uint64(h.payloadLength))
	le.PutUint32(b[48:], h.metaLength)
	le.PutUint32(b[52:], h.headerCRC)
	le.PutUint32(b[56:], h.back)
	crc := checksum(b[:60])
	le.PutUint32(b[60:], crc)
	return crc
}

// parseHeader reads a header. It is false unless the header is whole and its lengths agree with each other.
func parseHeader(b []byte) (header, bool) {
	if len(b) < headerSize || string(b[:4]) != headerMagic || b[4] != recordVersion {
		return header{}, false
	}
	le := binary.LittleEndian
	if le.Uint32(b[60:]) != checksum(b[:60]) {
		return header{}, false
	}
	h := header{
		identity: identity{
			id:         ID(le.Uint32(b[8:])),
			generation: le.Uint64(b[16:]),
			nonce:      le.Uint64(b[24:]),
		},
		length:        int64(le.Uint64(b[32:])),
		payloadLength: int64(le.Uint64(b[40:])),
		headerLength:  le.Uint32(b[12:]),
		metaLength:    le.Uint32(b[48:]),
		headerCRC:     le.Uint32(b[52:]),
		back:          le.Uint32(b[56:]),
	}
	return h, h.consistent()
}

// consistent reports whether the lengths are within bounds and agree.
func (h header) consistent() bool {
	return h.payloadLength >= 0 && h.payloadLength <= maxPayload &&
		h.metaLength <= MaxMeta &&
		h.headerLength <= MaxHeader && int64(h.headerLength) <= h.payloadLength &&
		h.length == recordLength(h.payloadLength, int(h.metaLength))
}

// location is where a record with this header is if it starts at offset.
func (h header) location(offset int64) Location {
	return Location{
		Segment:       h.id,
		Generation:    h.generation,
		Offset:        offset,
		Length:        h.length,
		PayloadLength: h.payloadLength,
		HeaderLength:  int64(h.headerLength),
	}
}

// matches reports whether h is the header of the record at l.
func (h header) matches(l Location) bool { return h.location(l.Offset) == l }

// appendTrailer appends the trailer that goes with h, whose own CRC is headerCRC. dst must end with the metadata.
func (h header) appendTrailer(dst []byte, digest [32]byte, headerCRC uint32) []byte {
	meta := len(dst) - int(h.metaLength)
	dst = append(dst, digest[:]...)
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(h.payloadLength))
	dst = le.AppendUint64(dst, h.generation)
	dst = le.AppendUint32(dst, h.metaLength)
	dst = le.AppendUint32(dst, headerCRC)
	dst = append(dst, trailerMagic...)
	return le.AppendUint32(dst, checksum(dst[meta:]))
}

// parseTrailer splits b, metadata and trailer, and reports whether they are whole and belong to h, whose CRC on disk was
// headerCRC.
func (h header) parseTrailer(b []byte, headerCRC uint32) (meta []byte, digest [32]byte, ok bool) {
	if len(b) != int(h.metaLength)+trailerSize {
		return nil, digest, false
	}
	meta, t := b[:h.metaLength], b[h.metaLength:]
	le := binary.LittleEndian
	ok = string(t[56:60]) == trailerMagic &&
		le.Uint64(t[32:]) == uint64(h.payloadLength) &&
		le.Uint64(t[40:]) == h.generation &&
		le.Uint32(t[48:]) == h.metaLength &&
		le.Uint32(t[52:]) == headerCRC &&
		le.Uint32(t[60:]) == checksum(b[:len(b)-4])
	copy(digest[:], t)
	return meta, digest, ok
}
