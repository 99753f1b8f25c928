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
	if a == nil {
		return
	}
	a.count(onDropped, counted{audit.Transfer{
		Session: "drop " + d.Name, Kind: audit.Imported, Action: actionOf(r), Outcome: audit.Success, Study: r.Instance.StudyInstanceUID,
		Destination: requestor(a.own), Media: "file:" + d.Folder, Patient: a.patientOf(&r.Instance),
	}, r.Instance.SOPClassUID, 1})
}

// notTaken counts a file that was moved aside.
func (a *auditor) notTaken(d DropFolder, code string) {
	if a == nil {
		return
	}
	a.count(onNotTaken, counted{audit.Transfer{
		Session: "drop " + d.Name, Kind: audit.Imported, Action: audit.Create, Outcome: audit.SeriousFailure, Description: "not taken: " + code,
		Destination: requestor(a.own), Media: "file:" + d.Folder,
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
	if a == nil {
		return
	}
	t := audit.Transfer{
		Session: from.session, Kind: audit.Imported, Action: audit.Create, Outcome: audit.Success, Study: dicom.UID(in.StudyInstanceUID),
		Source: from.by, Destination: a.own, Media: from.media, Patient: a.patientID(in.PatID),
	}
	t.Destination.Requestor = from.by.UserID == ""
	a.count(e, counted{t, "", 1})
}

// imageOut counts an image that is not DICOM and was fetched.
func (a *auditor) imageOut(client audit.Participant, r *web.Audited) {
	t := audit.Transfer{
		Session: "download", Kind: audit.Exported, Action: audit.Read, Outcome: audit.Success, Study: dicom.UID(r.Image.StudyInstanceUID),
		Source: a.own, Destination: client, Media: "https://" + r.Address, Patient: a.patientID(r.Image.PatID),
	}
	if !r.Whole {
		t.Outcome = audit.MinorFailure
	}
	a.count(onImageFetched, counted{t, "", 1})
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
	if a == nil {
		return
	}
	for i := range list {
		in := &list[i]
		a.count(onEvicted, counted{audit.Transfer{
			Session: "eviction", Kind: audit.Accessed, Action: audit.Delete, Outcome: audit.Success, Description: "evicted",
			Source: requestor(a.own), Study: in.StudyInstanceUID, Patient: a.patientOf(in),
		}, in.SOPClassUID, 1})
	}
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
			a.count(onRestored, counted{t, "", r.Restored})
		}
		if r.Failed > 0 || err != nil {
			t.Outcome, t.Description = audit.SeriousFailure, "not restored"
			if err != nil {
				t.Description += ": " + err.Error()
			}
			a.count(onRestored, counted{t, "", r.Failed})
		}
		a.log.EndSession(t.Session)
	}
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
		a.alert(onClient, audit.NodeAuthentication, audit.SeriousFailure, r.Address, "HTTP client refused: "+r.Reason+times(r.Repeated), audit.Participant{UserID: name, Address: r.Address})
	case r.Image != nil && r.Upload:
		a.imageIn(onUploaded, imageFrom{session: "upload", by: client, media: "https://" + r.Address}, r.Image)
	case r.Image != nil:
		a.imageOut(client, &r)
	case r.Upload: // refused for what it is: the client was told, and nothing was stored
	case r.Download:
		a.downloaded(client, &r)
	default:
		outcome := audit.Success
		if !r.Whole {
			outcome = audit.SeriousFailure
		}
		search := audit.Search{Subject: cloud.RetrievePath, Query: []byte("StudyInstanceUID=" + string(r.Study))}
		a.tell(onListed, audit.Query(client, a.own, search, outcome, fmt.Sprintf("%d instances listed", r.Count)))
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
	a.count(onDownloaded, counted{t, class, r.Count})
}
