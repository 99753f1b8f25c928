package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/durable"
)

// MaxLinkLifetime is how long an address may work at most.
const MaxLinkLifetime = 30 * 24 * time.Hour

// maxRevocations bounds the studies whose links are revoked one by one. Beyond, all links are. None is forgotten by its age,
// which a clock that is wrong would tell wrong.
const maxRevocations = 10000

// LinkState is what makes links valid: the gateway's secret, and the studies whose links were revoked. It is kept in a file
// that its owner alone may read. For many goroutines.
type LinkState struct {
	path string

	mu   sync.Mutex
	file linkFile
}

// linkFile is the file's content.
type linkFile struct {
	Key     []byte       `json:"key"` // 32 bytes
	Revoked []revocation `json:"revoked,omitempty"`
	Rows    bool         `json:"rows,omitempty"` // links were made that do not expire
}

// revocation ends the links to a study, or to instances of it, of an earlier turn; those in rows, and those that a version
// without turns revoked, by when they were made. The clock may be set: it does not tell what was made before what. The study
// is told by a hash, so that the file names none.
type revocation struct {
	Study  []byte `json:"study"`
	Before int64  `json:"before"`         // milliseconds since 1970, inclusive
	Turn   uint8  `json:"turn,omitempty"` // how often the study's links were revoked; that of the links made since
}

// ends tells whether a link to the study is revoked.
func (r revocation) ends(l link) bool {
	if l.kind == kindRow || r.Turn == 0 {
		return l.made.UnixMilli() <= r.Before
	}
	return l.turn < r.Turn
}

func (r revocation) is(study []byte) bool { return slices.Equal(r.Study, study) }

// OpenLinks reads the state from a file, or makes one where there is none. Where it cannot be understood a new secret takes
// its place, which ends all links; renewed tells.
func OpenLinks(path string) (s *LinkState, renewed bool, err error) {
	s = &LinkState{path: path}
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		if json.Unmarshal(data, &s.file) == nil && len(s.file.Key) == sha256.Size {
			return s, false, nil
		}
		renewed = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("secret of download links: %w", err)
	}
	return s, renewed, s.RevokeAll()
}

// RevokeAll ends every link there is by a new secret.
func (s *LinkState) RevokeAll() error {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace(linkFile{Key: key, Rows: s.file.Rows})
}

// Revoke ends the links to a study that were made until now, and those in rows.
func (s *LinkState) Revoke(study dicom.UID, now time.Time) error {
	s.mu.Lock()
	hash := studyHash(study)
	r := revocation{hash, now.UnixMilli(), 1}
	if i := s.revocationOf(study); i >= 0 {
		old := s.file.Revoked[i]
		r.Before, r.Turn = max(r.Before, old.Before+1), old.Turn+1 // links in rows are made after the last
	}
	kept := slices.DeleteFunc(slices.Clone(s.file.Revoked), func(r revocation) bool { return r.is(hash) })
	if len(kept) >= maxRevocations || r.Turn > maxTurn {
		s.mu.Unlock()
		return s.RevokeAll()
	}
	defer s.mu.Unlock()
	return s.replace(linkFile{Key: s.file.Key, Revoked: append(kept, r), Rows: s.file.Rows})
}

// replace writes the state durably and then puts it into force. s.mu is held.
func (s *LinkState) replace(f linkFile) error {
	data, err := json.Marshal(f)
	if err == nil {
		err = durable.WriteFile(s.path, data, 0o600)
	}
	if err == nil || errors.Is(err, durable.ErrInPlace) { // in force is what the next start will find
		s.file = f
	}
	if err != nil {
		return fmt.Errorf("secret of download links: %w", err)
	}
	return nil
}

// revoked tells whether a link to a study is.
func (s *LinkState) revoked(study dicom.UID, l link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.revocationOf(study)
	return i >= 0 && s.file.Revoked[i].ends(l)
}

// turn is that of the links to a study that are made now.
func (s *LinkState) turn(study dicom.UID) uint8 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.revocationOf(study); i >= 0 {
		return s.file.Revoked[i].Turn
	}
	return 0
}

// revocationOf finds the revocation of a study; -1 if there is none. s.mu is held.
func (s *LinkState) revocationOf(study dicom.UID) int {
	if len(s.file.Revoked) == 0 {
		return -1
	}
	hash := studyHash(study)
	return slices.IndexFunc(s.file.Revoked, func(r revocation) bool { return r.is(hash) })
}

// key makes a client's key.
func (s *LinkState) key(c *client) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := hmac.New(sha256.New, s.file.Key)
	h.Write(c.fingerprint[:])
	return h.Sum(nil)
}

func studyHash(study dicom.UID) []byte {
	sum := sha256.Sum256([]byte(study))
	return sum[:16]
}
