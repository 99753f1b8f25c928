package doctor

import (
	"fmt"
	"strings"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// frequentClasses are those in which each transfer syntax is asked about: an archive that takes one for these takes it
// for others.
const frequentClasses = 5

// proposal is what is asked about.
type proposal struct {
	contexts   []pdu.PresentationContext
	classes    []dicom.UID // of storage
	compressed []dicom.UID // transfer syntaxes
}

// proposal asks for the SOP classes that are required, for those of storage without compression, and for the frequent ones
// among them in each compressed transfer syntax, as far as an association has room.
func (x *examiner) proposal(at *endpoint) *proposal {
	p := &proposal{contexts: verification()}
	for _, class := range at.required {
		p.propose(class, uncompressed...)
	}
	if !at.storage {
		return p
	}
	p.classes, p.compressed = x.o.StorageClasses, x.o.Compressed
	for _, class := range p.classes {
		p.propose(class, uncompressed...)
	}
	for i := range frequentClasses * len(p.compressed) {
		p.propose(p.classes[i%frequentClasses], string(p.compressed[i/frequentClasses]))
	}
	return p
}

func (p *proposal) propose(class dicom.UID, syntaxes ...string) {
	if n := len(p.contexts); n < transfer.MaxContexts {
		p.contexts = append(p.contexts, pdu.PresentationContext{ID: byte(2*n + 1), AbstractSyntax: string(class), TransferSyntaxes: syntaxes})
	}
}

// judge says what was accepted.
func (p *proposal) judge(e *Examined, at *endpoint, a *dimse.Association) {
	for _, class := range at.required {
		if _, ok := a.Accepted(class, ""); !ok {
			e.problem("contexts", fmt.Sprintf("it does not accept %s", dicom.SOPClassName(class)), "have that service enabled there for "+at.calling)
		} else {
			e.ok("contexts", "accepts %s", dicom.SOPClassName(class))
		}
	}
	if !at.storage {
		return
	}
	var refused []string
	for _, class := range p.classes {
		if _, ok := a.Accepted(class, ""); !ok {
			refused = append(refused, dicom.SOPClassName(class))
		}
	}
	switch n := len(p.classes); {
	case len(refused) == n:
		e.problem("contexts", "it accepts no storage SOP class", "have storage enabled there for "+at.calling)
		return
	case len(refused) > 0:
		e.add("contexts", Note, fmt.Sprintf("accepts %d of %d usual storage SOP classes, not %s", n-len(refused), n, listed(refused)),
			"instances of the others are parked; if there will be any, have those SOP classes enabled there")
	default:
		e.ok("contexts", "accepts all %d usual storage SOP classes", n)
	}
	p.judgeCompressed(e, at, a)
}

func (p *proposal) judgeCompressed(e *Examined, at *endpoint, a *dimse.Association) {
	var taken, refused []string
	for _, syntax := range p.compressed {
		if p.accepted(a, syntax) {
			taken = append(taken, dicom.TransferSyntaxName(syntax))
		} else {
			refused = append(refused, dicom.TransferSyntaxName(syntax))
		}
	}
	if len(refused) == 0 {
		e.ok("contexts", "accepts every usual compressed transfer syntax")
		return
	}
	words := "accepts no compressed transfer syntax"
	if len(taken) > 0 {
		words = fmt.Sprintf("accepts %s, not %s", listed(taken), listed(refused))
	}
	advice := "what is stored so is converted where that is possible"
	if !at.converts {
		advice = "what is stored so cannot be sent there as it is: have them enabled there, or set convert: true"
	}
	e.add("contexts", Note, words, advice)
}

func (p *proposal) accepted(a *dimse.Association, syntax dicom.UID) bool {
	for _, class := range p.classes[:frequentClasses] {
		if _, ok := a.Accepted(class, syntax); ok {
			return true
		}
	}
	return false
}

// listed names some, and says how many more there are.
func listed(names []string) string {
	const most = 6
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
