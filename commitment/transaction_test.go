package commitment

import (
	"math/big"
	"strings"
	"testing"

	"dcmgate/dicom"
)

func TestTransactionUIDs(t *testing.T) {
	seen := map[dicom.UID]bool{}
	for range 1000 {
		uid := NewTransactionUID()
		if err := uid.Valid(); err != nil || seen[uid] {
			t.Fatalf("%s: %v, seen %v", uid, err, seen[uid])
		}
		seen[uid] = true
		n, ok := new(big.Int).SetString(strings.TrimPrefix(string(uid), "2.25."), 10)
		var uuid [16]byte
		if !ok || n.FillBytes(uuid[:])[6]>>4 != 4 || uuid[8]>>6 != 2 {
			t.Fatalf("%s is no UUID of version 4", uid)
		}
	}
}
