package transfer

import (
	"slices"

	"dcmgate/dicom"
	"dcmgate/pdu"
	"dcmgate/transcode"
)

// MaxContexts is the number of presentation contexts that fit into one
// association: the odd numbers from 1 to 255 (PS3.8 9.3.2.2).
const MaxContexts = 128

// A Pair is what a presentation context of ours stands for: a SOP class and
// the one transfer syntax in which its instances are stored.
type Pair struct {
	SOPClassUID       dicom.UID
	TransferSyntaxUID dicom.UID
}

// String names SOP class and transfer syntax in words and UIDs.
func (p Pair) String() string {
	return named(dicom.SOPClassName(p.SOPClassUID), p.SOPClassUID) + " in " +
		named(dicom.TransferSyntaxName(p.TransferSyntaxUID), p.TransferSyntaxUID)
}

// named joins a registered name and its UID. UIDs come from the wire, so
// they are bounded before they reach a log line.
func named(name string, uid dicom.UID) string {
	u := string(uid)
	if len(u) > 64 {
		u = u[:64] + "..."
	}
	if name == "" || name == string(uid) {
		return u
	}
	return name + " " + u
}

// PlanOptions is a destination's policy about contexts.
type PlanOptions struct {
	// TransferSyntaxes are the only transfer syntaxes that may be proposed;
	// empty means all.
	TransferSyntaxes []dicom.UID
	// Convert says that instances may be converted to uncompressed transfer
	// syntaxes: these are proposed beside the stored one, in contexts of
	// their own, so that the peer's choice is still ours to make.
	Convert bool
	// Also are pairs that may follow soon, for example those of recent
	// batches. They fill the room left in the last association, so that an
	// instance of another SOP class need not wait for a new one.
	Also []Pair
}

// A Plan says which associations a batch needs.
type Plan struct {
	// Proposals holds one list of presentation contexts for each association,
	// in the order in which the batch needs them.
	Proposals [][]pdu.PresentationContext
	// Served holds for each proposal the pairs that it is for. What is in one
	// of them is sent over that association, as it is stored or converted.
	Served [][]Pair
	// Assigned holds for each item of the batch the index of the proposal
	// that serves it, or -1 for an item that the options refuse.
	Assigned []int
}

// Allowed reports whether the pair may be proposed, or another that its
// instances can be converted to.
func (o PlanOptions) Allowed(p Pair) bool {
	return len(o.proposable(p)) > 0
}

// proposable returns the pairs that instances of p can be sent in.
func (o PlanOptions) proposable(p Pair) []Pair {
	if p.SOPClassUID == "" || p.TransferSyntaxUID == "" {
		return nil
	}
	pairs := []Pair{p}
	for _, ts := range fallbacks {
		if o.Convert && transcode.Can(p.TransferSyntaxUID, ts) {
			pairs = append(pairs, Pair{p.SOPClassUID, ts})
		}
	}
	return slices.DeleteFunc(pairs, func(p Pair) bool {
		return len(o.TransferSyntaxes) > 0 && !slices.Contains(o.TransferSyntaxes, p.TransferSyntaxUID)
	})
}

// NewPlan plans the presentation contexts for a batch. Pairs keep the order
// of their first appearance; a plan depends on nothing else, so equal batches
// give equal proposals.
func NewPlan(batch []Pair, o PlanOptions) Plan {
	plan := Plan{Assigned: make([]int, len(batch))}
	at := make(map[Pair]int)
	for i, pair := range batch {
		if !o.Allowed(pair) {
			plan.Assigned[i] = -1
			continue
		}
		proposal, known := at[pair]
		if !known {
			proposal = plan.add(pair, o)
			at[pair] = proposal
		}
		plan.Assigned[i] = proposal
	}
	plan.fill(at, o)
	return plan
}

// add gives the pair its contexts, in a new association if the last one has
// no room for all of them.
func (p *Plan) add(pair Pair, o PlanOptions) int {
	last := len(p.Proposals) - 1
	if last < 0 || !p.fits(o.proposable(pair)) {
		p.Proposals, p.Served = append(p.Proposals, nil), append(p.Served, nil)
		last++
	}
	for _, missing := range p.missing(o.proposable(pair)) {
		contexts := p.Proposals[last]
		p.Proposals[last] = append(contexts, pdu.PresentationContext{
			ID:               byte(2*len(contexts) + 1),
			AbstractSyntax:   string(missing.SOPClassUID),
			TransferSyntaxes: []string{string(missing.TransferSyntaxUID)},
		})
	}
	p.Served[last] = append(p.Served[last], pair)
	return last
}

// missing are those of the pairs that the last association has no context
// for.
func (p *Plan) missing(pairs []Pair) []Pair {
	contexts := p.Proposals[len(p.Proposals)-1]
	return slices.DeleteFunc(pairs, func(pair Pair) bool {
		return slices.ContainsFunc(contexts, func(c pdu.PresentationContext) bool {
			return c.AbstractSyntax == string(pair.SOPClassUID) && c.TransferSyntaxes[0] == string(pair.TransferSyntaxUID)
		})
	})
}

func (p *Plan) fits(pairs []Pair) bool {
	return len(p.Proposals[len(p.Proposals)-1])+len(p.missing(pairs)) <= MaxContexts
}

// fill uses the room of the last association for pairs that may follow.
func (p *Plan) fill(at map[Pair]int, o PlanOptions) {
	if len(p.Proposals) == 0 {
		return
	}
	for _, pair := range o.Also {
		if _, known := at[pair]; known || !o.Allowed(pair) {
			continue
		}
		if !p.fits(o.proposable(pair)) {
			return
		}
		at[pair] = p.add(pair, o)
	}
}
