package audit

// dcm is a code of DICOM's own terminology (PS3.16 annex D).
func dcm(code, meaning string) CodedValue { return CodedValue{code, "DCM", meaning} }

// The audited events (PS3.16 CID 400).
var (
	eventApplication = dcm("110100", "Application Activity")
	eventLogUsed     = dcm("110101", "Audit Log Used")
	eventBegin       = dcm("110102", "Begin Transferring DICOM Instances")
	eventAccessed    = dcm("110103", "DICOM Instances Accessed")
	eventTransferred = dcm("110104", "DICOM Instances Transferred")
	eventExport      = dcm("110106", "Export")
	eventImport      = dcm("110107", "Import")
	eventNetwork     = dcm("110108", "Network Entry")
	eventQuery       = dcm("110112", "Query")
	eventAlert       = dcm("110113", "Security Alert")
)

// Types of events (PS3.16 CID 401).
var (
	typeStart  = dcm("110120", "Application Start")
	typeStop   = dcm("110121", "Application Stop")
	typeAttach = dcm("110124", "Attach")
	typeDetach = dcm("110125", "Detach")
)

// Types of security alerts (PS3.16 CID 403).
var (
	NodeAuthentication    = dcm("110126", "Node Authentication")
	NetworkConfiguration  = dcm("110128", "Network Configuration")
	SecurityConfiguration = dcm("110129", "Security Configuration")
	SoftwareConfiguration = dcm("110131", "Software Configuration")
	RestrictedFunction    = dcm("110132", "Use of Restricted Function")
	RecordingStopped      = dcm("110133", "Audit Recording Stopped")
	RecordingStarted      = dcm("110134", "Audit Recording Started")
	ObjectSecurity        = dcm("110135", "Object Security Attributes Changed")
)

// Roles of participants (PS3.16 CID 402).
var (
	roleApplication      = dcm("110150", "Application")
	roleLauncher         = dcm("110151", "Application Launcher")
	roleDestination      = dcm("110152", "Destination Role ID")
	roleSource           = dcm("110153", "Source Role ID")
	roleDestinationMedia = dcm("110154", "Destination Media")
	roleSourceMedia      = dcm("110155", "Source Media")
)

// Kinds of media (PS3.16 CID 405).
var mediaURI = dcm("110037", "URI")

// What identifiers of objects are (PS3.16 CID 404 and PS3.15 A.5.1.2.4).
var (
	idStudy    = dcm("110180", "Study Instance UID")
	idSOPClass = dcm("110181", "SOP Class UID")
	idNode     = dcm("110182", "Node ID")
	idPatient  = CodedValue{"2", "RFC-3881", "Patient Number"}
	idSearch   = CodedValue{"10", "RFC-3881", "Search Criteria"}
	idURI      = CodedValue{"12", "RFC-3881", "URI"}
)

// ParticipantObjectTypeCode and ParticipantObjectTypeCodeRole (PS3.15 A.5.2).
const (
	objectPerson, objectSystem                            = "1", "2"
	rolePatient, roleReport, roleMasterFile, roleSecurity = "1", "3", "5", "13"
)

// accessPointTypes of PS3.15 A.5.1: NetworkAccessPointTypeCode.
const (
	accessPointMachine = "1"
	accessPointAddress = "2"
	accessPointURI     = "5"
)

// applicationServer is the AuditSourceTypeCode of an application server process.
const applicationServer = "4"

// words are the events in a word each, for metrics and people.
var words = map[string]string{
	eventApplication.Code: "application", eventLogUsed.Code: "log_used", eventBegin.Code: "begin", eventAccessed.Code: "accessed",
	eventTransferred.Code: "transferred", eventExport.Code: "export", eventImport.Code: "import", eventNetwork.Code: "network",
	eventQuery.Code: "query", eventAlert.Code: "alert",
}

// Codes are those of the event and its types.
func (m *Message) Codes() string {
	s := m.Event.ID.Code
	for _, t := range m.Event.Types {
		s += " " + t.Code
	}
	return s
}

// Word is the event in a word: application, log_used, begin, accessed, transferred, export, import, network, query or
// alert; its code if it is none of them.
func (m *Message) Word() string {
	if w, ok := words[m.Event.ID.Code]; ok {
		return w
	}
	return m.Event.ID.Code
}
