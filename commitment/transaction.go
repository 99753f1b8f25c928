package commitment

import (
	"crypto/rand"
	"math/big"

	"dcmgate/dicom"
)

// NewTransactionUID makes a UID that nobody has used: a random UUID (RFC 9562, version 4) under the root 2.25 (PS3.5 B.2).
func NewTransactionUID() dicom.UID {
	var uuid [16]byte
	_, _ = rand.Read(uuid[:]) // never fails
	uuid[6] = uuid[6]&0x0F | 0x40
	uuid[8] = uuid[8]&0x3F | 0x80
	return dicom.UID("2.25." + new(big.Int).SetBytes(uuid[:]).String())
}
