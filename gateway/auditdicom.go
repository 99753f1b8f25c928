package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"dcmgate/audit"
	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/pdu"
	"dcmgate/qr"
	"dcmgate/spool"
	"dcmgate/upstream"
)

// transport describes a connection for the log.
func transport(state *tls.ConnectionState) string {
	if state == nil {
		return "without TLS"
	}
	s := tls.VersionName(state.Version) + " with " + tls.CipherSuiteName(state.CipherSuite)
	if names := presentedNames(state); len(names) > 0 {
		s += ", certificate " + names[0]
	}
	return s
}

// associated tells of an association that was admitted.
func (a *auditor) associated(rq *dimse.AssociationRequest) {
	if now := a.trail(); now != nil {
		now.tell(onAssociated, audit.Network(true, callerIn(rq), audit.Success, "association "+rq.ID+", "+transport(rq.TLS)))
	}
}

func callerIn(rq *dimse.AssociationRequest) audit.Participant {
	return entity(rq.CallingAETitle(), rq.Remote.Addr().String())
}

// ended tells of the end of an association, and of what came over it.
func (a *auditor) ended(rq *dimse.AssociationRequest, s dimse.AssociationSummary) {
	now := a.trail()
	if now == nil {
		return
	}
	now.EndSession(rq.ID)
	outcome, how := audit.Success, "released"
	if s.Err != nil && !errors.Is(s.Err, dimse.ErrReleased) {
		outcome, how = audit.MinorFailure, s.Err.Error()
	}
	now.tell(onEnded, audit.Network(false, callerIn(rq), outcome, "association "+rq.ID+": "+how))
}

// refused tells of a connection whose peer was not let in.
func (a *auditor) refused(r dimse.Refusal) {
	var rejected *dimse.RejectError
	var handshake *dimse.HandshakeError
	e, outcome, what := onRejected, audit.SeriousFailure, ""
	switch {
	case errors.As(r.Err, &rejected):
		if what = "association rejected: "; !rejected.Permanent() {
			outcome = audit.MinorFailure
		}
	case errors.As(r.Err, &handshake) && !gone(r.Err):
		e, what = onNoTLS, "no TLS connection: "
	default:
		return // somebody who asked for nothing: a check of a load balancer, a scanner of ports
	}
	a.alert(e, audit.NodeAuthentication, outcome, r.Remote.Addr().String(), what+r.Err.Error()+times(r.Repeated), entity(r.CallingAETitle, r.Remote.Addr().String()))
}

// gone reports whether a connection ended because the other side closed it.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded)
}

// stored counts an instance that came over an association.
func (a *auditor) stored(origin *spool.Incoming, r *spool.Receipt) {
	now := a.trail()
	if now == nil {
		return
	}
	now.count(onStored, counted{audit.Transfer{
		Session: origin.AssociationID, Action: actionOf(r), Outcome: audit.Success, Study: r.Instance.StudyInstanceUID,
		Source: requestor(entity(origin.CallingAETitle, origin.RemoteAddress)), Destination: now.own, Patient: now.patientOf(&r.Instance),
	}, r.Instance.SOPClassUID, 1})
}

// actionOf is what storing an instance was.
func actionOf(r *spool.Receipt) audit.Action {
	switch r.Outcome {
	case spool.Duplicate:
		return audit.Read // PS3.15 A.5.3.7: the receiver holds copies already
	case spool.NewVersion:
		return audit.Update
	}
	return audit.Create
}

// notStored counts an instance that came over an association and was refused. Its study may not be known.
func (a *auditor) notStored(origin *spool.Incoming, status dimse.Status) {
	now := a.trail()
	if now == nil {
		return
	}
	now.count(onNotStored, counted{audit.Transfer{
		Session: origin.AssociationID, Action: audit.Create, Outcome: audit.SeriousFailure, Description: "refused: " + status.String(),
		Source: requestor(entity(origin.CallingAETitle, origin.RemoteAddress)), Destination: now.own,
	}, origin.SOPClassUID, 1})
}

// Asked implements [qr.Auditor].
func (a *auditor) Asked(by qr.Caller, q qr.Asked) {
	now := a.trail()
	if now == nil {
		return
	}
	outcome := audit.Success
	if c := q.Status.Class(); c == dimse.ClassFailure {
		outcome = audit.SeriousFailure
	}
	what := fmt.Sprintf("%s: %d matches", q.Operation.Operation(), q.Matches)
	if q.Operation == dimse.CMoveRQ {
		what = fmt.Sprintf("C-MOVE to %s: %d instances, %d failed", pdu.Printable(q.Destination), q.Matches, q.Failed)
	} else if q.Operation == dimse.CGetRQ {
		what = fmt.Sprintf("C-GET: %d instances, %d failed", q.Matches, q.Failed)
	}
	search := audit.Search{Subject: string(q.SOPClass), Query: q.Identifier, TransferSyntax: dicom.ExplicitVRLittleEndian}
	now.tell(onAsked, audit.Query(requestor(entity(by.AETitle, by.Address)), now.own, search, outcome, what+"; "+q.Status.String()))
}

// Sent implements [qr.Auditor].
func (a *auditor) Sent(by qr.Caller, destination string, in *spool.Instance, ok bool) {
	now := a.trail()
	if now == nil {
		return
	}
	t := audit.Transfer{
		Session: by.Association, Action: audit.Read, Outcome: audit.Success, Study: in.StudyInstanceUID, Patient: now.patientOf(in),
		Source: now.own, Destination: requestor(entity(by.AETitle, by.Address)),
	}
	if destination != "" {
		t.Other = t.Destination
		t.Destination = a.at(destination, destination)
	}
	if !ok {
		t.Outcome = audit.SeriousFailure
	}
	now.count(onRetrieved, counted{t, in.SOPClassUID, 1})
}

// commitmentQuery is a request for storage commitment, or the report to one, between who has asked and who was.
func commitmentQuery(from, to audit.Participant, err error, what string) *audit.Message {
	outcome := audit.Success
	if err != nil {
		outcome, what = audit.SeriousFailure, what+": "+err.Error()
	}
	search := audit.Search{Subject: string(dicom.StorageCommitmentPushModelSOPClass), TransferSyntax: dicom.ExplicitVRLittleEndian}
	return audit.Query(from, to, search, outcome, what)
}

// committing tells of a request for storage commitment.
func (a *auditor) committing(peer string, over *dimse.Association, instances int, answered dimse.Status) {
	now := a.trail()
	if now == nil {
		return
	}
	var err error
	if !answered.Ok() {
		err = &dimse.StatusError{Status: answered}
	}
	now.tell(onCommitting, commitmentQuery(requestor(entity(peer, over.Remote().Addr().String())), now.own, err, fmt.Sprintf("storage commitment of %d instances", instances)))
}

// committed tells of a report to who has asked for storage commitment.
func (a *auditor) committed(peer string, over *dimse.Association, r *commitment.Result, err error) {
	now := a.trail()
	if now == nil {
		return
	}
	what := fmt.Sprintf("storage commitment reported: %d committed, %d not", len(r.Committed), len(r.Failed))
	now.tell(onCommitted, commitmentQuery(entity(peer, over.Remote().Addr().String()), requestor(now.own), err, what))
}

// askedFor tells of a request for storage commitment to a destination, or of its report.
func (a *auditor) askedFor(q forwarder.Asked) {
	now := a.trail()
	if now == nil {
		return
	}
	to := a.at(destinationKey+q.Destination, q.Destination)
	if q.Report {
		what := fmt.Sprintf("storage commitment reported: %d committed, %d not", q.Instances-q.Failed, q.Failed)
		now.tell(onReported, commitmentQuery(now.own, requestor(to), q.Err, what))
		return
	}
	now.tell(onAsking, commitmentQuery(requestor(now.own), to, q.Err, fmt.Sprintf("storage commitment of %d instances", q.Instances)))
}

// askedUpstream tells of a query or retrieval that was put to an archive.
func (a *auditor) askedUpstream(q upstream.Asked) {
	now := a.trail()
	if now == nil {
		return
	}
	e, what := onUpstreamFind, fmt.Sprintf("C-FIND: %d answers", q.Count)
	if q.Operation == dimse.CMoveRQ {
		e, what = onUpstreamMove, fmt.Sprintf("C-MOVE: %d instances", max(q.Count, 0))
	}
	outcome := audit.Success
	if q.Err != nil {
		outcome, what = audit.SeriousFailure, what+": "+q.Err.Error()
	}
	search := audit.Search{Subject: string(q.SOPClass), Query: q.Identifier, TransferSyntax: dicom.ExplicitVRLittleEndian}
	now.tell(e, audit.Query(requestor(now.own), a.at(upstreamKey+q.Upstream, q.Upstream), search, outcome, what))
}

// lacksRights tells of an association in which presentation contexts were refused.
func (a *auditor) lacksRights(rq *dimse.AssociationRequest, missing []string) {
	if a != nil {
		a.alert(onRights, audit.RestrictedFunction, audit.MinorFailure, rq.Remote.Addr().String(),
			"association "+rq.ID+": the peer's allow lacks "+strings.Join(missing, ", "), callerIn(rq))
	}
}

// sentTo counts the instances of a study that a command has sent to a peer.
func (a *auditor) sentTo(ctx context.Context, peer string) func(*spool.Instance, bool) {
	by := requestor(operatorOf(ctx))
	return func(in *spool.Instance, ok bool) {
		now := a.trail()
		if now == nil {
			return
		}
		t := audit.Transfer{
			Session: "restore to " + peer, Action: audit.Read, Outcome: audit.Success, Study: in.StudyInstanceUID, Patient: now.patientOf(in),
			Source: now.own, Destination: a.at(peer, peer), Other: by,
		}
		if !ok {
			t.Outcome = audit.SeriousFailure
		}
		now.count(onSentStudy, counted{t, in.SOPClassUID, 1})
	}
}

// queue is what the forwarder takes its jobs from, with an eye on what becomes of them.
func (a *auditor) queue(q forwarder.Queue, instance func(spool.InstanceID) (spool.Instance, error)) forwarder.Queue {
	return auditedQueue{q, a, instance}
}

type auditedQueue struct {
	forwarder.Queue
	auditor  *auditor
	instance func(spool.InstanceID) (spool.Instance, error)
}

// Complete implements [forwarder.Queue].
func (q auditedQueue) Complete(results ...forwarder.Result) error {
	for i := range results {
		q.tell(&results[i])
	}
	return q.Queue.Complete(results...)
}

func (q auditedQueue) tell(r *forwarder.Result) {
	now := q.auditor.trail()
	if now == nil {
		return
	}
	t := audit.Transfer{Session: destinationKey + r.Job.Destination, Action: audit.Create, Outcome: audit.Success, Study: r.Job.Study}
	switch r.Verdict {
	case forwarder.Delivered:
	case forwarder.Parked:
		t.Outcome, t.Description = audit.SeriousFailure, "not delivered: "+r.Code
	default:
		return // it is tried again
	}
	t.Source = requestor(now.own)
	t.Destination = q.auditor.at(destinationKey+r.Job.Destination, r.Job.Destination)
	if now.patient != nil {
		if in, err := q.instance(spool.InstanceID(r.Job.ID)); err == nil {
			t.Patient = now.patientOf(&in)
		}
	}
	now.count(onDelivered, counted{t, r.Job.SOPClassUID, 1})
}
