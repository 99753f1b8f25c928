package dicom

// Ending says how a data set ends.
type Ending int

// The endings.
const (
	EndWhole Ending = iota // with the last byte of an element, or it cannot be told: it is malformed, or deflated
	EndOpen                // behind an element or fragment, but within sequences or pixel data of undefined length: their delimiters are missing
	EndCut                 // within an element, or before the first one
)

// Extent follows a data set to its end and tells whether it is all there. It is written to in whatever pieces come, and passes
// over values: that costs next to nothing.
//
// A file whose copying broke off ends within an element nearly always. Over a network the protocol tells; of a file nothing
// else does.
type Extent struct {
	scanner  Scanner
	deflated bool
}

// NewExtent makes an Extent for a data set in transfer syntax ts. Like a [Scanner] it believes the first element rather
// than ts.
func NewExtent(ts UID) *Extent {
	e := &Extent{deflated: ts.Deflated()}
	e.scanner.whole = true
	e.scanner.declared = ts.layout()
	e.scanner.restart()
	return e
}

// Write takes the next bytes. It returns len(p) and nil always.
func (e *Extent) Write(p []byte) (int, error) {
	if !e.deflated && !e.scanner.done {
		e.scanner.scan(p)
	}
	return len(p), nil
}

// End tells how the data set ends if what was written is all of it.
func (e *Extent) End() Ending {
	s := &e.scanner
	switch {
	case e.deflated || s.done:
		return EndWhole
	case s.skip > 0 || !s.started || !zeros(s.carry[:s.carried]):
		return EndCut
	case s.depth > 0:
		return EndOpen
	}
	return EndWhole
}

// zeros tells whether nothing but padding is left: some devices fill a file up to a multiple of a block.
func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
