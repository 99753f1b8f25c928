package gateway

import (
	"fmt"

	"dcmgate/audit"
	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/images"
	"dcmgate/restore"
	"dcmgate/spool"
	"dcmgate/web"
)

// imported counts an instance that came as a file.
func (a *auditor) imported(d DropFolder, r *spool.Receipt) {
	now := a.trail()
	if now == nil {
		return
	}
	now.count(onDropped, counted{audit.Transfer{
		Session: "drop " + d.Name, Kind: audit.Imported, Action: actionOf(r), Outcome: audit.Success, Study: r.Instance.StudyInstanceUID,
		Destination: requestor(now.own), Media: "file:" + d.Folder, Patient: now.patientOf(&r.Instance),
	}, r.Instance.SOPClassUID, 1})
}

// notTaken counts a file that was moved aside.
func (a *auditor) notTaken(d DropFolder, code string) {
	now := a.trail()
	if now == nil {
		return
	}
	now.count(onNotTaken, counted{audit.Transfer{
		Session: "drop " + d.Name, Kind: audit.Imported, Action: audit.Create, Outcome: audit.SeriousFailure, Description: "not taken: " + code,
		Destination: requestor(now.own), Media: "file:" + d.Folder,
	}, "", 1})
}

// dropped counts an image that is not DICOM and came as a file.
func (a *auditor) dropped(d DropFolder, in *images.Image) {
	a.imageIn(onDroppedImage, imageFrom{session: "drop " + d.Name, media: "file:" + d.Folder}, in)
}

// imageFrom says how an image that is not DICOM came.
type imageFrom struct {
	session string
	by      audit.Participant // "" for nobody but the gateway
	media   string
}

// imageIn counts an image that is not DICOM and was stored.
func (a *auditor) imageIn(e *AuditEvent, from imageFrom, in *images.Image) {
	now := a.trail()
	if now == nil {
		return
	}
	t := audit.Transfer{
		Session: from.session, Kind: audit.Imported, Action: audit.Create, Outcome: audit.Success, Study: dicom.UID(in.StudyInstanceUID),
		Source: from.by, Destination: now.own, Media: from.media, Patient: now.patientID(in.PatID),
	}
	t.Destination.Requestor = from.by.UserID == ""
	now.count(e, counted{t, "", 1})
}

// imageOut counts an image that is not DICOM and was fetched.
func (now *trail) imageOut(client audit.Participant, r *web.Audited) {
	t := audit.Transfer{
		Session: "download", Kind: audit.Exported, Action: audit.Read, Outcome: audit.Success, Study: dicom.UID(r.Image.StudyInstanceUID),
		Source: now.own, Destination: client, Media: "https://" + r.Address, Patient: now.patientID(r.Image.PatID),
	}
	if !r.Whole {
		t.Outcome = audit.MinorFailure
	}
	now.count(onImageFetched, counted{t, "", 1})
}

// turnedAway tells of a request to the page or the metrics that was refused.
func (a *auditor) turnedAway(reason, from string) {
	from = hostOf(from)
	a.again("admin "+reason, onAdmin, audit.NodeAuthentication, from, "admin request refused: "+reason, audit.Participant{UserID: "-", Address: from})
}

// noHandshake tells of a client of an HTTP listener with whom no TLS connection came about.
func (a *auditor) noHandshake(from, reason string) {
	a.again("https", onHandshake, audit.NodeAuthentication, from, "no TLS connection: "+reason, audit.Participant{UserID: "-", Address: from})
}

// evicted counts instances whose bytes were given up.
func (a *auditor) evicted(list []spool.Instance) {
	now := a.trail()
	if now == nil {
		return
	}
	for i := range list {
		in := &list[i]
		now.count(onEvicted, counted{audit.Transfer{
			Session: "eviction", Kind: audit.Accessed, Action: audit.Delete, Outcome: audit.Success, Description: "evicted",
			Source: requestor(now.own), Study: in.StudyInstanceUID, Patient: now.patientOf(in),
		}, in.SOPClassUID, 1})
	}
}

// restored tells of a study that was fetched from the cloud.
func (a *auditor) restored(url string) func(dicom.UID, restore.Report, error) {
	return func(study dicom.UID, r restore.Report, err error) {
		now := a.trail()
		if now == nil {
			return
		}
		t := audit.Transfer{
			Session: "restore " + string(study), Kind: audit.Imported, Action: audit.Create, Outcome: audit.Success,
			Destination: requestor(now.own), Media: url, Study: study,
		}
		if r.Restored > 0 {
			now.count(onRestored, counted{t, "", r.Restored})
		}
		if r.Failed > 0 || err != nil {
			t.Outcome, t.Description = audit.SeriousFailure, "not restored"
			if err != nil {
				t.Description += ": " + err.Error()
			}
			now.count(onRestored, counted{t, "", r.Failed})
		}
		now.EndSession(t.Session)
	}
}

// served tells of a request of interface 203, or of a download.
func (a *auditor) served(r web.Audited) {
	now := a.trail()
	if now == nil {
		return
	}
	name := r.Client
	if name == "" {
		name = "-"
	}
	client := requestor(audit.Participant{UserID: name, Address: r.Address})
	switch {
	case r.Refused:
		a.alert(onClient, audit.NodeAuthentication, audit.SeriousFailure, r.Address, "HTTP client refused: "+r.Reason+times(r.Repeated), audit.Participant{UserID: name, Address: r.Address})
	case r.Image != nil && r.Upload:
		a.imageIn(onUploaded, imageFrom{session: "upload", by: client, media: "https://" + r.Address}, r.Image)
	case r.Image != nil:
		now.imageOut(client, &r)
	case r.Upload: // refused for what it is: the client was told, and nothing was stored
	case r.Download:
		now.downloaded(client, &r)
	default:
		outcome := audit.Success
		if !r.Whole {
			outcome = audit.SeriousFailure
		}
		search := audit.Search{Subject: cloud.RetrievePath, Query: []byte("StudyInstanceUID=" + string(r.Study))}
		now.tell(onListed, audit.Query(client, now.own, search, outcome, fmt.Sprintf("%d instances listed", r.Count)))
	}
}

func (now *trail) downloaded(client audit.Participant, r *web.Audited) {
	if r.Instance == nil {
		return // nothing that was to be had
	}
	t := audit.Transfer{
		Session: "download", Kind: audit.Exported, Action: audit.Read, Outcome: audit.Success,
		Source: now.own, Destination: client, Media: "https://" + r.Address, Study: r.Study, Patient: now.patientOf(r.Instance),
	}
	class := r.Instance.SOPClassUID
	if r.Count > 1 {
		class = ""
	}
	if !r.Whole {
		t.Outcome = audit.MinorFailure
	}
	now.count(onDownloaded, counted{t, class, r.Count})
}
