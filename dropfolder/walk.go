package dropfolder

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
)

// namesAtOnce is how many names of a folder are held at a time.
const namesAtOnce = 256

// step says how a walk goes on.
type step int

const (
	next  step = iota // to the next name
	enter             // into this folder
	stop
)

// visitor is shown every name below a folder. d is the folder that the name is in; the path is from where the walk began.
type visitor func(d *directory, name, base string) step

// walk shows what is below a folder, sub-folders before what is in them. It says what was left out.
func walk(ctx context.Context, d *directory, visit visitor) (left omitted) {
	left.folder(ctx, d, ".", 0, visit)
	return left
}

// omitted counts folders that were not walked.
type omitted struct {
	unreadable int
	deep       int // below maxDepth
}

func (o *omitted) folder(ctx context.Context, d *directory, name string, depth int, visit visitor) (more bool) {
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		o.unreadable++
		return true
	}
	for ctx.Err() == nil {
		names, err := d.Readdirnames(namesAtOnce)
		for _, base := range names {
			at := path.Join(name, base)
			switch visit(d, at, base) {
			case stop:
				return false
			case enter:
				if !o.enter(ctx, d, at, base, depth+1, visit) {
					return false
				}
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				o.unreadable++
			}
			return true
		}
	}
	return false
}

// enter walks a sub-folder.
func (o *omitted) enter(ctx context.Context, parent *directory, name, base string, depth int, visit visitor) (more bool) {
	if depth > maxDepth {
		o.deep++
		return true
	}
	d, err := parent.sub(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case err != nil:
		o.unreadable++
		return true
	}
	defer d.Close()
	d.locked = d.writable() != nil
	return o.folder(ctx, d, name, depth, visit)
}
