package restore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/spool"
)

// imageError is a failure that is an image's own.
type imageError struct {
	err   error
	again bool // may be gone if the image is downloaded anew
}

func (e *imageError) Error() string { return e.err.Error() }
func (e *imageError) Unwrap() error { return e.err }

func wrong(format string, args ...any) error {
	return &imageError{err: fmt.Errorf(format, args...)}
}

// fetch downloads an image unless it is stored, and stores it. Errors are *imageError, or concern more than the image.
func (j *job) fetch(ctx context.Context, image *cloud.Image) (outcome string, n int64, err error) {
	sop := dicom.UID(image.SOPInstanceUID)
	if sop == "" || len(sop) > 128 || image.DownloadURL == "" {
		return "", 0, wrong("the platform lists it without SOP Instance UID or without an address")
	}
	stored, err := j.stored(sop)
	if err != nil || stored {
		return outcomePresent, 0, err
	}
	d, err := j.o.Cloud.Open(ctx, image.DownloadURL)
	if err != nil {
		return "", 0, &imageError{err: err} // Open has tried again where that helps
	}
	defer d.Close()
	n, err = j.store(d, sop)
	return outcomeRestored, n, err
}

// stored tells whether the study has an instance whose bytes are there.
func (j *job) stored(sop dicom.UID) (bool, error) {
	versions, err := j.o.Store.LookupSOP(sop)
	for _, in := range versions {
		if in.StudyInstanceUID == j.study && in.State == spool.InstanceStored && in.Flags&spool.FlagDamaged == 0 {
			return true, nil
		}
	}
	return false, err
}

// download is what arrives, with the digests that the platform lets it be compared with.
type download struct {
	*cloud.Download
	file    hash.Hash // nil if nothing says what it is to be
	dataSet hash.Hash // likewise
	n       int64
}

func newDownload(d *cloud.Download) *download {
	in := &download{Download: d}
	if d.Digest() != nil || d.TagDigest() != nil {
		in.file = sha256.New()
	}
	if d.TagDigest() != nil {
		in.dataSet = sha256.New()
	}
	return in
}

func (d *download) Read(p []byte) (int, error) {
	n, err := d.Download.Read(p)
	d.n += int64(n)
	if d.file != nil {
		d.file.Write(p[:n])
	}
	return n, err
}

// right compares what has come with its digests. The entity tag may be that of the file, or as a dcmgate's that of the data
// set.
func (d *download) right() error {
	if sum := d.Digest(); sum != nil && !bytes.Equal(sum, d.file.Sum(nil)) {
		return &imageError{err: errors.New("its bytes have another digest than the platform says"), again: true}
	}
	if sum := d.TagDigest(); sum != nil && !bytes.Equal(sum, d.file.Sum(nil)) && !bytes.Equal(sum, d.dataSet.Sum(nil)) {
		return &imageError{err: errors.New("its bytes have another digest than its entity tag says"), again: true}
	}
	return nil
}

// store stores a file of which the platform says that it is an instance.
func (j *job) store(file *cloud.Download, sop dicom.UID) (n int64, err error) {
	d := newDownload(file)
	r := bufio.NewReaderSize(d, 64<<10)
	meta, _, err := dicom.ReadFileMeta(r)
	switch {
	case errors.Is(err, dicom.ErrNotDICOM) || errors.As(err, new(*dicom.FormatError)):
		return 0, wrong("what comes is no DICOM file")
	case err != nil:
		return 0, &imageError{err: err, again: errors.Is(err, cloud.ErrChanged)}
	case meta.SOPInstanceUID != sop || meta.SOPClassUID == "":
		return 0, wrong("what comes is another instance")
	}
	w, err := j.o.Store.Begin(spool.Incoming{
		SOPClassUID: meta.SOPClassUID, SOPInstanceUID: sop, TransferSyntaxUID: meta.TransferSyntaxUID,
		CallingAETitle: meta.SourceAETitle, CalledAETitle: j.o.AETitle, RemoteAddress: j.o.Source, AssociationID: "restore", Requested: true,
	})
	if err != nil {
		return 0, fmt.Errorf("store what was downloaded: %w", err)
	}
	defer w.Abort()
	if err := d.copyTo(w, r); err != nil {
		return 0, err
	}
	if study := w.Metadata().UID(dicom.TagStudyInstanceUID); study != j.study {
		return 0, wrong("what comes is an instance of another study")
	}
	if err := d.right(); err != nil {
		return 0, err
	}
	if _, err := w.Commit(nil); err != nil {
		return 0, fmt.Errorf("store what was downloaded: %w", err)
	}
	return d.n, nil
}

// copyTo copies the data set.
func (d *download) copyTo(w *spool.Writer, r io.Reader) error {
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		if d.dataSet != nil {
			d.dataSet.Write(buf[:n])
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("store what is downloaded: %w", err)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &imageError{err: err, again: errors.Is(err, cloud.ErrChanged)}
		}
	}
}
