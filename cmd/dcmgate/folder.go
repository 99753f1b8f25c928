package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// maxSameName bounds the files that may have the same UIDs and other content.
const maxSameName = 1000

// folder writes instances as Part 10 files, named by their SOP Instance UID. A file has its name only once it is whole, and
// nothing is ever replaced. Names cannot leave the folder whatever the UIDs are.
type folder struct {
	root *os.Root

	mu       sync.Mutex
	files    int   // written
	existing int   // that were there with the same content
	bytes    int64 // of data sets
	renamed  []string
	fault    error // the first failure to write
}

func openFolder(dir string) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("--out: %w", err)
	}
	return &folder{root: root}, nil
}

func (f *folder) close() { _ = f.root.Close() } // of a folder there is nothing to lose

// sync makes the names durable. The files are already.
func (f *folder) sync() error {
	d, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// store is the C-STORE of the association.
func (f *folder) store(_ context.Context, rq *dimse.Request) (dimse.Status, string) {
	c := &rq.Command
	if c.AffectedSOPInstanceUID == "" {
		return dimse.StatusInvalidSOPInstance, "Affected SOP Instance UID is missing"
	}
	meta := dicom.FileMeta{SOPClassUID: c.AffectedSOPClassUID, SOPInstanceUID: c.AffectedSOPInstanceUID, TransferSyntaxUID: rq.Context.TransferSyntax}
	if meta.SOPClassUID == "" {
		meta.SOPClassUID = rq.Context.AbstractSyntax
	}
	n, err := f.write(meta, rq.Data)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes += n
	switch {
	case err == nil:
		return dimse.StatusSuccess, ""
	case errors.As(err, new(*lostError)):
		return dimse.StatusProcessingFailure, "" // the association has ended
	}
	if f.fault == nil {
		f.fault = err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return dimse.StatusOutOfResources, "no room"
	}
	return dimse.StatusProcessingFailure, "the file cannot be written"
}

// lostError is a data set that did not come whole.
type lostError struct{ error }

// write writes one instance. It returns the bytes of its data set.
func (f *folder) write(meta dicom.FileMeta, data io.Reader) (n int64, err error) {
	temporary := ".dcmgate-" + rand.Text() + ".part"
	file, err := f.root.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		file.Close()
		_ = f.root.Remove(temporary) // gone already if it was renamed
	}()
	if _, err := file.Write(meta.Append(nil)); err != nil {
		return 0, err
	}
	target := &fileWriter{file: file}
	if n, err = io.Copy(target, data); target.err != nil {
		return n, target.err
	}
	if err != nil {
		return n, &lostError{err}
	}
	if err := file.Sync(); err != nil {
		return n, err
	}
	return n, f.place(temporary, file, meta.SOPInstanceUID)
}

// fileWriter remembers a failed write, to tell it from a failed read after io.Copy.
type fileWriter struct {
	file *os.File
	err  error
}

// Write implements io.Writer.
func (w *fileWriter) Write(p []byte) (n int, err error) {
	n, w.err = w.file.Write(p)
	return n, w.err
}

// place gives a whole file its name. If there is one with other content it gets the first name that is free.
func (f *folder) place(temporary string, file *os.File, uid dicom.UID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range maxSameName {
		name := fileName(uid, i)
		err := f.name(temporary, name)
		switch {
		case err == nil:
			f.files++
			if i > 0 {
				f.renamed = append(f.renamed, name)
			}
			return nil
		case !errors.Is(err, fs.ErrExist):
			return err
		}
		if same, err := f.holds(name, file); err != nil || same {
			if same {
				f.existing++
			}
			return err
		}
	}
	return fmt.Errorf("%s: %d files of that name with other content are there", fileName(uid, 0), maxSameName)
}

// fileName is a name for the nth content of an instance. A UID that is none is not used for it.
func fileName(uid dicom.UID, n int) string {
	name := string(uid)
	if uid.Valid() != nil {
		name = fmt.Sprintf("uid-%x", sha256.Sum256([]byte(uid)))[:36]
	}
	if n > 0 {
		name += fmt.Sprintf("-%d", n+1)
	}
	return name + ".dcm"
}

// name renames a file unless there is one of that name, which is fs.ErrExist. Where the file system has no hard links, nothing
// but this process may write to the folder meanwhile.
func (f *folder) name(temporary, name string) error {
	err := f.root.Link(temporary, name)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := f.root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return err
	}
	return f.root.Rename(temporary, name)
}

// holds tells whether the file of a name has the same content as another.
func (f *folder) holds(name string, other *os.File) (bool, error) {
	if info, err := f.root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	file, err := f.root.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	if _, err := other.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	return sameContent(file, other)
}

// sameContent compares two files from where they are.
func sameContent(a, b io.Reader) (bool, error) {
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		for _, err := range []error{errA, errB} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if errA != nil || errB != nil {
			return errA != nil && errB != nil, nil
		}
	}
}
