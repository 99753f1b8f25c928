package indexfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// Bounds of what a table says of itself.
const (
	maxChecksum = 64       // bytes of a checksum's message
	maxIndex    = 64 << 20 // bytes of a table's index; tables are a few MiB
	minBlock    = 12       // a number of entries, a checksum and two lengths at least
)

var errLayout = errors.New("not the layout of a table")

// tableFile is a table that is being read.
type tableFile struct {
	file   *os.File
	size   int64
	blocks []block
	buffer []byte
}

// block is where a block lies in its table, and its first key.
type block struct {
	offset, length int64
	key            []byte
}

// openTable reads the index of a table. The error is what is wrong with it, a Damage if it is the index.
func openTable(path string) (t *tableFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t = &tableFile{file: f, size: st.Size()}
	index, start, err := t.readIndex()
	if err == nil {
		err = t.list(index, start)
	}
	if err != nil {
		return nil, Damage{Path: path, Offset: start, Err: plain(err)}
	}
	return t, nil
}

func (t *tableFile) Close() error { return t.file.Close() }

// plain takes the file's name off an error: Damage says it.
func plain(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// readIndex reads the index of the blocks and compares its checksum. start is where it lies, as far as it is known.
func (t *tableFile) readIndex() (index []byte, start int64, err error) {
	end := t.size
	length := func(limit int64) (int64, error) {
		b, err := t.read(end-4, 4)
		if err != nil {
			return 0, err
		}
		n := int64(binary.BigEndian.Uint32(b))
		if end -= 4; n > limit || n > end {
			return 0, errLayout
		}
		return n, nil
	}
	n, err := length(maxChecksum)
	if err != nil {
		return nil, end, err
	}
	end -= n
	b, err := t.read(end, n)
	if err != nil {
		return nil, end, err
	}
	checksum := bytes.Clone(b)
	if n, err = length(maxIndex); err != nil {
		return nil, end, err
	}
	start = end - n
	if index, err = t.read(start, n); err != nil {
		return nil, start, err
	}
	return index, start, compare(index, checksum)
}

// read reads bytes, which are good until the next call.
func (t *tableFile) read(offset, length int64) ([]byte, error) {
	if offset < 0 || length < 0 || offset+length > t.size {
		return nil, errLayout
	}
	if int64(cap(t.buffer)) < length {
		t.buffer = make([]byte, length)
	}
	b := t.buffer[:length]
	if _, err := t.file.ReadAt(b, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if err != nil {
		return nil, io.ErrUnexpectedEOF // it became shorter
	}
	return b, nil
}

// compare compares bytes with the message that holds their checksum.
func compare(b, message []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(message, &want); err != nil {
		return ErrChecksum
	}
	if want.Algo != pb.Checksum_CRC32C && want.Algo != pb.Checksum_XXHash64 {
		return ErrChecksum // y.CalculateChecksum would panic
	}
	if y.CalculateChecksum(b, want.Algo) != want.Sum {
		return ErrChecksum
	}
	return nil
}

// list takes the blocks from an index whose checksum was good.
func (t *tableFile) list(index []byte, start int64) (err error) {
	defer func() {
		if r := recover(); r != nil { // flatbuffers believe what they read
			err = fmt.Errorf("%w: %v", errLayout, r)
		}
	}()
	root := fb.GetRootAsTableIndex(index, 0)
	var next int64
	for i := range root.OffsetsLength() {
		var o fb.BlockOffset
		if !root.Offsets(&o, i) {
			return errLayout
		}
		b := block{int64(o.Offset()), int64(o.Len()), bytes.Clone(o.KeyBytes())}
		if b.offset != next || b.length < minBlock || b.offset+b.length > start {
			return errLayout
		}
		next = b.offset + b.length
		t.blocks = append(t.blocks, b)
	}
	return nil
}

// check reads a block and compares its checksum.
func (t *tableFile) check(b block) ([]byte, error) {
	data, err := t.read(b.offset, b.length)
	if err != nil {
		return nil, plain(err)
	}
	n := int64(binary.BigEndian.Uint32(data[len(data)-4:]))
	if n > maxChecksum || n > b.length-8 {
		return nil, ErrChecksum
	}
	end := b.length - 4 - n
	return data, compare(data[:end], data[end:end+n])
}

// Bits and sizes of Badger's entries.
const (
	entryHeader = 4    // bytes that a key has in common with the first, bytes that follow; two each, in the machine's order
	versionSize = 8    // behind a key
	deleted     = 0x01 // of the first byte of a value
	valueHeader = 3    // that byte, one of the user's, and when the entry ends
)

// filler is a block of the length of b that Badger can read and that says nothing: it deletes a key that nobody has, the
// first one with a zero behind it, so that the order of keys is kept. Where that does not fit it deletes the first one.
func filler(b block) []byte {
	const checksumSize = 6
	key := b.key
	room := b.length - entryHeader - valueHeader - 4 - 4 - checksumSize - 4
	if n := len(key) - versionSize; n >= 0 && int64(len(key)) < room {
		key = bytes.Join([][]byte{key[:n], {0}, key[n:]}, nil)
	}
	if int64(len(key)) > room {
		return nil
	}
	out := make([]byte, 0, b.length)
	out = binary.NativeEndian.AppendUint16(out, 0)
	out = binary.NativeEndian.AppendUint16(out, uint16(len(key)))
	out = append(out, key...)
	out = append(out, deleted, 0, 0)
	out = append(out, make([]byte, room-int64(len(key)))...)
	out = binary.NativeEndian.AppendUint32(out, 0) // the only entry begins at 0
	out = binary.BigEndian.AppendUint32(out, 1)
	return binary.BigEndian.AppendUint32(append(out, checksum(out)...), checksumSize)
}

// checksum is the message of a CRC-32C, always of the same length: its number in five bytes whatever it is.
func checksum(b []byte) []byte {
	sum := crc32.Checksum(b, y.CastagnoliCrcTable)
	message := []byte{2 << 3}
	for range 4 {
		message = append(message, byte(sum)|0x80)
		sum >>= 7
	}
	return append(message, byte(sum))
}
