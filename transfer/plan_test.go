package transfer

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

const (
	ct  dicom.UID = "1.2.840.10008.5.1.4.1.1.2"
	mr  dicom.UID = "1.2.840.10008.5.1.4.1.1.4"
	ivr           = dicom.ImplicitVRLittleEndian
	evr           = dicom.ExplicitVRLittleEndian
	j2k dicom.UID = "1.2.840.10008.1.2.4.90"
)

func TestPlan(t *testing.T) {
	context := func(id byte, p Pair) pdu.PresentationContext {
		return pdu.PresentationContext{ID: id, AbstractSyntax: string(p.SOPClassUID), TransferSyntaxes: []string{string(p.TransferSyntaxUID)}}
	}
	tests := []struct {
		name    string
		batch   []Pair
		options PlanOptions
		want    Plan
	}{
		{name: "nothing to send", want: Plan{Assigned: []int{}}},
		{
			name:  "a context for each pair, in order of appearance",
			batch: []Pair{{ct, evr}, {mr, ivr}, {ct, evr}, {ct, j2k}},
			want: Plan{
				Proposals: [][]pdu.PresentationContext{{context(1, Pair{ct, evr}), context(3, Pair{mr, ivr}), context(5, Pair{ct, j2k})}},
				Assigned:  []int{0, 0, 0, 0},
			},
		},
		{
			name:    "a transfer syntax that is not allowed",
			batch:   []Pair{{ct, j2k}, {ct, evr}},
			options: PlanOptions{TransferSyntaxes: []dicom.UID{ivr, evr}},
			want: Plan{
				Proposals: [][]pdu.PresentationContext{{context(1, Pair{ct, evr})}},
				Assigned:  []int{-1, 0},
			},
		},
		{
			name:    "room is used for what may follow",
			batch:   []Pair{{ct, evr}},
			options: PlanOptions{Also: []Pair{{mr, evr}, {ct, evr}, {mr, j2k}}, TransferSyntaxes: []dicom.UID{evr}},
			want: Plan{
				Proposals: [][]pdu.PresentationContext{{context(1, Pair{ct, evr}), context(3, Pair{mr, evr})}},
				Assigned:  []int{0},
			},
		},
		{
			name:    "but not alone",
			options: PlanOptions{Also: []Pair{{mr, evr}}},
			want:    Plan{Assigned: []int{}},
		},
		{
			name:  "an instance without transfer syntax cannot be proposed",
			batch: []Pair{{ct, ""}, {"", evr}},
			want:  Plan{Assigned: []int{-1, -1}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := NewPlan(test.batch, test.options)
			if got.Served = nil; !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// manyPairs returns n pairs that differ.
func manyPairs(n int) []Pair {
	pairs := make([]Pair, n)
	for i := range pairs {
		pairs[i] = Pair{dicom.UID(fmt.Sprintf("1.2.840.10008.5.1.4.1.1.%d", i)), evr}
	}
	return pairs
}

func TestPlanSplits(t *testing.T) {
	for _, test := range []struct {
		pairs, also int
		contexts    []int
	}{
		{128, 0, []int{128}},
		{129, 0, []int{128, 1}},
		{300, 0, []int{128, 128, 44}},
		{129, 500, []int{128, 128}},
		{100, 500, []int{128}},
	} {
		batch := slices.Concat(manyPairs(test.pairs), manyPairs(test.pairs)) // each pair twice
		plan := NewPlan(batch, PlanOptions{Also: manyPairs(test.also)})
		var contexts []int
		for i, p := range plan.Proposals {
			contexts = append(contexts, len(p))
			for j, c := range p {
				if int(c.ID) != 2*j+1 {
					t.Fatalf("context %d of association %d has ID %d", j, i, c.ID)
				}
			}
		}
		if !slices.Equal(contexts, test.contexts) {
			t.Errorf("%d pairs: associations with %v contexts, want %v", test.pairs, contexts, test.contexts)
		}
		for i, at := range plan.Assigned {
			if !slices.ContainsFunc(plan.Proposals[at], func(c pdu.PresentationContext) bool {
				return c.AbstractSyntax == string(batch[i].SOPClassUID)
			}) {
				t.Errorf("item %d is assigned to association %d, which has no context for it", i, at)
			}
		}
	}
}
