package audit

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxLine bounds a line of the log in bytes: what PS3.15 A.7 allows a message sent by UDP.
const maxLine = 32768

// messageID is the MSGID that PS3.15 A.6 prescribes.
const messageID = "DICOM+RFC3881"

// Facility 10, security and authorization, with the severities notice and warning (PS3.15 A.6, RFC 5424 6.2.1).
const (
	priorityNotice  = 10<<3 | 5
	priorityWarning = 10<<3 | 4
)

// byteOrderMark begins a message that is UTF-8 (RFC 5424 6.4).
const byteOrderMark = "\uFEFF"

// stampFormat is the TIMESTAMP of RFC 5424 6.2.3, in UTC.
const stampFormat = "2006-01-02T15:04:05.000Z"

// header names the sender of syslog messages.
type header struct{ host, app, process string }

// field is a value of a header as RFC 5424 6 allows it: printable ASCII of a bounded length, "-" for nothing.
func field(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

// line makes a syslog message of an audit message, without an end of line. There is none in it either: encoding/xml
// escapes what would be one.
func (h header) line(m *Message) ([]byte, error) {
	var b bytes.Buffer
	priority := priorityNotice
	if m.Event.Outcome != Success {
		priority = priorityWarning
	}
	fmt.Fprintf(&b, "<%d>1 %s %s %s %s %s - %s", priority, m.Event.Time.UTC().Format(stampFormat),
		field(h.host, 255), field(h.app, 48), field(h.process, 128), messageID, byteOrderMark)
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>`)
	if err := xml.NewEncoder(&b).Encode(m); err != nil {
		return nil, err
	}
	if b.Len() > maxLine {
		return nil, fmt.Errorf("message of %d bytes; %d are allowed", b.Len(), maxLine)
	}
	return b.Bytes(), nil
}

// Entry is a line of the log.
type Entry struct {
	Time    time.Time
	Host    string
	Process string
	Message Message
}

var errNoEntry = errors.New("no audit message")

// parse reads a line.
func parse(line []byte) (e Entry, err error) {
	head, body, ok := bytes.Cut(line, []byte(byteOrderMark))
	fields := strings.Fields(string(head))
	if !ok || len(fields) != 7 || fields[5] != messageID || !strings.HasSuffix(fields[0], ">1") {
		return e, errNoEntry
	}
	if e.Time, err = time.Parse(time.RFC3339Nano, fields[1]); err != nil {
		return e, errNoEntry
	}
	e.Host, e.Process = fields[2], fields[4]
	return e, xml.Unmarshal(body, &e.Message)
}
