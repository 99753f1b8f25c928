package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"dcmgate/audit"
	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/pdu"
	"dcmgate/qr"
	"dcmgate/restore"
	"dcmgate/spool"
	"dcmgate/web"
)

// auditor tells the audit trail what happens in the gateway. On nil its methods do nothing; they all return at once.
type auditor struct {
	log       *audit.Log
	own       audit.Participant
	directory string
	others    atomic.Pointer[map[string]audit.Participant] // destinations by name, and peers by AE title
	patient   func(*spool.Instance) string                 // what is recorded of a patient; nil for nothing
}

// application is the gateway as a participant.
func application(aeTitle string) audit.Participant {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return audit.Participant{UserID: strconv.Itoa(os.Getpid()), AETitle: aeTitle, UserName: "dcmgate", Address: host}
}

// entity is an application entity as a participant.
func entity(aeTitle, address string) audit.Participant {
	if aeTitle == "" {
		aeTitle = "-"
	}
	return audit.Participant{UserID: aeTitle, AETitle: aeTitle, Address: address}
}

func requestor(p audit.Participant) audit.Participant {
	p.Requestor = true
	return p
}

// know remembers where destinations and peers are.
func (a *auditor) know(cfg *Config) {
	if a == nil {
		return
	}
	others := make(map[string]audit.Participant)
	for _, p := range cfg.Peers {
		others[p.AETitle] = entity(p.AETitle, hostOf(p.Address))
	}
	for _, d := range cfg.Destinations {
		others[destinationKey+d.Name] = entity(d.AETitle, hostOf(d.Address))
	}
	a.others.Store(&others)
}

// destinationKey begins the keys of destinations among those of peers; no AE title holds it.
const destinationKey = "\\"

func (a *auditor) at(key, aeTitle string) audit.Participant {
	if p, ok := (*a.others.Load())[key]; ok {
		return p
	}
	return entity(aeTitle, "")
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func (a *auditor) patientOf(in *spool.Instance) string {
	if a.patient == nil {
		return ""
	}
	return a.patient(in)
}

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

// run tells of the start and writes the log until stop is called, which tells of the end.
func (a *auditor) run() (stop func()) {
	if a == nil {
		return func() {}
	}
	a.log.Record(audit.Activity(true, a.own, audit.Participant{}))
	written := a.write()
	return func() {
		a.log.EndSessions() // the stop is the last that is told
		a.log.Record(audit.Activity(false, a.own, audit.Participant{}))
		written()
	}
}

// write writes the log until stop is called.
func (a *auditor) write() (stop func()) {
	if a == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.log.Run(ctx) // never fails
	}()
	return func() {
		cancel()
		<-ended
	}
}

// close gives up a log that does not run.
func (a *auditor) close() {
	if a != nil {
		a.log.Close()
	}
}

// associated tells of an association that was admitted.
func (a *auditor) associated(rq *dimse.AssociationRequest) {
	if a != nil {
		a.log.Record(audit.Network(true, callerIn(rq), audit.Success, "association "+rq.ID+", "+transport(rq.TLS)))
	}
}

func callerIn(rq *dimse.AssociationRequest) audit.Participant {
	return entity(rq.CallingAETitle(), rq.Remote.Addr().String())
}

// ended tells of the end of an association, and of what came over it.
func (a *auditor) ended(rq *dimse.AssociationRequest, s dimse.AssociationSummary) {
	if a == nil {
		return
	}
	a.log.EndSession(rq.ID)
	outcome, how := audit.Success, "released"
	if s.Err != nil && !errors.Is(s.Err, dimse.ErrReleased) {
		outcome, how = audit.MinorFailure, s.Err.Error()
	}
	a.log.Record(audit.Network(false, callerIn(rq), outcome, "association "+rq.ID+": "+how))
}

// refused tells of a connection whose peer was not let in.
func (a *auditor) refused(r dimse.Refusal) {
	if a == nil {
		return
	}
	var rejected *dimse.RejectError
	var handshake *dimse.HandshakeError
	outcome, what := audit.SeriousFailure, ""
	switch {
	case errors.As(r.Err, &rejected):
		if what = "association rejected: "; !rejected.Permanent() {
			outcome = audit.MinorFailure
		}
	case errors.As(r.Err, &handshake) && !gone(r.Err):
		what = "no TLS connection: "
	default:
		return // somebody who asked for nothing: a check of a load balancer, a scanner of ports
	}
	a.alert(audit.NodeAuthentication, outcome, r.Remote.Addr().String(), what+r.Err.Error()+times(r.Repeated), entity(r.CallingAETitle, r.Remote.Addr().String()))
}

// gone reports whether a connection ended because the other side closed it.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded)
}

func times(repeated int) string {
	if repeated == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d times before)", repeated)
}

// alert tells of something that concerns security. by is who did it.
func (a *auditor) alert(kind audit.CodedValue, outcome audit.Outcome, subject, description string, by audit.Participant) {
	if a == nil {
		return
	}
	a.log.Record(audit.Alert(kind, outcome, subject, description, requestor(a.own), by))
}

// configured tells that another configuration was taken, or that it was not.
func (a *auditor) configured(cause string, r *Reloaded, err error) {
	if a == nil || err == nil && len(r.Changed) == 0 {
		return
	}
	outcome, what := audit.Success, "configuration taken ("+cause+"): "+strings.Join(r.Changed, ", ")
	if err != nil {
		outcome, what = audit.SeriousFailure, "configuration not taken ("+cause+"): "+err.Error()
	}
	a.log.Record(audit.Alert(audit.SoftwareConfiguration, outcome, "file:"+r.File, what, requestor(a.own)))
}

// relistened tells that the address of a setting that is listened on is another; "" for none.
func (a *auditor) relistened(key, from, to string) {
	if a == nil {
		return
	}
	what := key + ": listens on " + to
	switch {
	case to == "":
		what = key + ": no longer listens on " + from
	case from != "":
		what += ", no longer on " + from
	}
	a.log.Record(audit.Alert(audit.NetworkConfiguration, audit.Success, cmp.Or(to, from), what, requestor(a.own)))
}

// stored counts an instance that came over an association.
func (a *auditor) stored(origin *spool.Incoming, r *spool.Receipt) {
	if a == nil {
		return
	}
	a.log.Count(audit.Transfer{
		Session: origin.AssociationID, Action: actionOf(r), Outcome: audit.Success, Study: r.Instance.StudyInstanceUID,
		Source: requestor(entity(origin.CallingAETitle, origin.RemoteAddress)), Destination: a.own, Patient: a.patientOf(&r.Instance),
	}, r.Instance.SOPClassUID, 1)
}

// imported counts an instance that came as a file.
func (a *auditor) imported(d DropFolder, r *spool.Receipt) {
	if a == nil {
		return
	}
	a.log.Count(audit.Transfer{
		Session: "drop " + d.Name, Kind: audit.Imported, Action: actionOf(r), Outcome: audit.Success, Study: r.Instance.StudyInstanceUID,
		Destination: requestor(a.own), Media: "file:" + d.Folder, Patient: a.patientOf(&r.Instance),
	}, r.Instance.SOPClassUID, 1)
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
	if a == nil {
		return
	}
	a.log.Count(audit.Transfer{
		Session: origin.AssociationID, Action: audit.Create, Outcome: audit.SeriousFailure, Description: "refused: " + status.String(),
		Source: requestor(entity(origin.CallingAETitle, origin.RemoteAddress)), Destination: a.own,
	}, origin.SOPClassUID, 1)
}

// restored tells of a study that was fetched from the cloud.
func (a *auditor) restored(url string) func(dicom.UID, restore.Report, error) {
	if a == nil {
		return nil
	}
	return func(study dicom.UID, r restore.Report, err error) {
		t := audit.Transfer{
			Session: "restore " + string(study), Kind: audit.Imported, Action: audit.Create, Outcome: audit.Success,
			Destination: requestor(a.own), Media: url, Study: study,
		}
		if r.Restored > 0 {
			a.log.Count(t, "", r.Restored)
		}
		if r.Failed > 0 || err != nil {
			t.Outcome, t.Description = audit.SeriousFailure, "not restored"
			if err != nil {
				t.Description += ": " + err.Error()
			}
			a.log.Count(t, "", r.Failed)
		}
		a.log.EndSession(t.Session)
	}
}

// Asked implements [qr.Auditor].
func (a *auditor) Asked(by qr.Caller, q qr.Asked) {
	if a == nil {
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
	a.log.Record(audit.Query(requestor(entity(by.AETitle, by.Address)), a.own, search, outcome, what+"; "+q.Status.String()))
}

// Sent implements [qr.Auditor].
func (a *auditor) Sent(by qr.Caller, destination string, in *spool.Instance, ok bool) {
	if a == nil {
		return
	}
	t := audit.Transfer{
		Session: by.Association, Action: audit.Read, Outcome: audit.Success, Study: in.StudyInstanceUID, Patient: a.patientOf(in),
		Source: a.own, Destination: requestor(entity(by.AETitle, by.Address)),
	}
	if destination != "" {
		t.Other = t.Destination
		t.Destination = a.at(destination, destination)
	}
	if !ok {
		t.Outcome = audit.SeriousFailure
	}
	a.log.Count(t, in.SOPClassUID, 1)
}

// committing tells of a request for storage commitment.
func (a *auditor) committing(peer string, over *dimse.Association, instances int, answered dimse.Status) {
	if a == nil {
		return
	}
	outcome := audit.Success
	if !answered.Ok() {
		outcome = audit.SeriousFailure
	}
	search := audit.Search{Subject: string(dicom.StorageCommitmentPushModelSOPClass), TransferSyntax: dicom.ExplicitVRLittleEndian}
	a.log.Record(audit.Query(requestor(entity(peer, over.Remote().Addr().String())), a.own, search, outcome,
		fmt.Sprintf("storage commitment of %d instances", instances)))
}

// served tells of a request of interface 203, or of a download.
func (a *auditor) served(r web.Audited) {
	if a == nil {
		return
	}
	name := r.Client
	if name == "" {
		name = "-"
	}
	client := requestor(audit.Participant{UserID: name, Address: r.Address})
	switch {
	case r.Refused:
		a.alert(audit.NodeAuthentication, audit.SeriousFailure, r.Address, "HTTP client refused: "+r.Reason+times(r.Repeated), audit.Participant{UserID: name, Address: r.Address})
	case r.Download:
		a.downloaded(client, &r)
	default:
		outcome := audit.Success
		if !r.Whole {
			outcome = audit.SeriousFailure
		}
		search := audit.Search{Subject: cloud.RetrievePath, Query: []byte("StudyInstanceUID=" + string(r.Study))}
		a.log.Record(audit.Query(client, a.own, search, outcome, fmt.Sprintf("%d instances listed", r.Count)))
	}
}

func (a *auditor) downloaded(client audit.Participant, r *web.Audited) {
	if r.Instance == nil {
		return // nothing that was to be had
	}
	t := audit.Transfer{
		Session: "download", Kind: audit.Exported, Action: audit.Read, Outcome: audit.Success,
		Source: a.own, Destination: client, Media: "https://" + r.Address, Study: r.Study, Patient: a.patientOf(r.Instance),
	}
	class := r.Instance.SOPClassUID
	if r.Count > 1 {
		class = ""
	}
	if !r.Whole {
		t.Outcome = audit.MinorFailure
	}
	a.log.Count(t, class, r.Count)
}

// queue is what the forwarder takes its jobs from, with an eye on what becomes of them.
func (a *auditor) queue(q forwarder.Queue, instance func(spool.InstanceID) (spool.Instance, error)) forwarder.Queue {
	if a == nil {
		return q
	}
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
	t := audit.Transfer{Session: destinationKey + r.Job.Destination, Action: audit.Create, Outcome: audit.Success, Study: r.Job.Study}
	switch r.Verdict {
	case forwarder.Delivered:
	case forwarder.Parked:
		t.Outcome, t.Description = audit.SeriousFailure, "not delivered: "+r.Code
	default:
		return // it is tried again
	}
	t.Source = requestor(q.auditor.own)
	t.Destination = q.auditor.at(destinationKey+r.Job.Destination, r.Job.Destination)
	if q.auditor.patient != nil {
		if in, err := q.instance(spool.InstanceID(r.Job.ID)); err == nil {
			t.Patient = q.auditor.patientOf(&in)
		}
	}
	q.auditor.log.Count(t, r.Job.SOPClassUID, 1)
}
