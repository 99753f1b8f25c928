package segment

// Sizes and limits that are part of the format.
const (
	// Alignment is the size of the blocks that records are made of, in bytes. A record shares no block with another, so
	// that writing one, torn or not, never touches its neighbour.
	Alignment = 4096
	// MaxMeta is the greatest length of a record's metadata in bytes.
	MaxMeta = 64 << 10
	// MaxHeader is the greatest length of a payload's Part 10 header (preamble, prefix and File Meta, PS3.10 7.1) in
	// bytes: it must fit into the record's first block, which is held in memory until Commit.
	MaxHeader = Alignment - headerSize
)

// ID names a segment, and with it its file.
type ID uint32

// Location says where a committed record is. An index keeps it whole: every field is needed to open the record, and
// none changes in the record's life.
type Location struct {
	Segment       ID
	Generation    uint64 // of the segment when the record was written; grows through the whole store
	Offset        int64  // of the record in the segment's file, a multiple of Alignment
	Length        int64  // of the whole record on disk, a multiple of Alignment
	PayloadLength int64  // bytes given to Writer.Write
	HeaderLength  int64  // of these, the Part 10 header before the data set
}

// PayloadOffset is where the payload begins in the segment's file.
func (l Location) PayloadOffset() int64 { return l.Offset + headerSize }

// Next is the checkpoint to keep once this record and all before it in its segment are in the index.
func (l Location) Next() Checkpoint {
	return Checkpoint{Generation: l.Generation, Offset: l.Offset + l.Length}
}

// Checkpoint says how far the index knows a segment. Replay looks only behind it.
type Checkpoint struct {
	Generation uint64
	Offset     int64
}

// Record is a committed record as Replay and ScanAll report it.
type Record struct {
	Location Location
	Meta     []byte   // valid during the call only
	Digest   [32]byte // SHA-256 of the data set, which is the payload from HeaderLength on
}

// Range is a part of a segment and what was found there.
type Range struct {
	Segment ID
	Offset  int64
	Length  int64
	Reason  string // holds no bytes of the record
}
