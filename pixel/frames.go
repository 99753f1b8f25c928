package pixel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"dcmgate/dicom"
)

const (
	itemHeader = 8  // bytes of tag and length
	headSize   = 64 // bytes of a fragment that show whether it begins a frame
	readChunk  = 256 << 10
)

// Frames reads encapsulated pixel data (PS3.5 A.4), from behind the header of the element to the sequence delimiter, and puts
// frames together that were sent in several fragments.
//
// It passes over the Basic Offset Table, which may be absent, empty or wrong: where a frame begins shows in its first bytes,
// and a fragment that does not begin a frame goes on with the one before.
type Frames struct {
	r      io.Reader
	begins func(head []byte) bool
	limit  int // bytes of a frame

	table   bool // the Basic Offset Table has been passed
	over    bool // the sequence delimiter has come
	frame   []byte
	head    [headSize]byte // of the fragment that has been begun and belongs to the next frame
	headLen int
	rest    int64 // bytes of it that are still to be read
	header  [itemHeader]byte
}

// Next returns the next frame, io.EOF behind the last one. The slice is good until the next call.
func (f *Frames) Next() ([]byte, error) {
	if !f.table {
		if err := f.skipTable(); err != nil {
			return nil, err
		}
	}
	f.frame = append(f.frame[:0], f.head[:f.headLen]...)
	begun := f.headLen > 0
	f.headLen = 0
	if err := f.gather(f.rest); err != nil {
		return nil, err
	}
	f.rest = 0
	for !f.over {
		length, err := f.item()
		if err != nil || f.over {
			if err == nil {
				break
			}
			return nil, err
		}
		if length == 0 {
			continue
		}
		n := int(min(length, headSize))
		if err := f.read(f.head[:n]); err != nil {
			return nil, err
		}
		if begun && f.begins(f.head[:n]) {
			f.headLen, f.rest = n, length-int64(n)
			return f.frame, nil
		}
		begun = true
		f.frame = append(f.frame, f.head[:n]...)
		if err := f.gather(length - int64(n)); err != nil {
			return nil, err
		}
	}
	if !begun {
		return nil, io.EOF
	}
	return f.frame, nil
}

// skipTable passes over the Basic Offset Table, the first item.
func (f *Frames) skipTable() error {
	length, err := f.item()
	if err == nil && !f.over {
		_, err = io.CopyN(io.Discard, f.r, length)
		err = unexpected(err)
	}
	f.table = true
	return err
}

// item reads the header of the next item. At the sequence delimiter it sets f.over.
func (f *Frames) item() (length int64, err error) {
	if err := f.read(f.header[:]); err != nil {
		return 0, err
	}
	h, _ := dicom.Encoding{ImplicitVR: true}.Header(f.header[:])
	switch {
	case h.Tag == dicom.TagSequenceDelimitation:
		f.over = true
		return 0, nil
	case h.Tag != dicom.TagItem || h.Length == dicom.UndefinedLength:
		return 0, &Error{"neither a fragment nor the end where one has to be"}
	}
	return int64(h.Length), nil
}

// gather appends the next n bytes to the frame.
func (f *Frames) gather(n int64) error {
	if n > int64(f.limit-len(f.frame)) {
		return &Error{fmt.Sprintf("compressed frame of more than %d bytes", f.limit)}
	}
	for n > 0 {
		begin := len(f.frame)
		take := int(min(n, readChunk))
		f.frame = append(f.frame, make([]byte, take)...)
		if err := f.read(f.frame[begin:]); err != nil {
			return err
		}
		n -= int64(take)
	}
	return nil
}

func (f *Frames) read(b []byte) error {
	_, err := io.ReadFull(f.r, b)
	return unexpected(err)
}

// unexpected is err for who does not expect the end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// beginsJPEG looks for SOI and the next marker's 0xFF.
func beginsJPEG(head []byte) bool {
	return len(head) > 2 && head[0] == 0xFF && head[1] == 0xD8 && head[2] == 0xFF
}

// beginsRLE looks for a header of so many segments (PS3.5 G.5).
func beginsRLE(segments int) func([]byte) bool {
	return func(head []byte) bool {
		if len(head) < headSize {
			return false
		}
		number := func(i int) uint32 { return binary.LittleEndian.Uint32(head[4*i:]) }
		if number(0) != uint32(segments) || number(1) != headSize {
			return false
		}
		for i := 2; i < headSize/4; i++ {
			if used := i <= segments; used != (number(i) > headSize) {
				return false
			}
		}
		return true
	}
}
