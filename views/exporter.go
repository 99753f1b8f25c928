package views

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Opener opens instances; [spool.Spool] is one.
type Opener interface {
	Open(id spool.InstanceID) (*spool.Reader, error)
	Host
}

// Exporter copies instances as Part 10 files into a shared folder. It implements [Files].
type Exporter struct {
	*folder
	spool Opener
}

// NewExporter makes the folder if it is not there and throws away what an earlier run left half written. prefix stands for
// the root in FilePathName: an address, or \\SERVER\SHARE, which gets backslashes; "" is the root itself.
func NewExporter(s Opener, root, prefix string) (*Exporter, error) {
	to, err := openFolder(s, root, prefix)
	if err != nil {
		return nil, err
	}
	return (&Exporter{to, s}).Renamed(prefix), nil
}

// Renamed is the exporter with another prefix, for publishers that take over from those that have this one.
func (e *Exporter) Renamed(prefix string) *Exporter {
	if prefix == "" {
		prefix = e.root
	}
	return &Exporter{e.renamed(prefix), e.spool}
}

// place is where an instance's file is below the root. Nothing that a sender chooses is part of it. A later version of an
// instance has a place of its own, so that no file ever changes.
func place(in *spool.Instance) string {
	return filepath.Join(folderName(in.StudyInstanceUID), folderName(in.SeriesInstanceUID), in.ID.String()+".dcm")
}

func folderName(uid dicom.UID) string { return rowKey(uid)[:16] }

// Ready implements [Files]. The file is seen whole or not at all, and its data set has the digest that it was received
// with.
func (e *Exporter) Ready(ctx context.Context, in *spool.Instance) (File, error) {
	to := place(in)
	err := e.put(ctx, to, in.HeaderLength+in.Size, in.Received, func(w io.Writer) error { return e.copy(in, w) })
	if errors.Is(err, spool.ErrEvicted) || errors.Is(err, spool.ErrNotFound) || errors.Is(err, spool.ErrDamaged) {
		return File{State: FileMissing}, nil
	}
	return File{Path: e.address(to), State: FileReady}, err
}

func (e *Exporter) copy(in *spool.Instance, to io.Writer) error {
	r, err := e.spool.Open(in.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	w := &digester{w: to, skip: in.HeaderLength, sum: sha256.New()}
	if _, err := r.WriteTo(w); err != nil {
		return err
	}
	if [32]byte(w.sum.Sum(nil)) != in.Digest {
		return fmt.Errorf("instance %s: %w", in.ID, spool.ErrDamaged)
	}
	return nil
}

// digester writes a file and takes the sum of what follows its header.
type digester struct {
	w    io.Writer
	skip int64
	sum  hash.Hash
}

// Write implements io.Writer.
func (d *digester) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	past := min(d.skip, int64(n))
	d.skip -= past
	d.sum.Write(p[past:n])
	return n, err
}

// Remove implements [Files]. Folders that become empty go as well.
func (e *Exporter) Remove(in *spool.Instance) error { return e.remove(place(in), 2) }
