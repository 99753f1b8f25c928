// Package faultdisk is a file system for tests whose calls fail on demand: a FUSE mount of a directory, so that the kernel
// itself gives the errors to whoever uses it, page cache, mmap and all. Do not map files of it into the memory of the
// process that serves it: a thread that waits for a page holds up Go's scheduler, which has to serve the page. [MountApart] is
// for what does.
package faultdisk

import (
	"fmt"
	"os"
	"path"
	"sync"
	"syscall"
	"testing"

	"dcmgate/internal/peertest"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Op is a call to the file system.
type Op string

// The calls that can fail. The kernel answers some of them from its caches, and asks nobody.
const (
	OpCreate   Op = "create"   // open(2) that makes the file
	OpOpen     Op = "open"     // for reading
	OpOpenRW   Op = "openrw"   // for writing
	OpRead     Op = "read"     //
	OpWrite    Op = "write"    //
	OpSync     Op = "sync"     // fsync(2) or fdatasync(2) of a file
	OpSyncDir  Op = "syncdir"  // fsync(2) of a directory
	OpAllocate Op = "allocate" // fallocate(2) that reserves
	OpPunch    Op = "punch"    // fallocate(2) that punches a hole
	OpTruncate Op = "truncate" // by descriptor or name
	OpRename   Op = "rename"   //
	OpRemove   Op = "remove"   // of a file or directory
	OpMkdir    Op = "mkdir"    //
	OpList     Op = "list"     // readdir(3)
	OpStat     Op = "stat"     //
	OpStatFS   Op = "statfs"   //
	OpLink     Op = "link"     // hard ones; symbolic ones, FIFOs and sockets
	OpAttr     Op = "attr"     // chmod(2) and the like
	OpClose    Op = "close"    // as network file systems may fail it
)

// Changes tells whether the call changes something: those that a read-only file system refuses.
func (op Op) Changes() bool {
	switch op {
	case OpOpen, OpRead, OpList, OpStat, OpStatFS, OpClose:
		return false
	}
	return true
}

// Fault says with which error a call fails; 0: it does not. path is relative to the mount point, "." itself. It is called
// by several goroutines at once.
type Fault func(op Op, path string) syscall.Errno

// Disk is a mounted file system.
type Disk struct {
	fuse.RawFileSystem

	server *fuse.Server
	served chan struct{} // closed at the end
	torn   bool          // half of what a failing write was given is written

	mu    sync.Mutex
	fault Fault
	paths map[uint64]string // by node
}

// Mount mounts a disk at dir until the test ends; what is written there is kept in a directory of its own. It needs root and
// /dev/fuse: without, the test is skipped, and fails in CI.
func Mount(t testing.TB, dir string) *Disk {
	t.Helper()
	if os.Geteuid() != 0 {
		peertest.Missing(t, "mounting a file system needs root")
	}
	d, err := mount(t.TempDir(), dir)
	if err != nil {
		peertest.Missing(t, fmt.Sprintf("no FUSE file system can be mounted: %v", err))
	}
	t.Cleanup(func() {
		d.Fail(nil)
		if err := d.server.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
			return
		}
		<-d.served
	})
	return d
}

// mount mounts a disk whose files are kept in another directory.
func mount(below, dir string) (*Disk, error) {
	root, err := fs.NewLoopbackRoot(below)
	if err != nil {
		return nil, err
	}
	d := &Disk{RawFileSystem: fs.NewNodeFS(root, &fs.Options{}), paths: map[uint64]string{fuse.FUSE_ROOT_ID: "."}, served: make(chan struct{})}
	d.server, err = fuse.NewServer(d, dir, &fuse.MountOptions{
		FsName: "faultdisk", Name: "faultdisk", DirectMountStrict: true, DisableReadDirPlus: true, MaxWrite: 1 << 20, MaxStackDepth: -1, // or the kernel would call the files behind by itself
	})
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(d.served)
		d.server.Serve()
	}()
	return d, d.server.WaitMount()
}

// Fail has calls fail from now on as f says; nil: none does.
func (d *Disk) Fail(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
}

// FailChanges has every call fail that changes something.
func (d *Disk) FailChanges(errno syscall.Errno) {
	d.Fail(func(op Op, _ string) syscall.Errno {
		if op.Changes() {
			return errno
		}
		return 0
	})
}

// ask tells how a call on a node ends, or, with a name, on what has that name in the directory that is the node.
func (d *Disk) ask(op Op, node uint64, name string) fuse.Status {
	d.mu.Lock()
	fault, at := d.fault, path.Join(d.paths[node], name)
	d.mu.Unlock()
	if fault == nil {
		return fuse.OK
	}
	return fuse.Status(fault(op, at))
}

// learn notes where a node is.
func (d *Disk) learn(node, parent uint64, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paths[node] = path.Join(d.paths[parent], name)
}
