package images

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Report is the result of reading back what is stored.
type Report struct {
	Images   int64 // records, without the withdrawn ones
	Bytes    int64
	Problems []Problem // the first of them
	Damaged  int64     // records with a problem
	// Orphans are files without a record that were removed: of a crash before their images were acknowledged.
	Orphans int64
}

// Problem is an image that cannot be read as it was stored.
type Problem struct {
	ID   string
	What string
}

const (
	maxProblems = 100
	verifyPage  = 500
	// orphanAge keeps what is being stored at this moment from being taken for an orphan.
	orphanAge = 10 * time.Minute
)

// Verify compares every image with its digest, and removes files that belong to none. progress, which may be nil, is
// told how many images were read.
func (s *Store) Verify(ctx context.Context, progress func(done int64)) (r Report, err error) {
	for behind := uint64(0); ; {
		list, err := s.Changes(ctx, behind, verifyPage)
		if err != nil {
			return r, err
		}
		if len(list) == 0 {
			break
		}
		for i := range list {
			if behind = list[i].Sequence; !list[i].Withdrawn {
				if err := s.verify(ctx, &list[i], &r); err != nil {
					return r, err
				}
			}
		}
		if progress != nil {
			progress(r.Images)
		}
	}
	r.Orphans, err = s.sweep(ctx)
	return r, err
}

func (s *Store) verify(ctx context.Context, in *Image, r *Report) error {
	f, now, err := s.Content(ctx, in.ID)
	switch {
	case err == nil:
		r.Images++
		r.Bytes += now.Size
		return f.Close()
	case errors.Is(err, ErrWithdrawn): // meanwhile
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	r.Images++
	r.Damaged++
	s.metrics.damaged.Inc()
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{in.ID, err.Error()})
	}
	return nil
}

// sweep removes files that no image has.
func (s *Store) sweep(ctx context.Context) (removed int64, err error) {
	old := s.o.Now().Add(-orphanAge)
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if d.IsDir() && d.Name() == incomingDir {
			return fs.SkipDir
		}
		name, _, _ := strings.Cut(d.Name(), ".")
		digest, notDigest := hex.DecodeString(name)
		if d.IsDir() || notDigest != nil || len(digest) != 32 {
			return nil
		}
		info, err := d.Info()
		if err != nil || info.ModTime().After(old) {
			return err
		}
		orphan, err := s.sweepFile(ctx, path, digest)
		if orphan {
			removed++
		}
		return err
	})
	return removed, err
}

func (s *Store) sweepFile(ctx context.Context, path string, digest []byte) (removed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shared, err := s.index.shared(ctx, &Image{Digest: [32]byte(digest)})
	if err != nil || shared {
		return false, err
	}
	return true, os.Remove(path)
}
