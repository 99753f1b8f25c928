package web

import (
	"crypto/sha256"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// newReader is a database of metadata rows as whom its links are made for. It can ask for nothing.
func newReader(view string) *client {
	name := "views:" + view
	return &client{id: clientIDOf("\x00" + name), name: name, fingerprint: sha256.Sum256([]byte(name))}
}

// RowPath is the path of an instance's link in the rows of a database. It does not expire, and is the same whenever it is
// made, until it is revoked: then the next one is another.
func (s *LinkState) RowPath(view string, in *spool.Instance) string {
	reader := newReader(view)
	l := link{kind: kindRow, client: reader.id, made: s.generation(in.StudyInstanceUID), id: in.ID}
	return l.path(s.key(reader))
}

// generation is what stands for the time at which links in rows of a study are made: just after they were revoked last.
func (s *LinkState) generation(study dicom.UID) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.revocationOf(study); i >= 0 {
		return time.UnixMilli(s.file.Revoked[i].Before + 1)
	}
	return time.UnixMilli(0)
}

// KeepRevocations is to be called before RowPath is used: what was revoked is remembered for ever from then on, since links
// in rows do not expire.
func (s *LinkState) KeepRevocations() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file.Rows {
		return nil
	}
	f := s.file
	f.Rows = true
	return s.replace(f)
}
