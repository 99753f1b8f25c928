// Package mrdata carries the real MR images that the demonstration and the tests send: 608 instances of two
// studies of a phantom (no patient), from a GE and a Siemens scanner, uncompressed.
//
// Origin: the public repository neurolabusc/dcm_qa_nih, folder In; BSD 2-Clause, see LICENSE beside this file. The
// files are unchanged; they are kept in one compressed archive so that a single binary can demonstrate itself.
package mrdata

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

//go:embed mr.tar.zst
var archive []byte

// Count is the number of instances in the archive.
const Count = 608

// File is one Part 10 file of the archive.
type File struct {
	Name string // path within the archive, such as "20180918GE/mr_0004/….dcm"
	Data []byte // the whole file
}

// Walk calls visit with every file, in the archive's order, one in memory at a time. File.Data is the visitor's to keep.
// It ends early with visit's error.
func Walk(visit func(File) error) error {
	z, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return fmt.Errorf("open the MR archive: %w", err)
	}
	defer z.Close()
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the MR archive: %w", err)
		}
		if path.Ext(h.Name) != ".dcm" {
			continue
		}
		data := make([]byte, h.Size)
		if _, err := io.ReadFull(t, data); err != nil {
			return fmt.Errorf("read %s from the MR archive: %w", h.Name, err)
		}
		if err := visit(File{Name: strings.TrimPrefix(h.Name, "./"), Data: data}); err != nil {
			return err
		}
	}
}
