package machine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// FileSystem describes the file system of a folder.
type FileSystem struct {
	Name     string // such as ext4; a hexadecimal number if it is not known here
	InMemory bool   // it keeps nothing on a disk
	Remote   bool   // it is another machine's
	Free     int64  // bytes left to those who are not root
	Total    int64  // bytes
	ReadOnly bool
}

// kinds are the file systems that gateways are put on (statfs(2)).
var kinds = map[uint32]FileSystem{
	0xef53: {Name: "ext4"}, 0x58465342: {Name: "xfs"}, 0x9123683e: {Name: "btrfs"}, 0x2fc12fc1: {Name: "zfs"}, 0xf2f52010: {Name: "f2fs"},
	0x794c7630: {Name: "overlay"}, 0x65735546: {Name: "fuse"},
	0x6969: {Name: "nfs", Remote: true}, 0xff534d42: {Name: "cifs", Remote: true}, 0xfe534d42: {Name: "smb2", Remote: true},
	0x517b: {Name: "smb", Remote: true}, 0x00c36400: {Name: "ceph", Remote: true}, 0x0bd00bd0: {Name: "lustre", Remote: true}, 0x01021997: {Name: "9p", Remote: true},
	0x01021994: {Name: "tmpfs", InMemory: true}, 0x858458f6: {Name: "ramfs", InMemory: true},
}

// FileSystemOf describes the file system that a folder is on.
func FileSystemOf(dir string) (FileSystem, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return FileSystem{}, fmt.Errorf("%s: %w", dir, err)
	}
	f, known := kinds[uint32(s.Type)]
	if !known {
		f.Name = fmt.Sprintf("%#x", uint32(s.Type))
	}
	f.Free, f.Total = int64(s.Bavail)*int64(s.Bsize), int64(s.Blocks)*int64(s.Bsize)
	f.ReadOnly = s.Flags&unix.ST_RDONLY != 0
	return f, nil
}

// Doubt says why a gateway had better not keep its data on such a file system, and what to do; both are "" if nothing speaks against it.
func (f *FileSystem) Doubt() (why, remedy string) {
	switch {
	case f.InMemory:
		return f.Name + " is kept in memory: everything is lost when the machine stops", "set data_dir to a folder on a disk"
	case f.Remote:
		return f.Name + " is another machine's: that a second gateway is kept off (flock), and that what senders were told is stored survives a loss of power (fsync), is only as true as that machine and its mount options make it",
			"set data_dir to a folder on a local disk"
	}
	return "", ""
}

// Memory is how many bytes the machine has; 0 if it does not tell.
func Memory() int64 {
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) != nil {
		return 0
	}
	return int64(s.Totalram) * int64(s.Unit)
}

// ClockSynchronized reports whether the system's clock follows a time server (adjtimex(2)), and whether that is known.
func ClockSynchronized() (synchronized, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, false
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, true
}
