package forwarder

import (
	"bytes"
	"crypto/sha256"
	"sync"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

// versions are two instances of the same UIDs in a spool, the later one last.
func versions(t *testing.T) (s *spool.Spool, uid dicom.UID, first, last [32]byte) {
	t.Helper()
	s, _ = fill(t, 0, 1000)
	older := synth.NewTemplate(1000, 1).Object(1, 1, 1)
	newer := older
	newer.Data = bytes.Clone(older.Data)
	newer.Data[len(newer.Data)-1] ^= 1
	store(t, s, older)
	store(t, s, newer)
	return s, dicom.UID(older.SOPInstanceUID), sha256.Sum256(older.Data), sha256.Sum256(newer.Data)
}

// The destination is left with the version that came last, also where the one before has to be repeated.
func TestVersionsGoInTheirOrder(t *testing.T) {
	for _, window := range []uint16{1, 8} {
		s, uid, _, last := versions(t)
		a := &archive{window: window, receive: func(n int, _ *dimse.Request) dimse.Status {
			if n == 0 {
				return dimse.StatusOutOfResources
			}
			return dimse.StatusSuccess
		}}
		deliver(t, s, Destination{Address: a.serve(t), Policy: quick})
		a.mu.Lock()
		if a.copies[uid] != 2 || a.digests[uid] != last {
			t.Errorf("window %d: %d copies, the last one %v", window, a.copies[uid], a.digests[uid] == last)
		}
		a.mu.Unlock()
	}
}

// A destination that has an instance already (0111) has another one than the later version: that is no delivery.
func TestDuplicateIsNoDeliveryOfALaterVersion(t *testing.T) {
	s, _, _, _ := versions(t)
	var once sync.Once
	a := &archive{window: 1, receive: func(int, *dimse.Request) dimse.Status {
		status := dimse.StatusDuplicateSOPInstance
		once.Do(func() { status = dimse.StatusSuccess })
		return status
	}}
	deliver(t, s, Destination{Address: a.serve(t), Policy: quick})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Counts()["cloud"], (spool.JobCounts{Delivered: 1, Parked: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	jobs, _, err := s.Jobs(spool.JobFilter{State: spool.JobParked}, "", 10)
	if err != nil || len(jobs) != 1 || jobs[0].Code != "other-version" || jobs[0].Instance.Flags&spool.FlagNewVersion == 0 {
		t.Errorf("%+v, %v", jobs, err)
	}
}
