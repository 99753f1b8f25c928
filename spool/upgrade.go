package spool

import (
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// upgradeBatch is how many keys a transaction of an upgrade takes, and a few more: far below what Badger does.
const upgradeBatch = 4096

// upgradeTold is how often an upgrade that takes its time says how far it is.
const upgradeTold = 5 * time.Second

// upgrade brings an index of an earlier format to the present one: it makes the keys by which nothing could be found
// then. Memory does not depend on the size of the index. An upgrade that was interrupted begins again.
type upgrade struct {
	s     *Spool
	done  uint64 // keys looked at
	total uint64 // of them, about
	told  time.Time
}

// upgradeIndex upgrades an index that needs it.
func (s *Spool) upgradeIndex() error {
	if s.ledger.format == 0 || s.ledger.format == formatVersion {
		return nil
	}
	t := s.ledger.snapshot()
	u := &upgrade{s: s, total: t.instances + t.evicted, told: time.Now()}
	s.log.Info("upgrading the index", "format", s.ledger.format, "to", formatVersion, "instances", u.total)
	for _, pass := range [...]struct {
		kind byte
		keys func(key, value []byte) [][]byte
	}{{kindStudy, keysOfStudy}, {kindSeries, keysOfSeries}, {kindVersions, keysOfVersions}} {
		if err := u.fill(pass.kind, pass.keys); err != nil {
			return fmt.Errorf("upgrade the index: %w", err)
		}
	}
	return writeFormat(s.db)
}

// fill makes the keys that keysOf gives for every key of a kind.
func (u *upgrade) fill(kind byte, keysOf func(key, value []byte) [][]byte) error {
	for start := []byte{kind}; start != nil; {
		var keys [][]byte
		var next []byte
		err := u.s.db.View(func(txn *badger.Txn) error {
			return scan(txn, []byte{kind}, start, true, func(key, value []byte) (bool, error) {
				keys = append(keys, keysOf(key, value)...)
				u.done++
				if len(keys) >= upgradeBatch {
					next = after(key)
				}
				return next == nil, nil
			})
		})
		if err != nil {
			return err
		}
		if err := u.s.room.forWrite(); err != nil {
			return err
		}
		if err := setEmpty(u.s.db, keys); err != nil {
			return err
		}
		u.tell()
		start = next
	}
	return nil
}

// tell says how far the upgrade is. Studies and series are looked at, too, so that it may be further.
func (u *upgrade) tell() {
	if now := time.Now(); now.Sub(u.told) >= upgradeTold {
		u.told = now
		u.s.log.Info("upgrading the index", "done", u.done, "instances", u.total)
	}
}

// keysOfStudy are the r and b keys of a study. What cannot be read a rebuild restores.
func keysOfStudy(key, value []byte) (keys [][]byte) {
	r, err := decodeStudy(value)
	if err != nil || len(key) != 9 {
		return nil
	}
	id := hash8(key[1:])
	keys = append(keys, arrivalKey(r.first, id))
	for _, k := range r.textKeys {
		if len(k) > 1 && k[0] == kindPatient {
			keys = append(keys, textKey(kindPatientID, k[1:], id))
		}
	}
	return keys
}

// keysOfSeries is the f key of a series.
func keysOfSeries(key, _ []byte) [][]byte {
	if len(key) != 17 {
		return nil
	}
	return [][]byte{seriesStudyKey(hash8(key[9:]), hash8(key[1:]))}
}

// keysOfVersions is the o key of a set of UIDs.
func keysOfVersions(key, _ []byte) [][]byte {
	k, ok := identityOfKey(key)
	if !ok {
		return nil
	}
	return [][]byte{sopKey(k)}
}

func setEmpty(db *badger.DB, keys [][]byte) error {
	err := db.Update(func(txn *badger.Txn) error {
		for _, key := range keys {
			if err := txn.Set(key, []byte{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}
