package spool

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"dcmgate/dicom"
	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

// Instance returns what is known of an instance; ErrNotFound if nothing is.
func (s *Spool) Instance(id InstanceID) (Instance, error) {
	in, err := s.instance(id)
	if err != nil {
		return Instance{}, err
	}
	return *in, nil
}

func (s *Spool) instance(id InstanceID) (in *Instance, err error) {
	if in, ok := s.pending.get(id); ok {
		return in, nil
	}
	err = s.db.View(func(txn *badger.Txn) (err error) {
		in, err = readEntry(txn, id)
		return err
	})
	return in, err
}

// Lookup returns the versions stored under the three UIDs, oldest first, evicted ones included. None is no error.
func (s *Spool) Lookup(study, series, sop dicom.UID) ([]Instance, error) {
	k := identityOf(study, series, sop)
	var found []Instance
	arrived := s.pending.find(func(in *Instance) bool {
		return in.SOPInstanceUID == sop && in.SeriesInstanceUID == series && in.StudyInstanceUID == study
	})
	err := s.db.View(func(txn *badger.Txn) error {
		var err error
		found, err = readInstances(txn, k)
		return err
	})
	if err != nil {
		return nil, err
	}
	return appendArrived(found, arrived), nil
}

// appendArrived adds what the index may not have had when it was read.
func appendArrived(found []Instance, arrived []*Instance) []Instance {
	for _, in := range arrived {
		if !slices.ContainsFunc(found, func(f Instance) bool { return f.ID == in.ID }) {
			found = append(found, *in)
		}
	}
	return found
}

// DeliveredEverywhere tells whether an instance had destinations and each of them has it. ErrNotFound if there is no such
// instance.
func (s *Spool) DeliveredEverywhere(id InstanceID) (delivered bool, err error) {
	if _, ok := s.pending.get(id); ok {
		return false, nil
	}
	err = s.db.View(func(txn *badger.Txn) error {
		in, err := readEntry(txn, id)
		if err != nil {
			return err
		}
		for _, j := range in.jobs {
			r, ok, err := readJob(txn, id, j.destination)
			if err != nil || !ok || !r.state.arrived() {
				return err
			}
		}
		delivered = len(in.jobs) > 0
		return nil
	})
	return delivered, err
}

// instancesPage is how many instances Instances reads at once.
const instancesPage = 256

// Instances yields the stored instances of a study, or of one of its series if series is not empty, by series and then
// in order of arrival; those that are not indexed yet come last. An error ends it. Instances that are stored or evicted
// meanwhile may or may not be among them.
func (s *Spool) Instances(study, series dicom.UID) iter.Seq2[Instance, error] {
	return func(yield func(Instance, error) bool) {
		arrived := s.pending.find(func(in *Instance) bool {
			return in.StudyInstanceUID == study && (series == "" || in.SeriesInstanceUID == series)
		})
		late := make(map[InstanceID]bool, len(arrived))
		for _, in := range arrived {
			late[in.ID] = true
		}
		prefix := treePrefix(hashOf(string(study)))
		if series != "" {
			h := hashOf(string(series))
			prefix = append(prefix, h[:]...)
		}
		for start := prefix; start != nil; {
			var page []*Instance
			var err error
			if page, start, err = s.page(prefix, start); err != nil {
				yield(Instance{}, err)
				return
			}
			for _, in := range page {
				if !late[in.ID] && !yield(*in, nil) {
					return
				}
			}
		}
		for _, in := range arrived {
			if !yield(*in, nil) {
				return
			}
		}
	}
}

// page reads instances under a tree prefix; next is nil at the end.
func (s *Spool) page(prefix, start []byte) (page []*Instance, next []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		ids, last, err := instancesUnder(txn, prefix, start, instancesPage)
		if err != nil {
			return err
		}
		if len(ids) == instancesPage {
			next = after(last)
		}
		for _, id := range ids {
			in, err := readEntry(txn, id)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			page = append(page, in)
		}
		return nil
	})
	return page, next, err
}

// Reader reads a stored instance: the whole Part 10 file, or its data set. ReadAt may be called by many goroutines. While
// it is open, the bytes stay, whatever happens to the instance.
type Reader struct {
	s       *Spool
	in      Instance
	payload *segment.Payload
}

// Open opens an instance. Errors: ErrNotFound, ErrEvicted, ErrDamaged where the record's header is not whole or the
// instance is known to be damaged, and those of the disk, which may pass.
func (s *Spool) Open(id InstanceID) (*Reader, error) {
	in, err := s.instance(id)
	if err != nil {
		return nil, err
	}
	return s.openInstance(in)
}

func (s *Spool) openInstance(in *Instance) (*Reader, error) {
	if in.State != InstanceStored {
		return nil, ErrEvicted
	}
	if in.damaged() {
		return nil, fmt.Errorf("open instance %s: %w", in.ID, segment.ErrDamaged)
	}
	p, err := s.payloads.OpenPayload(in.location)
	if cause := readFailure(err); cause != nil {
		return nil, fmt.Errorf("open instance %s: %w", in.ID, cause)
	}
	s.suspect(in, err)
	if errors.Is(err, segment.ErrGone) {
		return nil, fmt.Errorf("%w: %w", ErrEvicted, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open instance %s: %w", in.ID, err)
	}
	return &Reader{s: s, in: *in, payload: p}, nil
}

// Instance returns what the Reader was opened for.
func (r *Reader) Instance() Instance { return r.in }

// ReadAt implements io.ReaderAt over the Part 10 file.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.payload.ReadAt(p, off)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		r.s.suspect(&r.in, ErrDamaged)
	}
	return n, err
}

// WriteTo writes the Part 10 file to w, with sendfile where w is a *net.TCPConn.
func (r *Reader) WriteTo(w io.Writer) (int64, error) { return r.payload.WriteTo(w) }

// DataSet reads the data set alone, as it was received.
func (r *Reader) DataSet() *io.SectionReader {
	return io.NewSectionReader(r, r.HeaderLength(), r.Size()-r.HeaderLength())
}

// Size is the length of the Part 10 file in bytes.
func (r *Reader) Size() int64 { return r.payload.Size() }

// HeaderLength is the length of what comes before the data set, in bytes.
func (r *Reader) HeaderLength() int64 { return r.payload.HeaderLength() }

// File opens a descriptor of its own, positioned at the first byte of the Part 10 file, for sendfile and its like: the
// caller reads Size bytes, closes it, and keeps the Reader open meanwhile.
func (r *Reader) File() (*os.File, error) { return r.payload.File() }

// Close gives the instance up. Safe to call twice.
func (r *Reader) Close() error { return r.payload.Close() }
