package spool

import (
	"encoding/binary"
	"time"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// Bounds of requests for commitment.
const (
	// MaxTransaction is how many instances one request may be about. It bounds the transaction of the index.
	MaxTransaction = 1000
	// transactionsKept and transactionAge bound what is remembered of requests that are over: a destination may report
	// late, or twice.
	transactionsKept = 4096
	transactionAge   = 7 * 24 * time.Hour
)

// Transaction is a request to a destination to commit itself to keep instances (PS3.4 J.3.2). It is remembered beyond
// its end, so that a report that comes late, or again, finds it.
type Transaction struct {
	UID         dicom.UID // Transaction UID (0008,1195)
	Destination string
	Asked       time.Time
	Until       time.Time    // when the destination is asked again if it has not reported
	Instances   []InstanceID // whose jobs are not concluded; none once the destination has reported
}

// Concluded tells that the destination has reported.
func (t *Transaction) Concluded() bool { return len(t.Instances) == 0 }

const transactionVersion = 1

// append encodes the value of a z key: version1 asked8(ms) until8(ms) s destination, uvarint instances, each: iid8.
func (t *Transaction) append(b []byte) []byte {
	b = append(b, transactionVersion)
	b = appendUint64s(b, uint64(t.Asked.UnixMilli()), uint64(t.Until.UnixMilli()))
	b = appendString(b, t.Destination)
	b = binary.AppendUvarint(b, uint64(len(t.Instances)))
	for _, id := range t.Instances {
		b = appendID(b, id)
	}
	return b
}

func (t *Transaction) decode(b []byte) error {
	d := decoder{b: b}
	if d.byte() != transactionVersion {
		return errBadRecord
	}
	t.Asked, t.Until = timeOfMilli(int64(d.uint64())), timeOfMilli(int64(d.uint64()))
	t.Destination = d.str()
	n := d.count(8)
	if n > MaxTransaction {
		return errBadRecord
	}
	for range n {
		t.Instances = append(t.Instances, InstanceID(d.uint64()))
	}
	if len(d.b) != 0 {
		d.bad = true
	}
	return d.err()
}

// check bounds what becomes part of keys and values.
func (t *Transaction) check() error {
	if t.UID.Valid() != nil || checkDestination(t.Destination) != nil || len(t.Instances) == 0 || len(t.Instances) > MaxTransaction {
		return ErrBadTransaction
	}
	return nil
}

// readTransaction reads a request; ok is false if it is not known or cannot be understood.
func readTransaction(txn *badger.Txn, uid dicom.UID) (t Transaction, ok bool, err error) {
	if uid.Valid() != nil {
		return Transaction{}, false, nil
	}
	value, ok, err := get(txn, transactionKey(uid))
	if err != nil || !ok {
		return Transaction{}, false, err
	}
	t.UID = uid
	if t.decode(value) != nil {
		return Transaction{}, false, nil
	}
	return t, true, nil
}

// Transaction returns a request for commitment and the jobs it is about that still await; ErrNotFound if there is none of
// this UID, or not any more.
func (s *Spool) Transaction(uid dicom.UID) (t Transaction, jobs []Job, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		var ok bool
		if t, ok, err = readTransaction(txn, uid); err != nil {
			return err
		}
		if !ok {
			return ErrNotFound
		}
		for _, id := range t.Instances {
			in, r, ok, err := s.jobIn(txn, id, t.Destination, JobAwaiting)
			if err != nil {
				return err
			}
			if ok {
				jobs = append(jobs, r.job(*in, t.Destination))
			}
		}
		return nil
	})
	return t, jobs, err
}

// purgeTransactions drops requests that are over: those of long ago, and those that are too many, in no particular order.
func (s *Spool) purgeTransactions() error {
	now := s.o.Now()
	var gone []dicom.UID
	kept := 0
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{kindAsked}, nil, true, func(key, value []byte) (bool, error) {
			var t Transaction
			bad := t.decode(value) != nil
			over := now.After(t.Until)
			if bad || over && (kept >= transactionsKept || now.Sub(t.Asked) > transactionAge) {
				gone = append(gone, dicom.UID(key[1:]))
			} else {
				kept++
			}
			return len(gone) < purgeBatch, nil
		})
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	o := &adjustOp{done: make(chan error, 1), relief: true, adjust: func(t *tx) error {
		for _, uid := range gone {
			t.delete(transactionKey(uid))
		}
		return nil
	}}
	s.committer.enqueue(o, true)
	return s.awaitAtWork(o.done)
}
