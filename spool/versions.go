package spool

import (
	"encoding/binary"
	"slices"
)

// maxVersions bounds the versions that are remembered under one set of UIDs. Beyond, the oldest is forgotten for
// deduplication and Lookup; the instance itself stays.
const maxVersions = 64

// version is what deduplication has to know of a stored instance.
type version struct {
	id      InstanceID
	evicted bool
	damaged bool
	digest  [32]byte
	syntax  string
}

// present tells whether the version's bytes are there, as far as is known.
func (v version) present() bool { return !v.evicted && !v.damaged }

// What the state of a version is encoded as.
const (
	versionPresent = iota
	versionEvicted
	versionDamaged
)

func (v version) state() byte {
	switch {
	case v.evicted:
		return versionEvicted
	case v.damaged:
		return versionDamaged
	}
	return versionPresent
}

// appendVersions encodes the value of a u key: per version id8, state1, digest32, transfer syntax.
func appendVersions(b []byte, vs []version) []byte {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint64(b, uint64(v.id))
		b = append(b, v.state())
		b = append(b, v.digest[:]...)
		b = appendString(b, v.syntax)
	}
	return b
}

func decodeVersions(b []byte) ([]version, error) {
	d := decoder{b: b}
	var vs []version
	for len(d.b) > 0 && !d.bad {
		v := version{id: InstanceID(d.uint64())}
		state := d.byte()
		v.evicted, v.damaged = state == versionEvicted, state == versionDamaged
		copy(v.digest[:], d.take(32))
		v.syntax = d.str()
		vs = append(vs, v)
	}
	return vs, d.err()
}

// setVersion adds v or replaces the version of the same ID.
func setVersion(vs []version, v version) []version {
	for i := range vs {
		if vs[i].id == v.id {
			vs[i] = v
			return vs
		}
	}
	if len(vs) >= maxVersions {
		vs = vs[1:]
	}
	return append(vs, v)
}

// withoutVersion removes the version of an ID.
func withoutVersion(vs []version, id InstanceID) []version {
	for i := range vs {
		if vs[i].id == id {
			return append(vs[:i], vs[i+1:]...)
		}
	}
	return vs
}

// stored tells whether one of the versions is not evicted: a damaged one counts.
func stored(vs []version) bool {
	return slices.ContainsFunc(vs, func(v version) bool { return !v.evicted })
}

// findContent returns the version with this content; one whose bytes are there before one that is evicted or damaged.
func findContent(vs []version, digest [32]byte, syntax string) (version, bool) {
	var found version
	ok := false
	for _, v := range vs {
		if v.digest == digest && v.syntax == syntax && (!ok || v.present()) {
			found, ok = v, true
		}
	}
	return found, ok
}
