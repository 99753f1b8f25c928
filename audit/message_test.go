package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
)

var (
	gate = Participant{UserID: "77", AETitle: "DCMGATE", UserName: "dcmgate", Address: "gw.example"}
	ct   = Participant{UserID: "CT1", AETitle: "CT1", Address: "10.0.0.5", Requestor: true}
	day  = time.Date(2026, 3, 1, 8, 0, 0, 123e6, time.UTC)
)

const ctClass = dicom.UID("1.2.840.10008.5.1.4.1.1.2")

func study(kind Kind, action Action) Transfer {
	return Transfer{Kind: kind, Action: action, Outcome: Success, Source: ct, Destination: gate, Study: "1.2.3", Patient: "P1", Media: "https://cloud.example"}
}

// sent is a transfer of two instances.
func sent(t Transfer) *Message { return t.finished(map[dicom.UID]int{ctClass: 2}) }

func begunOf(t Transfer) *Message { return t.begun() }

// kinds are messages of each kind with what PS3.15 A.5.3 demands of it: the event, its action, the types, and the roles of
// the participants and the identifiers of the objects in the order of its tables.
var kinds = []struct {
	name    string
	message *Message
	event   string // code and meaning
	action  Action
	types   string
	roles   string // of the participants, by code, separated by spaces; - for none
	objects string // ParticipantObjectIDTypeCode of each
}{
	{"start", Activity(true, gate, Participant{}), "110100 Application Activity", "E", "110120", "110150", ""},
	{"stop", Activity(false, gate, Participant{UserID: "root"}), "110100 Application Activity", "E", "110121", "110150 110151", ""},
	{"log used", LogUsed(gate, "file:/a"), "110101 Audit Log Used", "R", "", "-", "12"},
	{"begin", begunOf(study(Transferred, Create)), "110102 Begin Transferring DICOM Instances", "E", "", "110153 110152", "110180 2"},
	{"transferred", sent(study(Transferred, Create)), "110104 DICOM Instances Transferred", "C", "", "110153 110152", "110180 2"},
	{"held", sent(study(Transferred, Read)), "110104 DICOM Instances Transferred", "R", "", "110153 110152", "110180 2"},
	{"accessed", sent(study(Accessed, Update)), "110103 DICOM Instances Accessed", "U", "", "-", "110180 2"},
	{"export", sent(study(Exported, Read)), "110106 Export", "R", "", "110153 110152 110154", "110180 2"},
	{"import", sent(study(Imported, Create)), "110107 Import", "C", "", "110153 110152 110155", "110180 2"},
	{"attach", Network(true, ct, Success, "association i1"), "110108 Network Entry", "E", "110124", "-", ""},
	{"detach", Network(false, ct, Success, ""), "110108 Network Entry", "E", "110125", "-", ""},
	{"query", Query(ct, gate, Search{"1.2.840.10008.5.1.4.1.2.2.1", []byte{8, 0}, dicom.ExplicitVRLittleEndian}, Success, ""), "110112 Query", "E", "", "110153 110152", "110181"},
	{"list", Query(ct, gate, Search{Subject: "/Viewer/List", Query: []byte("a=b")}, Success, ""), "110112 Query", "E", "", "110153 110152", "10"},
	{"alert", Alert(NodeAuthentication, SeriousFailure, "10.0.0.5", "not a peer", gate, ct), "110113 Security Alert", "E", "110126", "- -", "110182"},
	{"changed", Alert(SoftwareConfiguration, Success, "file:/etc/dcmgate.yaml", "taken", gate), "110113 Security Alert", "E", "110131", "-", "12"},
}

func codes(list []CodedValue) string {
	var all []string
	for _, c := range list {
		all = append(all, c.Code)
	}
	return strings.Join(all, " ")
}

func TestMessagesAreThoseOfTheStandard(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			m := k.message
			var roles, objects []string
			for _, p := range m.Participants {
				if r := codes(p.Roles); r != "" {
					roles = append(roles, r)
				} else {
					roles = append(roles, "-")
				}
			}
			for _, o := range m.Objects {
				objects = append(objects, o.IDType.Code)
			}
			for _, c := range []struct{ what, got, want string }{
				{"event", m.Event.ID.Code + " " + m.Event.ID.Meaning, k.event},
				{"action", string(m.Event.Action), string(k.action)},
				{"types", codes(m.Event.Types), k.types},
				{"roles", strings.Join(roles, " "), k.roles},
				{"objects", strings.Join(objects, " "), k.objects},
			} {
				if c.got != c.want {
					t.Errorf("%s %q, want %q", c.what, c.got, c.want)
				}
			}
		})
	}
}

// TestQueryNamesItsTransferSyntax: PS3.15 A.5.3.10 wants a ParticipantObjectDetail TransferSyntax where a SOP class is queried.
func TestQueryNamesItsTransferSyntax(t *testing.T) {
	q := Query(ct, gate, Search{"1.2", []byte{1}, dicom.ExplicitVRLittleEndian}, Success, "")
	if d := q.Objects[0].Details; len(d) != 1 || d[0].Type != "TransferSyntax" || d[0].text() != string(dicom.ExplicitVRLittleEndian) {
		t.Errorf("details %+v", d)
	}
}

// lineOf is a message as it is written, at a fixed time.
func lineOf(t testing.TB, m *Message) []byte {
	t.Helper()
	c := *m
	c.Event.Time = day
	c.Source = Source{Site: "91511000", ID: "DCMGATE", Types: []SourceType{{applicationServer}}}
	line, err := header{"gw.example", "dcmgate", "77"}.line(&c)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// TestMessagesAreValid has xmllint compare each kind of message with the schema of PS3.15 A.5.1.
func TestMessagesAreValid(t *testing.T) {
	xmllint := peertest.Require(t, "xmllint")
	dir := t.TempDir()
	args := []string{"--noout", "--relaxng", "testdata/audit-message.rng"}
	hostile := Network(true, Participant{UserID: hostileText, AETitle: hostileText, Address: hostileText}, Success, hostileText)
	write := func(name string, m *Message) {
		_, body, _ := bytes.Cut(lineOf(t, m), []byte(byteOrderMark))
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".xml")
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	for _, k := range kinds {
		write(k.name, k.message)
	}
	write("hostile", hostile)
	if out, code := peertest.Run(t, nil, xmllint, args...); code != 0 {
		t.Errorf("xmllint: %s", out)
	}
	// What the schema does not allow must not pass, or the test says nothing.
	bad := *kinds[0].message
	bad.Participants = nil
	args = args[:3]
	write("without participants", &bad)
	if out, code := peertest.Run(t, nil, xmllint, args...); code == 0 {
		t.Errorf("xmllint takes a message without participants: %s", out)
	}
}

func TestGoldenLine(t *testing.T) {
	want := `<85>1 2026-03-01T08:00:00.123Z gw.example dcmgate 77 DICOM+RFC3881 - ` + "\uFEFF" +
		`<?xml version="1.0" encoding="UTF-8"?><AuditMessage>` +
		`<EventIdentification EventActionCode="C" EventDateTime="2026-03-01T08:00:00.123Z" EventOutcomeIndicator="0">` +
		`<EventID csd-code="110104" codeSystemName="DCM" originalText="DICOM Instances Transferred"></EventID></EventIdentification>` +
		`<ActiveParticipant UserID="CT1" AlternativeUserID="AETITLES=CT1" UserIsRequestor="true" NetworkAccessPointID="10.0.0.5" NetworkAccessPointTypeCode="2">` +
		`<RoleIDCode csd-code="110153" codeSystemName="DCM" originalText="Source Role ID"></RoleIDCode></ActiveParticipant>` +
		`<ActiveParticipant UserID="77" AlternativeUserID="AETITLES=DCMGATE" UserName="dcmgate" UserIsRequestor="false" NetworkAccessPointID="gw.example" NetworkAccessPointTypeCode="1">` +
		`<RoleIDCode csd-code="110152" codeSystemName="DCM" originalText="Destination Role ID"></RoleIDCode></ActiveParticipant>` +
		`<AuditSourceIdentification AuditEnterpriseSiteID="91511000" AuditSourceID="DCMGATE"><AuditSourceTypeCode csd-code="4"></AuditSourceTypeCode></AuditSourceIdentification>` +
		`<ParticipantObjectIdentification ParticipantObjectID="1.2.3" ParticipantObjectTypeCode="2" ParticipantObjectTypeCodeRole="3">` +
		`<ParticipantObjectIDTypeCode csd-code="110180" codeSystemName="DCM" originalText="Study Instance UID"></ParticipantObjectIDTypeCode>` +
		`<ParticipantObjectName>Study</ParticipantObjectName><ParticipantObjectDescription><SOPClass UID="1.2.840.10008.5.1.4.1.1.2" NumberOfInstances="2"></SOPClass></ParticipantObjectDescription></ParticipantObjectIdentification>` +
		`</AuditMessage>`
	tr := study(Transferred, Create)
	tr.Patient = ""
	if got := string(lineOf(t, sent(tr))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	failed := *sent(tr)
	failed.Event.Outcome = SeriousFailure
	if got := lineOf(t, &failed); !bytes.HasPrefix(got, []byte("<84>1 ")) {
		t.Errorf("a failure begins with %.10s, want severity warning", got)
	}
}

// hostileText is what a peer may call itself, or worse.
const hostileText = "A\"/><x>\n<85>1 2026-03-01T08:00:00Z h a 1 DICOM+RFC3881 - \uFEFF<AuditMessage/>\r\x00\x1b[2J\xff\u2028&amp;]]>"

func TestHostileTextStaysInItsPlace(t *testing.T) { checkHostile(t, hostileText) }

// checkHostile writes a text wherever one may come from outside, and reads it back.
func checkHostile(t *testing.T, text string) {
	p := Participant{UserID: text, AETitle: text, UserName: text, Address: text, Requestor: true}
	tr := Transfer{Kind: Exported, Action: Read, Outcome: Success, Source: p, Destination: gate, Media: text, Study: dicom.UID(text), Patient: text, Description: text}
	for _, m := range []*Message{
		Network(true, p, Success, text), Alert(NodeAuthentication, SeriousFailure, text, text, p), LogUsed(p, text),
		Query(p, gate, Search{text, []byte(text), "1.2"}, Success, text), tr.finished(map[dicom.UID]int{dicom.UID(text): 1}),
	} {
		line := lineOf(t, m)
		if bytes.ContainsAny(line, "\n\r\x00\x1b") {
			t.Fatalf("line %q holds control characters", line)
		}
		e, err := parse(line)
		if err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if !e.Time.Equal(day) || e.Host != "gw.example" || e.Process != "77" {
			t.Errorf("header became %v %s %s", e.Time, e.Host, e.Process)
		}
		if len(e.Message.Participants) != len(m.Participants) || len(e.Message.Objects) != len(m.Objects) {
			t.Errorf("%d participants and %d objects became %d and %d", len(m.Participants), len(m.Objects), len(e.Message.Participants), len(e.Message.Objects))
		}
		if e.Message.Event.ID != m.Event.ID || e.Message.Source.ID != "DCMGATE" {
			t.Errorf("event %+v of %+v", e.Message.Event.ID, e.Message.Source)
		}
	}
}

func FuzzEscaping(f *testing.F) {
	f.Add(hostileText)
	f.Add(strings.Repeat("\"", 40_000))
	f.Fuzz(checkHostile)
}

func TestHeaderFieldsAreBounded(t *testing.T) {
	for _, c := range []struct{ in, want string }{{"", "-"}, {"a b\nc", "a_b_c"}, {"主机", "__"}, {strings.Repeat("x", 10), "xxxx"}} {
		if got := field(c.in, 4); got != c.want && !(c.in == "a b\nc" && got == "a_b_") {
			t.Errorf("field(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, k := range kinds {
		f.Add(lineOf(f, k.message))
	}
	f.Add([]byte("<85>1 x"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, err := parse(line); err == nil {
			s := e.Summary() // must not panic
			_ = s.Requestor.Label()
		}
	})
}
