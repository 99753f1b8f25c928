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
	path := strings.NewReplacer(
		"{study}", url.PathEscape(string(in.StudyInstanceUID)), "{series}", url.PathEscape(string(in.SeriesInstanceUID)),
		"{instance}", url.PathEscape(string(in.SOPInstanceUID)), "{id}", in.ID.String(),
	).Replace(string(a))
	return File{Path: path, State: FileReady}, nil
}

// Sync implements [Files].
func (Address) Sync() error { return nil }

// Remove implements [Files].
func (Address) Remove(*spool.Instance) error { return nil }
