package web

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"time"

	"dcmgate/cloud"
)

// newClient makes a client of a key.
func newClient(rule cloud.Rule, key cloud.Key) (*client, error) {
	signer, err := cloud.NewSigner(rule, key)
	if err != nil {
		return nil, fmt.Errorf("access key %s: %w", key.AccessKey, err)
	}
	c := &client{id: clientIDOf(key.AccessKey), name: cmp.Or(key.AccessKey, "anybody"), signer: signer}
	c.fingerprint = sha256.Sum256(fmt.Appendf(nil, "%d %s %d %s %s", len(key.AccessKey), key.AccessKey, len(key.AccessSecret), key.AccessSecret, key.IV))
	return c, nil
}

// authenticate finds the client whose signature a request bears; nil if it is nobody's. A client that is named is the only
// one looked at; 203 has no place to name one, so else it is found by the signature.
func (s *set) authenticate(rq *cloud.SignedRequest, named string) *client {
	named = cmp.Or(named, rq.AccessKey)
	for _, c := range s.clients {
		if s.Rule == cloud.RuleNone {
			return c
		}
		if named != "" && named != c.signer.AccessKey() {
			continue
		}
		if rq.Signature != "" && c.signer.Verify(rq.Signed, rq.Signature) {
			return c
		}
	}
	return nil
}

// timely tells what is wrong with a request's time, "" if nothing is.
func (s *set) timely(rq *cloud.SignedRequest, now time.Time) string {
	switch {
	case rq.TimeStamp.IsZero() && s.TimeStampNeeded:
		return "timeStamp is missing"
	case rq.TimeStamp.IsZero() || s.ReplayWindow == 0:
		return ""
	case now.Sub(rq.TimeStamp).Abs() > s.ReplayWindow:
		return fmt.Sprintf("timeStamp is more than %v from %s", s.ReplayWindow, now.Format(time.RFC3339))
	}
	return ""
}

// keyOf gives the key of a client's links, nil if there is no such client.
func (s *set) keyOf(id clientID) []byte {
	if c := s.holder(id); c != nil {
		return s.Links.key(c)
	}
	return nil
}

// holder is whom a link was made for: a client, or a database of metadata rows; nil if there is no such one.
func (s *set) holder(id clientID) *client {
	for _, list := range [...][]*client{s.clients, s.readers} {
		for _, c := range list {
			if c.id == id {
				return c
			}
		}
	}
	return nil
}

// nameOf is a client's name for the log.
func (s *set) nameOf(id clientID) string {
	if c := s.holder(id); c != nil {
		return c.name
	}
	return ""
}
