package images

import (
	"bytes"
	"errors"
	"testing"

	"dcmgate/internal/faultdisk"
)

// TestStoringOnAFailingDisk has each call fail that storing an image makes, once or from then on. What was acknowledged can be
// read, what was not can be stored once the disk works, and the records are as many as were acknowledged.
func TestStoringOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	dir := disk.Dir + "/images"
	s := open(t, dir, Options{})
	var acknowledged []Image
	try := func(rule faultdisk.Rule, stride int) {
		disk.Each(t, rule, stride, func(failing func(func())) {
			data := encoded(t, PNG, 8+len(acknowledged), 8) // another one each time
			in := Incoming{Source: FromCommand, Identifiers: one, Body: bytes.NewReader(data)}
			var out Image
			var added bool
			var err error
			failing(func() { out, added, err = s.Add(t.Context(), in) })
			if err != nil && Refusal(err) {
				t.Errorf("the image is said to be at fault: %v", err)
			}
			if (err == nil) != added {
				t.Errorf("added %v, %v", added, err)
			}
			if err != nil {
				in.Body = bytes.NewReader(data)
				if out, _, err = s.Add(t.Context(), in); err != nil {
					t.Fatalf("once the disk works: %v", err)
				}
			}
			acknowledged = append(acknowledged, out)
		})
	}
	for _, errno := range faultdisk.Errnos {
		try(faultdisk.Rule{Errno: errno}, 2)
		try(faultdisk.Rule{Errno: errno, Times: 1}, 4)
	}
	for range 2 { // before and after a start
		list, err := s.Changes(t.Context(), 0, 1000)
		if err != nil || len(list) != len(acknowledged) {
			t.Errorf("%d records of %d images, %v", len(list), len(acknowledged), err)
		}
		for i := range acknowledged {
			f, in, err := s.Content(t.Context(), acknowledged[i].ID)
			if err != nil || in.Sequence != uint64(i+1) || in.Digest != acknowledged[i].Digest {
				t.Errorf("image %d: %v, %+v", i, err, in)
			}
			f.Close()
		}
		if r, err := s.Verify(t.Context(), nil); err != nil || r.Damaged != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		s = open(t, dir, Options{})
	}
}

// TestWithdrawingOnAFailingDisk: what fails is done by the next attempt, or the next start.
func TestWithdrawingOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	dir := disk.Dir + "/images"
	s := open(t, dir, Options{})
	data := encoded(t, JPEG, 40, 30)
	for i, errno := range faultdisk.Errnos {
		disk.Each(t, faultdisk.Rule{Errno: errno}, 3, func(failing func(func())) {
			in, _ := add(t, s, one, data)
			var err error
			failing(func() { _, err = s.Withdraw(t.Context(), in.ID, "wrong patient") })
			f, _, shown := s.Content(t.Context(), in.ID)
			f.Close()
			if err == nil && !errors.Is(shown, ErrWithdrawn) {
				t.Errorf("withdrawn, and shown: %v", shown)
			}
			if i == 0 && errors.Is(shown, ErrWithdrawn) {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				s = open(t, dir, Options{})
			} else if _, err := s.Withdraw(t.Context(), in.ID, "wrong patient"); err != nil {
				t.Errorf("once the disk works: %v", err)
			}
			if n := files(t, dir); n != 0 {
				t.Errorf("%d files are left", n)
			}
		})
	}
}
