package dicom

import (
	"fmt"
	"slices"
)

// Bounds of what a Scanner keeps and follows.
const (
	// MaxScannedValue is the longest value a Scanner keeps, in bytes. Longer
	// ones are passed over as if they had not been asked for.
	MaxScannedValue = 4 << 10
	// MaxScannedTotal bounds the values of one data set together, in bytes.
	MaxScannedTotal = 64 << 10
	// maxScanDepth bounds how many sequences may be open within each other.
	// Only sequences of undefined length count; others are skipped as a whole.
	maxScanDepth = 64
	firstBlock   = 2 << 10 // of memory for values; those of a CT fit
)

// Tags that are no elements but structure (PS3.5 7.5), and those at which a
// Scanner stops.
const (
	tagItem                 Tag = 0xFFFEE000
	tagItemDelimitation     Tag = 0xFFFEE00D
	tagSequenceDelimitation Tag = 0xFFFEE0DD
	tagFloatPixelData       Tag = 0x7FE00008
	tagDoubleFloatPixelData Tag = 0x7FE00009
	tagPixelData            Tag = 0x7FE00010
)

const (
	undefinedLength = 0xFFFFFFFF
	shortHeader     = 8  // bytes of tag, VR and length with a 16-bit length, or of tag and length
	fullHeader      = 12 // the same with a 32-bit length behind a VR

	firstGroup           uint16 = 0x0008 // with which instances begin
	misreadGroup         uint16 = 0x0800 // the same in the wrong byte order
	plausibleFirstLength        = 64 << 10
)

// FormatError says where and why a data set or file header cannot be
// understood. It holds no value of an element.
type FormatError struct {
	Tag    Tag   // the element at fault, 0 if there is none yet
	Offset int64 // of the element, in bytes from the begin of what is read
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("dicom: %s at offset %d: %s", e.Tag, e.Offset, e.Reason)
}

// Element is one element of a data set as it was sent.
type Element struct {
	Tag   Tag
	VR    string // value representation; where the data set does not tell, that of the dictionary; "" if unknown
	Value []byte // the value field, its padding included
}

// Scanner picks the values of wanted elements out of a data set while that
// streams past. It is written to in whatever pieces the network delivers, and
// takes note of elements of the data set itself, not of those within sequences.
//
// A Scanner never gets in the way of the data: Write accepts everything, and a
// data set that makes no sense ends the scan ([Scanner.Err] tells why) with
// what was found until then. Once the pixel data or an element beyond the last
// wanted one has come, Write costs next to nothing.
//
// It takes the transfer syntax with a grain of salt. The first element shows
// whether the VR is really there (or really left out) and in which byte order;
// modalities exist that say one thing and send another.
//
// Values are kept in the Scanner's own memory, at most [MaxScannedValue] bytes
// each and [MaxScannedTotal] in all. Of an element that comes twice the first
// one counts. A Scanner is for one goroutine; Reset makes it ready for another
// data set and reuses its memory.
type Scanner struct {
	whole  bool     // goes on to the end of the data set, see Extent
	wanted []Tag    // ascending
	vrs    []string // of wanted, by the dictionary; nil until one is needed

	// The element under way.
	tag     Tag
	skip    int64 // bytes of the value to be passed over
	missing int   // bytes of the value to be kept that did not come yet
	carry   [fullHeader]byte
	carried int

	// Where we are. Only constructs of undefined length are entered, so items
	// and sequences alternate: an odd depth is a sequence, an even one an item.
	depth         int
	implicitDepth int  // the depth at which a UN sequence made the encoding implicit, 0 if none did
	outerBig      bool // the byte order outside of that
	cursor        int  // in wanted: elements come in ascending order, as a rule
	offset        int64

	declared layout
	implicit bool
	big      bool
	started  bool
	done     bool
	err      error

	seen     []bool  // of wanted
	pending  Element // its value is still coming
	value    int     // where that begins in memory
	memory   []byte  // the block that takes the next value
	kept     int     // bytes of all values
	elements []Element

	deflate *inflation // not nil while the data set is deflated
}

// NewScanner returns a Scanner for a data set in transfer syntax ts that looks
// for the given tags.
func NewScanner(ts UID, wanted []Tag) *Scanner {
	s := &Scanner{wanted: slices.Clone(wanted)}
	slices.Sort(s.wanted)
	s.wanted = slices.Compact(s.wanted)
	s.seen = make([]bool, len(s.wanted))
	s.elements = make([]Element, 0, len(s.wanted))
	s.Reset(ts)
	return s
}

// Reset makes the Scanner ready for the next data set. It overwrites the
// values that Value and Elements returned for the last one.
func (s *Scanner) Reset(ts UID) {
	s.declared = ts.layout()
	s.restart()
	if s.declared&deflated == 0 {
		s.deflate = nil
		return
	}
	if s.deflate == nil {
		s.deflate = new(inflation)
	}
	s.deflate.reset()
}

// restart goes back to the begin of the data set.
func (s *Scanner) restart() {
	s.skip, s.missing, s.carried = 0, 0, 0
	s.depth, s.implicitDepth, s.cursor, s.offset = 0, 0, 0, 0
	s.implicit, s.big = s.declared&implicitVR != 0, s.declared&bigEndian != 0
	s.started, s.done, s.err = false, len(s.wanted) == 0 && !s.whole, nil
	s.memory, s.kept, s.elements = s.memory[:0], 0, s.elements[:0]
	clear(s.seen)
}

// Write takes the next bytes of the data set. It returns len(p) and nil always.
func (s *Scanner) Write(p []byte) (int, error) {
	switch {
	case s.deflate != nil:
		s.deflate.write(s, p)
	case !s.done:
		s.scan(p)
	}
	return len(p), nil
}

// Done tells whether the Scanner has stopped looking: it has all it wants, or
// will not find it.
func (s *Scanner) Done() bool { return s.done }

// Err tells why the scan ended early, as a *[FormatError]; nil if it did not.
func (s *Scanner) Err() error {
	s.settle()
	return s.err
}

// Value returns the value field of a wanted element; false if it did not come
// (yet), was longer than [MaxScannedValue], or is a sequence. The slice is the
// Scanner's and good until Reset.
func (s *Scanner) Value(tag Tag) ([]byte, bool) {
	s.settle()
	for i := range s.elements {
		if s.elements[i].Tag == tag {
			return s.elements[i].Value, true
		}
	}
	return nil, false
}

// Elements returns what was found, in the order of the data set. Slice and
// values are the Scanner's and good until Reset or the next Write.
func (s *Scanner) Elements() []Element {
	s.settle()
	return s.elements
}

// settle makes a deflated data set's elements current.
func (s *Scanner) settle() {
	if s.deflate != nil {
		s.deflate.settle(s)
	}
}

// scan is Write for a data set that is not deflated, or no longer.
func (s *Scanner) scan(p []byte) {
	for len(p) > 0 && !s.done {
		switch {
		case s.skip > 0:
			n := int(min(s.skip, int64(len(p))))
			s.skip -= int64(n)
			p = s.advance(p, n)
		case s.missing > 0:
			n := min(s.missing, len(p))
			s.memory = append(s.memory, p[:n]...)
			s.missing -= n
			p = s.advance(p, n)
			if s.missing == 0 {
				s.keep()
			}
		case s.carried == 0 && len(p) >= fullHeader:
			p = s.advance(p, s.header(p))
		default:
			p = s.partialHeader(p)
		}
	}
}

func (s *Scanner) advance(p []byte, n int) []byte {
	s.offset += int64(n)
	return p[n:]
}

// partialHeader reads the header of an element of which not enough is at hand, by
// way of carry. One more byte at a time would do; it takes what is needed for
// the shorter form and then, if there is more to come, for the longer one.
func (s *Scanner) partialHeader(p []byte) []byte {
	need := shortHeader
	if s.carried >= shortHeader {
		need = fullHeader
	}
	n := copy(s.carry[s.carried:need], p)
	s.carried += n
	p = p[n:]
	if s.carried < need {
		return p
	}
	if used := s.header(s.carry[:s.carried]); used > 0 {
		s.offset += int64(used)
		s.carried = 0
	}
	return p
}

// header reads tag, VR and length of an element (PS3.5 7.1) and decides what
// becomes of its value. It returns how many bytes that took: 8 or 12, or 0 if
// it takes 12 and b is shorter.
func (s *Scanner) header(b []byte) int {
	if !s.started {
		s.detect(b)
	}
	tag, v, length, used := readHeader(b, s.implicit, s.big)
	if used > len(b) {
		return 0
	}
	s.started, s.tag = true, tag
	switch {
	case s.depth%2 == 1:
		s.inSequence(length)
	case tag.Group() == tagItem.Group():
		s.delimiter()
	default:
		s.element(v, length)
	}
	return used
}

// inSequence deals with a tag where only items and delimiters may stand. It
// serves fragments of pixel data as well, which an icon image may have.
func (s *Scanner) inSequence(length uint32) {
	switch {
	case s.tag == tagItem && length == undefinedLength:
		s.open()
	case s.tag == tagItem:
		s.skip = int64(length)
	case s.tag == tagSequenceDelimitation:
		s.close(1)
	case s.tag == tagItemDelimitation:
		// Some add one to items of defined length.
	default:
		s.fail("neither item nor delimiter in a sequence")
	}
}

// delimiter deals with item and delimiters where elements stand.
func (s *Scanner) delimiter() {
	switch {
	case s.tag == tagItem:
		s.fail("item outside a sequence")
	case s.tag != tagItemDelimitation && s.tag != tagSequenceDelimitation:
		s.fail("unknown delimiter")
	case s.depth == 0:
		// A delimiter of nothing; senders leave them behind sequences whose
		// length they gave.
	case s.tag == tagItemDelimitation:
		s.close(1)
	default:
		s.close(2) // the item was not closed
	}
}

// element deals with an element proper.
func (s *Scanner) element(v *vr, length uint32) {
	if s.depth == 0 && !s.whole && s.beyond() {
		s.done = true
		return
	}
	switch {
	case length == undefinedLength:
		s.openElement(v)
	case s.depth > 0 || !s.want(v, length):
		s.skip = int64(length)
	}
}

// beyond tells whether nothing wanted can follow.
func (s *Scanner) beyond() bool {
	switch s.tag {
	case tagPixelData, tagFloatPixelData, tagDoubleFloatPixelData:
		return true
	}
	return s.tag > s.wanted[len(s.wanted)-1]
}

// openElement enters an element of undefined length: a sequence, pixel data in
// fragments, or UN, which is a sequence in implicit VR whatever is around it
// (PS3.5 6.2.2, note 2; CP-246).
func (s *Scanner) openElement(v *vr) {
	if !s.implicit && !v.open {
		s.fail("undefined length in a VR that has none")
		return
	}
	s.open()
	if !s.implicit && v.name == "UN" {
		s.implicit, s.implicitDepth = true, s.depth
		s.outerBig, s.big = s.big, false
	}
}

func (s *Scanner) open() {
	if s.depth++; s.depth > 2*maxScanDepth {
		s.fail("sequences nested too deeply")
	}
}

func (s *Scanner) close(levels int) {
	s.depth -= levels
	if s.depth < s.implicitDepth {
		s.implicit, s.implicitDepth, s.big = false, 0, s.outerBig
	}
}

// want prepares for keeping the value of the current element and tells whether
// it is to be kept.
func (s *Scanner) want(v *vr, length uint32) bool {
	i, wanted := s.find()
	if !wanted || s.seen[i] || length > MaxScannedValue || s.kept+int(length) > MaxScannedTotal {
		return false
	}
	name := v.name
	if s.implicit {
		name = s.dictionaryVR(i)
	}
	if name == "SQ" {
		return false
	}
	s.seen[i] = true
	s.pending = Element{Tag: s.tag, VR: name}
	s.reserve(int(length))
	s.kept += int(length)
	s.missing = int(length)
	if length == 0 {
		s.keep()
	}
	return true
}

// dictionaryVR returns the VR of a wanted tag. The dictionary is too slow to be
// asked for each data set, and data sets in explicit VR do without it.
func (s *Scanner) dictionaryVR(i int) string {
	if s.vrs == nil {
		s.vrs = make([]string, len(s.wanted))
		for i, tag := range s.wanted {
			s.vrs[i] = TagVR(tag)
		}
	}
	return s.vrs[i]
}

// find looks the current tag up among the wanted ones. Tags ascend, so the
// cursor is nearly always right; a data set out of order costs a search.
func (s *Scanner) find() (int, bool) {
	i := s.cursor
	if i > 0 && s.wanted[i-1] >= s.tag {
		i, _ = slices.BinarySearch(s.wanted, s.tag)
	}
	for i < len(s.wanted) && s.wanted[i] < s.tag {
		i++
	}
	s.cursor = i
	return i, i < len(s.wanted) && s.wanted[i] == s.tag
}

// reserve makes room for a value. Values kept before stay where they are, in a
// block that is given up.
func (s *Scanner) reserve(length int) {
	if cap(s.memory)-len(s.memory) < length {
		s.memory = make([]byte, 0, max(2*cap(s.memory), firstBlock, length))
	}
	s.value = len(s.memory)
}

// keep files the value that has now come in full.
func (s *Scanner) keep() {
	s.pending.Value = s.memory[s.value:len(s.memory):len(s.memory)]
	s.elements = append(s.elements, s.pending)
}

func (s *Scanner) fail(reason string) {
	s.err = &FormatError{Tag: s.tag, Offset: s.offset, Reason: reason}
	s.done = true
}

// detect compares the first element's header with the transfer syntax and, if
// they disagree beyond doubt, believes the element.
func (s *Scanner) detect(b []byte) {
	s.implicit, s.big = detectEncoding(b, s.implicit, s.big)
}
