package spool_test

import (
	"io"
	"testing"

	"dcmgate/spool"
	"dcmgate/spool/spooltest"
)

// conforming lets the suite drive a Spool.
type conforming struct{ *spool.Spool }

func (c conforming) Store(in spool.Incoming, data []byte, jobs []spool.JobSpec) (spool.Receipt, error) {
	w, err := c.Begin(in)
	if err != nil {
		return spool.Receipt{}, err
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		return spool.Receipt{}, err
	}
	return w.Commit(jobs)
}

func (c conforming) Read(id spool.InstanceID) ([]byte, error) {
	r, err := c.Open(id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r.DataSet())
}

func TestConformance(t *testing.T) {
	opened := map[string]*spool.Spool{}
	spooltest.Run(t, func(t *testing.T, dir string) spooltest.Implementation {
		if before := opened[dir]; before != nil {
			if err := before.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s, err := spool.Open(dir, spool.Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		opened[dir] = s
		t.Cleanup(func() { _ = s.Close() })
		return conforming{s}
	})
}
