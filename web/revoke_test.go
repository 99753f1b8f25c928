package web

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dcmgate/internal/durable"
	"dcmgate/internal/faultdisk"
)

// TestRevokingOnAFailingDisk has each call fail that revoking makes. What is in force is at every moment what a start at that
// moment would find; it is the old state where the command failed before the new one was in place, and the command works once
// the disk does.
func TestRevokingOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	path := filepath.Join(disk.Dir, "links.json")
	links, _, err := OpenLinks(path)
	if err != nil {
		t.Fatal(err)
	}
	made := time.Now()
	old := link{kind: kindDICOM, made: made}
	for _, errno := range faultdisk.Errnos {
		disk.Each(t, faultdisk.Rule{Errno: errno}, 1, func(failing func(func())) {
			if err := links.RevokeAll(); err != nil { // which forgets the studies
				t.Fatal(err)
			}
			key := links.file.Key
			var err error
			failing(func() { err = links.Revoke("1.2.3", made) })
			revoked := links.revoked("1.2.3", old)
			if err != nil && (!errors.Is(err, errno) || revoked != errors.Is(err, durable.ErrInPlace)) || err == nil && !revoked {
				t.Errorf("revoked %v, %v", revoked, err)
			}
			there, renewed, err := OpenLinks(path)
			if err != nil || renewed || there.revoked("1.2.3", old) != revoked || !bytes.Equal(there.file.Key, key) {
				t.Errorf("after a start: revoked %v, renewed %v, %v", there.revoked("1.2.3", old), renewed, err)
			}
			if err := links.Revoke("1.2.3", made); err != nil || !links.revoked("1.2.3", old) {
				t.Errorf("once the disk works: %v", err)
			}
		})
	}
	if names, err := os.ReadDir(disk.Dir); err != nil || len(names) != 1 {
		t.Errorf("%v are left, %v", names, err)
	}
}
