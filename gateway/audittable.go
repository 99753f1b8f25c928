package gateway

import "dcmgate/audit"

// AuditEvent is a kind of event that the audit trail tells of.
type AuditEvent struct {
	Way     string // into the gateway, or out of it
	What    string // has happened
	Message string // by its name, code and type in PS3.16 CID 400 and 401 or 403
	Section string // of PS3.15 that has the message's table
	codes   string // event and type
}

// form is a message of PS3.15 A.5.3.
type form struct{ message, section, codes string }

var (
	formStart       = form{"Application Activity (110100): Application Start", "A.5.3.1", "110100 110120"}
	formStop        = form{"Application Activity (110100): Application Stop", "A.5.3.1", "110100 110121"}
	formLogUsed     = form{"Audit Log Used (110101)", "A.5.3.2", "110101"}
	formTransferred = form{"Begin Transferring DICOM Instances (110102), DICOM Instances Transferred (110104)", "A.5.3.3, A.5.3.7", "110104"}
	formDeleted     = form{"DICOM Instances Accessed (110103), action D", "A.5.3.6", "110103"}
	formExport      = form{"Export (110106)", "A.5.3.4", "110106"}
	formImport      = form{"Import (110107)", "A.5.3.5", "110107"}
	formAttach      = form{"Network Entry (110108): Attach", "A.5.3.9", "110108 110124"}
	formDetach      = form{"Network Entry (110108): Detach", "A.5.3.9", "110108 110125"}
	formQuery       = form{"Query (110112)", "A.5.3.10", "110112"}
	formNode        = form{"Security Alert (110113): Node Authentication", "A.5.3.11", "110113 110126"}
	formNetwork     = form{"Security Alert (110113): Network Configuration", "A.5.3.11", "110113 110128"}
	formSoftware    = form{"Security Alert (110113): Software Configuration", "A.5.3.11", "110113 110131"}
	formRestricted  = form{"Security Alert (110113): Use of Restricted Function", "A.5.3.11", "110113 110132"}
	formStopped     = form{"Security Alert (110113): Audit Recording Stopped", "A.5.3.11", "110113 110133"}
	formStarted     = form{"Security Alert (110113): Audit Recording Started", "A.5.3.11", "110113 110134"}
	formObject      = form{"Security Alert (110113): Object Security Attributes Changed", "A.5.3.11", "110113 110135"}
)

// events are all kinds, in the order in which they are made below.
var events []*AuditEvent

func on(way, what string, f form) *AuditEvent {
	e := &AuditEvent{way, what, f.message, f.section, f.codes}
	events = append(events, e)
	return e
}

// AuditEvents lists all that the audit trail tells of.
func AuditEvents() []*AuditEvent { return events }

// The ways.
const (
	wayIn      = "DICOM, in"
	wayOut     = "DICOM, out"
	wayFiles   = "drop folders"
	wayPublic  = "HTTP, `public.listen`"
	wayAdmin   = "HTTP, `http.listen`"
	wayCloud   = "HTTP, out"
	waySocket  = "control socket"
	wayCommand = "commands"
	wayConfig  = "configuration"
	wayItself  = "the gateway"
)

var (
	onAssociated = on(wayIn, "an association was admitted; TLS version, cipher suite and certificate", formAttach)
	onEnded      = on(wayIn, "it has ended; how", formDetach)
	onRejected   = on(wayIn, "an association was rejected: AE title, address or certificate, or no room. The same from one address once a minute, with a count", formNode)
	onNoTLS      = on(wayIn, "a TLS handshake failed. The same from one address once a minute, with a count", formNode)
	onRights     = on(wayIn, "a presentation context was refused because the peer's `allow` lacks a right", formRestricted)
	onStored     = on(wayIn, "instances were stored (C), were held already (R), are other versions (U); by study", formTransferred)
	onNotStored  = on(wayIn, "instances were refused; status", formTransferred)
	onAsked      = on(wayIn, "C-FIND, C-MOVE, C-GET: keys, matches, status", formQuery)
	onRetrieved  = on(wayIn, "instances were sent to a move destination or back over the association; by study", formTransferred)
	onCommitting = on(wayIn, "storage commitment was asked for (N-ACTION)", formQuery)
	onCommitted  = on(wayIn, "the result was reported to who has asked (N-EVENT-REPORT), or was not taken", formQuery)

	onDelivered    = on(wayOut, "instances were delivered, or are parked; by destination and study", formTransferred)
	onAsking       = on(wayOut, "a destination was asked for storage commitment (N-ACTION); how it answered", formQuery)
	onReported     = on(wayOut, "a destination has reported on storage commitment (N-EVENT-REPORT); whether it was taken", formQuery)
	onUpstreamFind = on(wayOut, "an upstream was asked by C-FIND: keys, answers", formQuery)
	onUpstreamMove = on(wayOut, "an upstream was asked by C-MOVE to send a series, or instances of it", formQuery)
	onSentStudy    = on(wayOut, "`dcmgate restore --to` has sent a study to a peer", formTransferred)

	onDropped      = on(wayFiles, "DICOM files were taken; by folder and study", formImport)
	onDroppedImage = on(wayFiles, "images that are not DICOM were taken; by folder and study", formImport)
	onNotTaken     = on(wayFiles, "files were moved aside; by folder and reason", formImport)

	onListed       = on(wayPublic, "a study was listed by interface 203", formQuery)
	onDownloaded   = on(wayPublic, "instances were downloaded; by client and study", formExport)
	onImageFetched = on(wayPublic, "an image that is not DICOM was fetched; by address and study", formExport)
	onUploaded     = on(wayPublic, "an image that is not DICOM was uploaded; by client and study", formImport)
	onClient       = on(wayPublic, "a client was refused: its signature, or an address that was not given out. Once a minute for each reason, with a count", formNode)

	onAdmin     = on(wayAdmin, "a request was refused: no token or another, a host name that is not the gateway's, or from the network while there is no token. Once a minute for each reason, with a count", formNode)
	onHandshake = on(wayAdmin, "a TLS handshake failed, also on `public.listen`. Once a minute, with a count", formNode)

	onRestored = on(wayCloud, "a study was restored from the cloud, for a command or a client", formImport)

	onSocket = on(waySocket, "somebody else than the owner of the data folder or root has connected, and was refused. Once a minute, with a count", formRestricted)

	onRetry         = on(wayCommand, "`queue retry`", formRestricted)
	onDrop          = on(wayCommand, "`queue drop`", formRestricted)
	onVerify        = on(wayCommand, "`verify`, `images verify`", formRestricted)
	onRebuild       = on(wayCommand, "`verify --rebuild`", formRestricted)
	onInit          = on(wayCommand, "`views init`", formRestricted)
	onViewsRebuild  = on(wayCommand, "`views rebuild`", formRestricted)
	onViewsExport   = on(wayCommand, "`views export`", formRestricted)
	onRestore       = on(wayCommand, "`restore`", formRestricted)
	onRevoke        = on(wayCommand, "`links revoke`", formObject)
	onImageAdded    = on(wayCommand, "`images add`", formImport)
	onImagesListed  = on(wayCommand, "`images list`", formQuery)
	onImageWithdraw = on(wayCommand, "`images withdraw`", formRestricted)
	onReloadAsked   = on(wayCommand, "`reload`", formRestricted)
	onAuditRead     = on(wayCommand, "`audit`", formLogUsed)

	onConfigured       = on(wayConfig, "a changed configuration was taken, or was not: which keys, or why; never their values", formSoftware)
	onRelistened       = on(wayConfig, "a listener has moved to another address", formNetwork)
	onRecordingStarted = on(wayConfig, "the audit trail was turned on, or goes on in another folder", formStarted)
	onRecordingStopped = on(wayConfig, "the audit trail was turned off, or goes on in another folder", formStopped)
	onStart            = on(wayItself, "start", formStart)
	onStop             = on(wayItself, "stop", formStop)
	onEvicted          = on(wayItself, "instances were evicted; by study", formDeleted)
	_                  = on(wayItself, "messages of the audit trail were lost; how many, and of which time", formStopped)
)

// tell records a message of a kind.
func (t *trail) tell(e *AuditEvent, m *audit.Message) {
	if t.watch != nil {
		t.watch(e, m.Codes())
	}
	t.Record(m)
}

// count adds instances up that are told of in a message of a kind.
func (t *trail) count(e *AuditEvent, c counted) {
	if t.watch != nil {
		t.watch(e, c.Kind.Event().Code)
	}
	t.Count(c.Transfer, c.class, c.n)
}
