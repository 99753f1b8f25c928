package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"strings"
	"time"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// Bounds of an enquiry.
const (
	MaxEnquiry         = 1 << 20 // bytes of its request
	maxEnquiryKeyParts = 128     // bytes of a peer's name, and of a transaction UID
)

// ErrBadEnquiry says that an enquiry is larger than its bounds, or names no peer or transaction.
var ErrBadEnquiry = errors.New("spool: bad enquiry")

// Enquiry is a peer's request for storage commitment (PS3.4 J.3) that is to be answered. Peer and TransactionUID name it.
type Enquiry struct {
	Peer           string // AE title
	TransactionUID dicom.UID
	Received       time.Time // to the millisecond
	Request        []byte    // its data set, in a transfer syntax that whoever keeps enquiries knows
}

func (e *Enquiry) valid() bool {
	return e.Peer != "" && len(e.Peer) <= maxEnquiryKeyParts && strings.IndexByte(e.Peer, 0) < 0 &&
		e.TransactionUID != "" && len(e.TransactionUID) <= maxEnquiryKeyParts && len(e.Request) <= MaxEnquiry
}

func enquiryKey(peer string, transaction dicom.UID) []byte {
	return append(append(append([]byte{kindEnquiry}, peer...), 0), transaction...)
}

// KeepEnquiry makes an enquiry durable: when it returns nil, the enquiry outlives the loss of power. One of the same name
// is replaced. Their number is for the caller to bound.
func (s *Spool) KeepEnquiry(e Enquiry) error {
	if !e.valid() {
		return ErrBadEnquiry
	}
	value := append(binary.BigEndian.AppendUint64(nil, uint64(e.Received.UnixMilli())), e.Request...)
	return s.adjust(func(t *tx) error {
		t.set(enquiryKey(e.Peer, e.TransactionUID), value)
		return nil
	})
}

// ForgetEnquiry drops an enquiry that was answered or given up. That there is none is no error.
func (s *Spool) ForgetEnquiry(peer string, transaction dicom.UID) error {
	return s.adjust(func(t *tx) error {
		t.delete(enquiryKey(peer, transaction))
		return nil
	})
}

// Enquiry returns one enquiry; ErrNotFound if it is not kept.
func (s *Spool) Enquiry(peer string, transaction dicom.UID) (e Enquiry, err error) {
	key := enquiryKey(peer, transaction)
	err = s.db.View(func(txn *badger.Txn) error {
		value, ok, err := get(txn, key)
		if err == nil && ok {
			e, ok = decodeEnquiry(key, value)
		}
		if err == nil && !ok {
			err = ErrNotFound
		}
		return err
	})
	return e, err
}

// Enquiries yields the enquiries that are kept, by peer. ctx's error, or one of the index, ends it.
func (s *Spool) Enquiries(ctx context.Context) iter.Seq2[Enquiry, error] {
	return func(yield func(Enquiry, error) bool) {
		err := eachEnquiry(ctx, s.db, func(e Enquiry) bool { return yield(e, nil) })
		if err != nil {
			yield(Enquiry{}, err)
		}
	}
}

func eachEnquiry(ctx context.Context, db *badger.DB, fn func(Enquiry) bool) error {
	return db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{kindEnquiry}, nil, true, func(key, value []byte) (bool, error) {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			e, ok := decodeEnquiry(key, value)
			return !ok || fn(e), nil
		})
	})
}

// decodeEnquiry copies an enquiry out of its key and value.
func decodeEnquiry(key, value []byte) (e Enquiry, ok bool) {
	if len(key) == 0 || len(value) < 8 {
		return e, false
	}
	peer, transaction, ok := bytes.Cut(key[1:], []byte{0})
	return Enquiry{
		Peer:           string(peer),
		TransactionUID: dicom.UID(transaction),
		Received:       time.UnixMilli(int64(binary.BigEndian.Uint64(value))),
		Request:        bytes.Clone(value[8:]),
	}, ok
}
