// Package faultdisk is a file system for tests whose calls fail on demand: a FUSE mount of a directory, so that the kernel
// itself gives the errors to whoever uses it, page cache, mmap and all. A process of its own serves it, as one that served what
// it uses could neither map files of it into memory (a thread that waits for a page holds up Go's scheduler, which has to
// serve the page) nor end while it has files of it open.
package faultdisk

import (
	"path"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
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

// disk is a mounted file system.
type disk struct {
	fuse.RawFileSystem

	// fault says with which error a call fails; 0: it does not. path is relative to the mount point, "." itself. It is called
	// by several goroutines at once.
	fault func(op Op, path string) syscall.Errno

	caching bool // what is written stays in the kernel's cache for a while

	mu    sync.Mutex
	paths map[uint64]string // by node
}

// mount mounts a disk whose files are kept in another directory.
func mount(below, dir string, caching bool, fault func(Op, string) syscall.Errno) error {
	root, err := fs.NewLoopbackRoot(below)
	if err != nil {
		return err
	}
	d := &disk{RawFileSystem: fs.NewNodeFS(root, &fs.Options{}), fault: fault, caching: caching, paths: map[uint64]string{fuse.FUSE_ROOT_ID: "."}}
	o := &fuse.MountOptions{
		FsName: "faultdisk", Name: "faultdisk", DirectMountStrict: true, DisableReadDirPlus: true, MaxWrite: 1 << 20, MaxStackDepth: -1, // or the kernel would call the files behind by itself
	}
	if caching {
		o.ExtraCapabilities = fuse.CAP_WRITEBACK_CACHE
	}
	server, err := fuse.NewServer(d, dir, o)
	if err != nil {
		return err
	}
	go server.Serve() // until the process ends
	return server.WaitMount()
}

// ask tells how a call on a node ends, or, with a name, on what has that name in the directory that is the node.
func (d *disk) ask(op Op, node uint64, name string) fuse.Status {
	d.mu.Lock()
	at := path.Join(d.paths[node], name)
	d.mu.Unlock()
	return fuse.Status(d.fault(op, at))
}

// keepCache has the kernel keep its cache from one opening of a file to the next. It reads the file then to fill pages that
// are written in part.
func (d *disk) keepCache(flags *uint32, out *fuse.OpenOut, open func() fuse.Status) fuse.Status {
	if d.caching && *flags&unix.O_ACCMODE == unix.O_WRONLY {
		*flags = *flags&^unix.O_ACCMODE | unix.O_RDWR
	}
	status := open()
	if d.caching {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	return status
}

// learn notes where a node is.
func (d *disk) learn(node, parent uint64, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paths[node] = path.Join(d.paths[parent], name)
}
