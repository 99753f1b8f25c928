package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"dcmgate/dicom"
	"dcmgate/transfer"
)

// found is what looking through the paths of a command line gave.
type found struct {
	items   []*transfer.Item
	paths   map[*transfer.Item]string
	bytes   int64
	skipped int      // files that are not DICOM
	faults  []string // what could not be read, one line each
}

// findInstances walks files and folders and reads the head of each file.
func findInstances(ctx context.Context, paths []string) (*found, error) {
	f := &found{paths: make(map[*transfer.Item]string)}
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil && path == root:
				return usageError{err}
			case err != nil:
				f.faults = append(f.faults, err.Error())
			case d.Type().IsRegular() || path == root && !d.IsDir():
				f.add(path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// add looks at one file.
func (f *found) add(path string) {
	item, err := readItem(path)
	switch {
	case errors.Is(err, dicom.ErrNotDICOM):
		f.skipped++
	case err != nil:
		f.faults = append(f.faults, fmt.Sprintf("%s: %v", path, err))
	case filepath.Base(path) == "DICOMDIR":
		f.skipped++ // a directory of instances is none itself
	default:
		f.items = append(f.items, item)
		f.paths[item] = path
		f.bytes += item.Size
	}
}

// readItem reads a file's File Meta Information; its data set is left where it
// is until its turn comes.
func readItem(path string) (*transfer.Item, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	meta, header, err := dicom.ReadFileMeta(bufio.NewReaderSize(file, 8<<10))
	if err != nil {
		return nil, err
	}
	if meta.SOPClassUID == "" || meta.SOPInstanceUID == "" {
		return nil, errors.New("names no SOP class or SOP instance")
	}
	return &transfer.Item{
		Pair:           transfer.Pair{SOPClassUID: meta.SOPClassUID, TransferSyntaxUID: meta.TransferSyntaxUID},
		SOPInstanceUID: meta.SOPInstanceUID,
		Size:           info.Size() - header,
		Open:           func() (io.ReadCloser, error) { return openDataSet(path, header) },
	}, nil
}

// openDataSet opens a file at its data set.
func openDataSet(path string, header int64) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(header, io.SeekStart); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
