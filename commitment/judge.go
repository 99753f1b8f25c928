package commitment

import (
	"errors"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// verdict is what a Keeper finds about an instance it is asked to commit itself to.
type verdict uint8

const (
	unknown   verdict = iota // never received, or given up without having reached every destination
	conflict                 // another SOP class was received under the SOP Instance UID
	damaged                  // its record on disk is not whole, or cannot be read
	elsewhere                // delivered to every destination and evicted: these have it
	here                     // durable in the spool
	verdicts                 // their number
)

// verdictNames are labels of the metric.
var verdictNames = [verdicts]string{"unknown", "conflict", "damaged", "committed_delivered", "committed"}

// reasons are the Failure Reasons of those that are not committed.
var reasons = [...]dimse.Status{unknown: ReasonNoSuchInstance, conflict: ReasonClassInstanceConflict, damaged: ReasonProcessingFailure}

func (v verdict) committed() bool { return v >= elsewhere }

// judge looks an instance up. Of several versions that were received the last one counts. An error is that of the index.
func (k *Keeper) judge(r Reference) (verdict, error) {
	found, err := k.o.Store.LookupSOP(r.SOPInstanceUID)
	if err != nil {
		return unknown, err
	}
	for i := len(found) - 1; i >= 0; i-- {
		if found[i].SOPClassUID == r.SOPClassUID {
			return k.judgeVersion(&found[i])
		}
	}
	if len(found) > 0 {
		return conflict, nil
	}
	return unknown, nil
}

func (k *Keeper) judgeVersion(in *spool.Instance) (verdict, error) {
	reader, err := k.o.Store.Open(in.ID)
	switch {
	case err == nil:
		return here, reader.Close()
	case errors.Is(err, spool.ErrClosed):
		return unknown, err
	case !errors.Is(err, spool.ErrEvicted) && !errors.Is(err, spool.ErrNotFound):
		return damaged, nil
	}
	delivered, err := k.o.Store.DeliveredEverywhere(in.ID)
	switch {
	case errors.Is(err, spool.ErrNotFound): // even its custody record is gone
		return unknown, nil
	case err == nil && delivered:
		return elsewhere, nil
	}
	return unknown, err
}

// result answers a request.
func (k *Keeper) result(peer string, uid dicom.UID) (*Result, [verdicts]int, error) {
	var counts [verdicts]int
	e, err := k.o.Store.Enquiry(peer, uid)
	if err != nil {
		return nil, counts, err
	}
	rq, err := ParseRequest(e.Request, keptSyntax)
	if err != nil {
		return nil, counts, err
	}
	r := &Result{TransactionUID: uid}
	for _, ref := range rq.References {
		v, err := k.judge(ref)
		if err != nil {
			return nil, counts, err
		}
		counts[v]++
		if v.committed() {
			r.Committed = append(r.Committed, ref)
		} else {
			r.Failed = append(r.Failed, Failure{ref, reasons[v]})
		}
	}
	if counts[here] > 0 && counts[elsewhere] == 0 { // else some could not be retrieved here
		r.RetrieveAETitle = k.terms.Load().aeTitle
	}
	return r, counts, nil
}
