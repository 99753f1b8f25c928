package forwarder

import (
	"slices"
	"testing"

	"dcmgate/dicom"
	"dcmgate/transfer"
)

var (
	ctPair = transfer.Pair{SOPClassUID: "1.2.840.10008.5.1.4.1.1.2", TransferSyntaxUID: dicom.ExplicitVRLittleEndian}
	mrPair = transfer.Pair{SOPClassUID: "1.2.840.10008.5.1.4.1.1.4", TransferSyntaxUID: dicom.ExplicitVRLittleEndian}
	usPair = transfer.Pair{SOPClassUID: "1.2.840.10008.5.1.4.1.1.6.1", TransferSyntaxUID: dicom.ExplicitVRLittleEndian}
)

func job(id uint64, p transfer.Pair, urgency int) *entry {
	return &entry{Job: Job{ID: id, Pair: p, Urgency: urgency}}
}

func ids(entries []*entry) (all []uint64) {
	for _, e := range entries {
		all = append(all, e.ID)
	}
	return all
}

func TestFeedKeepsOrder(t *testing.T) {
	var f feed
	f.add(job(1, ctPair, 0), job(2, ctPair, -1), job(3, ctPair, 1), job(4, ctPair, 0), job(5, ctPair, 1))
	if got := ids(f.entries); !slices.Equal(got, []uint64{3, 5, 1, 4, 2}) {
		t.Errorf("order %v", got)
	}
	f.giveBack(job(6, ctPair, 0))
	if got := ids(f.entries); !slices.Equal(got, []uint64{3, 5, 6, 1, 4, 2}) {
		t.Errorf("order %v after one was given back", got)
	}
}

func TestFeedTakesWhatCanBeCarried(t *testing.T) {
	var f feed
	f.add(job(1, ctPair, 0), job(2, mrPair, 0), job(3, ctPair, 0), job(4, usPair, 0))
	can := map[transfer.Pair]bool{mrPair: true, usPair: true}
	for _, want := range []uint64{2, 4} {
		if e := f.take(can); e == nil || e.ID != want {
			t.Fatalf("took %+v, want %d", e, want)
		}
	}
	if e := f.take(can); e != nil {
		t.Errorf("took %d, which cannot be carried", e.ID)
	}
	if got := ids(f.entries); !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("left are %v", got)
	}
	if f.entries[0].passed != 3 {
		t.Errorf("the first was passed over %d times, want 3", f.entries[0].passed)
	}
}

func TestFeedFindsOrphans(t *testing.T) {
	var f feed
	f.add(job(1, ctPair, 0), job(2, mrPair, 0), job(3, usPair, 0))
	served := map[transfer.Pair]int{ctPair: 1}
	if o := f.orphan(served); o == nil || o.ID != 2 {
		t.Errorf("orphan %+v, want 2", o)
	}
	served[mrPair], served[usPair] = 1, 1
	if o := f.orphan(served); o != nil {
		t.Errorf("orphan %d although all are served", o.ID)
	}
	f.entries[2].passed = maxPassed
	if o := f.orphan(served); o == nil || o.ID != 3 {
		t.Errorf("orphan %+v, want the one that was passed over", o)
	}
	if got := f.pairs(f.entries[2]); !slices.Equal(got, []transfer.Pair{usPair, ctPair, mrPair, usPair}) {
		t.Errorf("pairs %v", got)
	}
}

func TestRecentPairs(t *testing.T) {
	var r recentPairs
	for _, p := range []transfer.Pair{ctPair, mrPair, ctPair, ctPair, usPair} {
		r.note(p)
	}
	if !slices.Equal(r, recentPairs{mrPair, ctPair, usPair}) {
		t.Errorf("remembers %v", r)
	}
	for i := range 1000 {
		r.note(transfer.Pair{SOPClassUID: dicom.UID(string(rune('0' + i)))})
	}
	if len(r) != transfer.MaxContexts {
		t.Errorf("remembers %d pairs", len(r))
	}
}
