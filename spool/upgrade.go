package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// upgradeBatch is how many writes a transaction of an upgrade takes, and a few more: far below what Badger does.
const upgradeBatch = 4096

// upgradeTold is how often an upgrade that takes its time says how far it is.
const upgradeTold = 5 * time.Second

// upgrade brings an index of an earlier format to the present one: it makes the keys by which nothing could be found
// then, and counts what was not counted. Memory does not depend on the size of the index. An upgrade that was interrupted begins again.
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
	u := &upgrade{s: s, total: 2*t.instances + t.evicted, told: time.Now()}
	s.log.Info("upgrading the index", "format", s.ledger.format, "to", formatVersion, "records", u.total)
	repeats, classes := &repeatCount{}, &classCount{}
	for _, pass := range [...]struct {
		kind   byte
		writes upgradeFunc
	}{{kindStudy, upgradeStudy}, {kindSeries, upgradeSeries}, {kindVersions, repeats.upgrade}, {kindTree, classes.upgrade}} {
		if err := u.pass(pass.kind, pass.writes); err != nil {
			return fmt.Errorf("upgrade the index: %w", err)
		}
	}
	return writeFormat(s.db)
}

// upgradeFunc gives what is to be written for a key. Key and value are good during the call; behind the last key it is
// called with none.
type upgradeFunc func(txn *badger.Txn, key, value []byte) ([]write, error)

// pass writes what a function gives for every key of a kind.
func (u *upgrade) pass(kind byte, fn upgradeFunc) error {
	for start := []byte{kind}; start != nil; {
		var writes []write
		var next []byte
		err := u.s.db.View(func(txn *badger.Txn) error {
			err := scan(txn, []byte{kind}, start, true, func(key, value []byte) (bool, error) {
				more, err := fn(txn, key, value)
				writes = append(writes, more...)
				u.done++
				u.tell()
				if len(writes) >= upgradeBatch {
					next = after(key)
				}
				return next == nil, err
			})
			if err == nil && next == nil {
				var last []write
				last, err = fn(txn, nil, nil)
				writes = append(writes, last...)
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := u.s.room.forWrite(memTableBytes(writes), false); err != nil {
			return err
		}
		if err := writeAll(u.s.db, writes); err != nil {
			return err
		}
		start = next
	}
	return nil
}

// tell says how far the upgrade is. Studies and series are looked at, too, so that it may be further.
func (u *upgrade) tell() {
	if now := time.Now(); now.Sub(u.told) >= upgradeTold {
		u.told = now
		u.s.log.Info("upgrading the index", "done", u.done, "records", u.total)
	}
}

// upgradeStudy gives the r, b and y keys of a study. What cannot be read a rebuild restores.
func upgradeStudy(_ *badger.Txn, key, value []byte) (writes []write, err error) {
	r, err := decodeStudy(value)
	if err != nil || len(key) != 9 {
		return nil, nil
	}
	id := hash8(key[1:])
	keys := append(r.modalityKeys(id), arrivalKey(r.first, id))
	for _, k := range r.textKeys {
		if len(k) > 1 && k[0] == kindPatient {
			keys = append(keys, textKey(kindPatientID, k[1:], id))
		}
	}
	for _, k := range keys {
		writes = append(writes, write{k, []byte{}})
	}
	return writes, nil
}

// upgradeSeries gives the f key of a series.
func upgradeSeries(_ *badger.Txn, key, _ []byte) ([]write, error) {
	if len(key) != 17 {
		return nil, nil
	}
	return []write{{seriesStudyKey(hash8(key[9:]), hash8(key[1:])), []byte{}}}, nil
}

// repeatCount counts further versions of instances by series and study, in whose order u keys are.
type repeatCount struct {
	at            identity // the series that is counted
	series, study uint64
}

// upgrade gives the o key of a set of UIDs, and the records of series and study that had no count when they end.
func (c *repeatCount) upgrade(txn *badger.Txn, key, value []byte) (writes []write, err error) {
	k, ok := identityOfKey(key)
	if !ok && key != nil {
		return nil, nil
	}
	if k.study != c.at.study || k.series != c.at.series {
		if writes, err = c.seriesEnds(txn); err != nil {
			return nil, err
		}
	}
	if k.study != c.at.study {
		w, err := c.studyEnds(txn)
		if err != nil {
			return nil, err
		}
		writes = append(writes, w...)
	}
	c.at = k
	if key == nil {
		return writes, nil
	}
	versions := uint64(0)
	vs, _ := decodeVersions(value)
	for _, v := range vs {
		if !v.evicted {
			versions++
		}
	}
	c.series += dec(versions)
	return append(writes, write{sopKey(k), []byte{}}), nil
}

func (c *repeatCount) seriesEnds(txn *badger.Txn) ([]write, error) {
	n := c.series
	c.series, c.study = 0, c.study+n
	if n == 0 {
		return nil, nil
	}
	return recount(txn, seriesKey(c.at.study, c.at.series), func(value []byte) ([]byte, error) {
		r, err := decodeSeries(value)
		r.repeats = n
		return r.append(nil), err
	})
}

func (c *repeatCount) studyEnds(txn *badger.Txn) ([]write, error) {
	n := c.study
	c.study = 0
	if n == 0 {
		return nil, nil
	}
	return recount(txn, studyKey(c.at.study), func(value []byte) ([]byte, error) {
		r, err := decodeStudy(value)
		r.repeats = n
		return r.append(nil), err
	})
}

// classCount counts SOP classes by study, in whose order x keys are.
type classCount struct {
	study  hash8
	counts sopClassCounts
}

// upgrade gives the record of a study, with its SOP classes, when the study ends.
func (c *classCount) upgrade(txn *badger.Txn, key, _ []byte) (writes []write, err error) {
	if key != nil && len(key) != 25 {
		return nil, nil
	}
	if key == nil || hash8(key[1:]) != c.study {
		if writes, err = c.studyEnds(txn); err != nil || key == nil {
			return writes, err
		}
		c.study, c.counts = hash8(key[1:]), nil
	}
	in, err := readEntry(txn, idAt(key[17:]))
	if errors.Is(err, ErrNotFound) || errors.Is(err, errBadRecord) {
		return writes, nil // a rebuild restores it
	}
	if err != nil {
		return nil, err
	}
	c.counts.add(in.SOPClassUID, 1)
	return writes, nil
}

func (c *classCount) studyEnds(txn *badger.Txn) ([]write, error) {
	if len(c.counts) == 0 {
		return nil, nil
	}
	return recount(txn, studyKey(c.study), func(value []byte) ([]byte, error) {
		r, err := decodeStudy(value)
		r.sopClasses = c.counts
		return r.append(nil), err
	})
}

// recount changes a record.
func recount(txn *badger.Txn, key []byte, change func(value []byte) ([]byte, error)) ([]write, error) {
	value, ok, err := get(txn, key)
	if err != nil || !ok {
		return nil, err
	}
	if value, err = change(value); err != nil {
		return nil, nil // a rebuild restores it
	}
	return []write{{key, value}}, nil
}

func writeAll(db *badger.DB, writes []write) error {
	err := db.Update(func(txn *badger.Txn) error {
		for _, w := range writes {
			if err := w.to(txn); err != nil {
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
