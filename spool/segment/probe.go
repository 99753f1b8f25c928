package segment

import (
	"errors"
	"fmt"
	"os"
)

// probeName is the file that Probe writes. parseName does not take it for a segment.
const probeName = "probe"

// Probe finds out whether the directory takes durable writes: it makes a file of one block, syncs it and the directory, and
// removes it. An error says what the disk answered; ErrNoSpace that it is full.
func (s *Store) Probe() error {
	return s.guarded(func() error {
		if _, _, err := s.disk.usage(); err != nil {
			return err
		}
		if err := s.probe(); err != nil {
			return fmt.Errorf("segments: probe: %w", asNoSpace(err))
		}
		return nil
	})
}

func (s *Store) probe() error {
	f, err := s.disk.create(probeName)
	if errors.Is(err, os.ErrExist) { // left by a process that died here, or that could not remove it
		f, err = s.disk.open(probeName)
	}
	if err != nil {
		return err
	}
	return errors.Join(writeBlock(f), s.disk.sync(), f.Close(), s.disk.remove(probeName))
}

// writeBlock writes the first block of a file as a record's would be.
func writeBlock(f file) error {
	if err := f.allocate(0, Alignment); err != nil && !errors.Is(err, errUnsupported) {
		return err
	}
	if _, err := f.WriteAt(zeros[:], 0); err != nil {
		return err
	}
	return f.datasync()
}
