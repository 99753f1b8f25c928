package faultdisk

import (
	"path"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Each call asks whether it is to fail before it is made; see [fuse.RawFileSystem].

type done = <-chan struct{}

func (d *disk) Lookup(c done, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	status := d.RawFileSystem.Lookup(c, in, name, out)
	if status.Ok() {
		d.learn(out.NodeId, in.NodeId, name)
	}
	return status
}

func (d *disk) Create(c done, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if status := d.ask(OpCreate, in.NodeId, name); !status.Ok() {
		return status
	}
	status := d.keepCache(&in.Flags, &out.OpenOut, func() fuse.Status { return d.RawFileSystem.Create(c, in, name, out) })
	if status.Ok() {
		d.learn(out.NodeId, in.NodeId, name)
	}
	return status
}

func (d *disk) Mkdir(c done, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if status := d.ask(OpMkdir, in.NodeId, name); !status.Ok() {
		return status
	}
	status := d.RawFileSystem.Mkdir(c, in, name, out)
	if status.Ok() {
		d.learn(out.NodeId, in.NodeId, name)
	}
	return status
}

func (d *disk) Rename(c done, in *fuse.RenameIn, from, to string) fuse.Status {
	if status := d.ask(OpRename, in.NodeId, from); !status.Ok() {
		return status
	}
	status := d.RawFileSystem.Rename(c, in, from, to)
	if !status.Ok() {
		return status
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := path.Join(d.paths[in.NodeId], from)
	for node, at := range d.paths {
		if at == old {
			d.paths[node] = path.Join(d.paths[in.Newdir], to)
		}
	}
	return status
}

func (d *disk) Unlink(c done, in *fuse.InHeader, name string) fuse.Status {
	if status := d.ask(OpRemove, in.NodeId, name); !status.Ok() {
		return status
	}
	return d.RawFileSystem.Unlink(c, in, name)
}

func (d *disk) Rmdir(c done, in *fuse.InHeader, name string) fuse.Status {
	if status := d.ask(OpRemove, in.NodeId, name); !status.Ok() {
		return status
	}
	return d.RawFileSystem.Rmdir(c, in, name)
}

func (d *disk) Open(c done, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	op := OpOpen
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		op = OpOpenRW
	}
	if status := d.ask(op, in.NodeId, ""); !status.Ok() {
		return status
	}
	return d.keepCache(&in.Flags, out, func() fuse.Status { return d.RawFileSystem.Open(c, in, out) })
}

func (d *disk) Read(c done, in *fuse.ReadIn, b []byte) (fuse.ReadResult, fuse.Status) {
	if status := d.ask(OpRead, in.NodeId, ""); !status.Ok() {
		return nil, status
	}
	return d.RawFileSystem.Read(c, in, b)
}

func (d *disk) Write(c done, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	if status := d.ask(OpWrite, in.NodeId, ""); !status.Ok() {
		if status != fuse.EROFS {
			d.RawFileSystem.Write(c, in, b[:len(b)/2])
		}
		return 0, status
	}
	return d.RawFileSystem.Write(c, in, b)
}

func (d *disk) Writev(done, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) { return 0, fuse.ENOSYS } // Write is called

func (d *disk) CopyFileRange(done, *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
} // likewise

// A sync that does not fail is not handed on: nobody takes the power from the disk below.

func (d *disk) Fsync(_ done, in *fuse.FsyncIn) fuse.Status { return d.ask(OpSync, in.NodeId, "") }

func (d *disk) FsyncDir(_ done, in *fuse.FsyncIn) fuse.Status { return d.ask(OpSyncDir, in.NodeId, "") }

func (d *disk) Fallocate(c done, in *fuse.FallocateIn) fuse.Status {
	op := OpAllocate
	if in.Mode&unix.FALLOC_FL_PUNCH_HOLE != 0 {
		op = OpPunch
	}
	if status := d.ask(op, in.NodeId, ""); !status.Ok() {
		return status
	}
	return d.RawFileSystem.Fallocate(c, in)
}

func (d *disk) SetAttr(c done, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	op := OpAttr
	if _, sized := in.GetSize(); sized {
		op = OpTruncate
	}
	if status := d.ask(op, in.NodeId, ""); !status.Ok() {
		return status
	}
	return d.RawFileSystem.SetAttr(c, in, out)
}

func (d *disk) GetAttr(c done, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if status := d.ask(OpStat, in.NodeId, ""); !status.Ok() {
		return status
	}
	return d.RawFileSystem.GetAttr(c, in, out)
}

func (d *disk) OpenDir(c done, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if status := d.ask(OpList, in.NodeId, ""); !status.Ok() {
		return status
	}
	return d.RawFileSystem.OpenDir(c, in, out)
}

func (d *disk) StatFs(c done, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if status := d.ask(OpStatFS, in.NodeId, ""); !status.Ok() {
		return status
	}
	return d.RawFileSystem.StatFs(c, in, out)
}

func (d *disk) Flush(c done, in *fuse.FlushIn) fuse.Status {
	if status := d.ask(OpClose, in.NodeId, ""); !status.Ok() {
		return status
	}
	return d.RawFileSystem.Flush(c, in)
}

func (d *disk) Link(c done, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if status := d.ask(OpLink, in.NodeId, name); !status.Ok() {
		return status
	}
	status := d.RawFileSystem.Link(c, in, name, out)
	if status.Ok() {
		d.learn(out.NodeId, in.NodeId, name)
	}
	return status
}

func (d *disk) Symlink(c done, in *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	if status := d.ask(OpLink, in.NodeId, name); !status.Ok() {
		return status
	}
	status := d.RawFileSystem.Symlink(c, in, to, name, out)
	if status.Ok() {
		d.learn(out.NodeId, in.NodeId, name)
	}
	return status
}

func (d *disk) Mknod(c done, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if status := d.ask(OpLink, in.NodeId, name); !status.Ok() {
		return status
	}
	status := d.RawFileSystem.Mknod(c, in, name, out)
	if status.Ok() {
		d.learn(out.NodeId, in.NodeId, name)
	}
	return status
}
