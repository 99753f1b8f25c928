package views

import (
	"context"
	"net/url"
	"strings"

	"dcmgate/spool"
)

// Files makes instances readable for the cloud. It is used by several publishers at once.
type Files interface {
	// Ready makes the file of an instance, if it is not there, and says where it is. What it did may be lost until Sync.
	// A file that cannot be made is FileMissing; an error is one that may pass.
	Ready(ctx context.Context, in *spool.Instance) (File, error)
	// Sync makes durable what Ready has done.
	Sync() error
	// Remove takes the file of an instance away; one that is not there is none.
	Remove(in *spool.Instance) error
}

// Address names instances by an address of a server that has them: a template with {study}, {series} and {instance} in
// place of the UIDs, {id} of the instance's number in the spool.
type Address string

// Ready implements [Files].
func (a Address) Ready(_ context.Context, in *spool.Instance) (File, error) {
	var path strings.Builder
	for rest := string(a); rest != ""; {
		before, placeholder, found := strings.Cut(rest, "{")
		path.WriteString(before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(placeholder, "}")
		if !closed {
			name = ""
		}
		switch name {
		case "study":
			path.WriteString(url.PathEscape(string(in.StudyInstanceUID)))
		case "series":
			path.WriteString(url.PathEscape(string(in.SeriesInstanceUID)))
		case "instance":
			path.WriteString(url.PathEscape(string(in.SOPInstanceUID)))
		case "id":
			path.WriteString(in.ID.String())
		default: // of no meaning here
			path.WriteByte('{')
			after = placeholder
		}
		rest = after
	}
	return File{Path: path.String(), State: FileReady}, nil
}

// Sync implements [Files].
func (Address) Sync() error { return nil }

// Remove implements [Files].
func (Address) Remove(*spool.Instance) error { return nil }
