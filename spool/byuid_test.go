package spool

import (
	"slices"
	"testing"
)

// An instance is looked up by its SOP Instance UID alone, whatever became of it.
func TestLookupSOP(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	first := mustSend(t, s, ward[0].object(t)).Instance.ID
	changed := ward[0]
	changed.accession = "changed"
	second := mustSend(t, s, changed.object(t)).Instance.ID
	flush(t, s)
	release := holdIndex(t, s)
	elsewhere := ward[0]
	elsewhere.study, elsewhere.series = "1.9", "1.9.1"
	third := mustSend(t, s, elsewhere.object(t)).Instance.ID
	check := func(state string, want ...InstanceID) {
		t.Helper()
		found, err := s.LookupSOP("1.1.1.1")
		if err != nil {
			t.Fatal(err)
		}
		var got []InstanceID
		for _, in := range found {
			got = append(got, in.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", state, got, want)
		}
	}
	check("pending", first, second, third)
	release()
	flush(t, s)
	check("indexed", first, second, third)
	if found, err := s.LookupSOP("1.1.1"); err != nil || len(found) != 0 {
		t.Errorf("another UID: %v, %v", found, err)
	}

	change := func(fn func(tx *tx, in *Instance) error, ids ...InstanceID) {
		t.Helper()
		err := s.adjust(func(tx *tx) error {
			for _, id := range ids {
				in, err := tx.entry(id)
				if err != nil {
					return err
				}
				if err := fn(tx, in); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	change(func(tx *tx, in *Instance) error { return tx.bury(in) }, first, second, third)
	check("evicted", first, second, third)
	if found, err := s.LookupSOP("1.1.1.1"); err != nil || found[0].State != InstanceEvicted {
		t.Errorf("evicted: %+v, %v", found, err)
	}
	change(func(tx *tx, in *Instance) error { return s.purge(tx, in, in.identity()) }, first)
	check("one purged", second, third)
	change(func(tx *tx, in *Instance) error { return s.purge(tx, in, in.identity()) }, second, third)
	check("all purged")
	if n := countKeys(t, s)[kindSOP]; n != 0 {
		t.Errorf("%d keys are left", n)
	}
}
