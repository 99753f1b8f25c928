package pdu

import "fmt"

// PresentationContext is proposed in A-ASSOCIATE-RQ (PS3.8 9.3.2.2).
type PresentationContext struct {
	ID               byte     // odd, unique in the association
	AbstractSyntax   string   // SOP class UID; empty if the item was missing
	TransferSyntaxes []string // in the order given, which is no order of preference
}

// PresentationContextResult answers a PresentationContext in A-ASSOCIATE-AC
// (PS3.8 9.3.3.2).
type PresentationContextResult struct {
	ID             byte
	Result         ContextResult
	TransferSyntax string // significant only if Result is ContextAccepted
}

// ContextResult is the Result/Reason field of PS3.8 table 9-18.
type ContextResult byte

// Results of the negotiation of a presentation context.
const (
	ContextAccepted                     ContextResult = 0
	ContextUserRejection                ContextResult = 1
	ContextNoReason                     ContextResult = 2 // provider rejection
	ContextAbstractSyntaxNotSupported   ContextResult = 3 // provider rejection
	ContextTransferSyntaxesNotSupported ContextResult = 4 // provider rejection
)

var contextResults = [...]string{
	ContextAccepted:                     "acceptance",
	ContextUserRejection:                "user-rejection",
	ContextNoReason:                     "no-reason (provider rejection)",
	ContextAbstractSyntaxNotSupported:   "abstract-syntax-not-supported (provider rejection)",
	ContextTransferSyntaxesNotSupported: "transfer-syntaxes-not-supported (provider rejection)",
}

// String uses the words of PS3.8 table 9-18.
func (r ContextResult) String() string {
	if int(r) < len(contextResults) {
		return contextResults[r]
	}
	return fmt.Sprintf("reserved result %d", byte(r))
}

func (e *encoder) presentationContext(c PresentationContext) {
	if len(c.TransferSyntaxes) > maxTransferSyntaxes {
		e.failf("presentation context %d: %d transfer syntaxes, at most %d are possible",
			c.ID, len(c.TransferSyntaxes), maxTransferSyntaxes)
	}
	e.item(itemPresentationContext, func() {
		e.bytes([]byte{c.ID, 0, 0, 0})
		e.uidItem(itemAbstractSyntax, c.AbstractSyntax)
		for _, ts := range c.TransferSyntaxes {
			e.uidItem(itemTransferSyntax, ts)
		}
	})
}

func (e *encoder) contextResult(c PresentationContextResult) {
	e.item(itemContextResult, func() {
		e.bytes([]byte{c.ID, 0, byte(c.Result), 0})
		e.uidItem(itemTransferSyntax, c.TransferSyntax)
	})
}

func (d *decoder) presentationContext(ids *contextIDs) (c PresentationContext) {
	c.ID = d.contextID(ids)
	d.skip("Reserved", 3)
	d.items(func(kind byte, item *decoder) {
		switch kind {
		case itemAbstractSyntax:
			c.AbstractSyntax = item.uid("Abstract-syntax-name", item.len())
		case itemTransferSyntax:
			if len(c.TransferSyntaxes) == maxTransferSyntaxes {
				item.fail(fieldTransferSyntax, "too many in one presentation context")
				return
			}
			c.TransferSyntaxes = append(c.TransferSyntaxes, item.uid(fieldTransferSyntax, item.len()))
		}
	})
	return c
}

// contextResult tolerates a missing transfer syntax, which is not significant
// in a refusal.
func (d *decoder) contextResult(ids *contextIDs) (c PresentationContextResult) {
	c.ID = d.contextID(ids)
	d.skip("Reserved", 1)
	c.Result = ContextResult(d.uint8("Result/Reason"))
	d.skip("Reserved", 1)
	d.items(func(kind byte, item *decoder) {
		if kind == itemTransferSyntax {
			c.TransferSyntax = item.uid(fieldTransferSyntax, item.len())
		}
	})
	return c
}

func (d *decoder) contextID(ids *contextIDs) byte {
	at := d.base
	id := d.uint8(fieldContextID)
	if d.err == nil {
		if err := ids.add(id); err != nil {
			d.failAt(at, fieldContextID, err.Error())
		}
	}
	return id
}
