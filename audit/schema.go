package audit

import (
	"encoding/xml"
	"time"
)

// Message is an AuditMessage of the schema in PS3.15 A.5.1.
type Message struct {
	XMLName      xml.Name            `xml:"AuditMessage"`
	Event        EventIdentification `xml:"EventIdentification"`
	Participants []ActiveParticipant `xml:"ActiveParticipant"`
	Source       Source              `xml:"AuditSourceIdentification"`
	Objects      []Object            `xml:"ParticipantObjectIdentification"`
}

// CodedValue is a code with the name of its system and its meaning (CodedValueType).
type CodedValue struct {
	Code    string `xml:"csd-code,attr"`
	System  string `xml:"codeSystemName,attr"`
	Meaning string `xml:"originalText,attr"`
}

// Action is an EventActionCode.
type Action string

// The actions of PS3.15 A.5.2.
const (
	Create  Action = "C"
	Read    Action = "R"
	Update  Action = "U"
	Delete  Action = "D"
	Execute Action = "E"
)

// Outcome is an EventOutcomeIndicator.
type Outcome string

// The outcomes of PS3.15 A.5.2.
const (
	Success        Outcome = "0"
	MinorFailure   Outcome = "4"  // it was tried again, or may be
	SeriousFailure Outcome = "8"  // it was given up or refused
	MajorFailure   Outcome = "12" // something is not available any more
)

// EventIdentification says what happened, when, and how it ended.
type EventIdentification struct {
	Action      Action       `xml:"EventActionCode,attr"`
	Time        time.Time    `xml:"EventDateTime,attr"`
	Outcome     Outcome      `xml:"EventOutcomeIndicator,attr"`
	ID          CodedValue   `xml:"EventID"`
	Types       []CodedValue `xml:"EventTypeCode"`
	Description string       `xml:"EventOutcomeDescription,omitempty"`
}

// ActiveParticipant is somebody or something that took part.
type ActiveParticipant struct {
	UserID            string       `xml:"UserID,attr"`
	AlternativeUserID string       `xml:"AlternativeUserID,attr,omitempty"`
	UserName          string       `xml:"UserName,attr,omitempty"`
	Requestor         bool         `xml:"UserIsRequestor,attr"`
	AccessPoint       string       `xml:"NetworkAccessPointID,attr,omitempty"`
	AccessPointType   string       `xml:"NetworkAccessPointTypeCode,attr,omitempty"`
	Roles             []CodedValue `xml:"RoleIDCode"`
	Media             *Media       `xml:"MediaIdentifier"`
}

// Media is the kind of media that instances were exported to or imported from.
type Media struct {
	Type CodedValue `xml:"MediaType"`
}

// Source says who tells it.
type Source struct {
	Site  string       `xml:"AuditEnterpriseSiteID,attr,omitempty"`
	ID    string       `xml:"AuditSourceID,attr"`
	Types []SourceType `xml:"AuditSourceTypeCode"`
}

// SourceType is a value of PS3.15 A.5.1.2.1.
type SourceType struct {
	Code string `xml:"csd-code,attr"`
}

// Object is something that an event was about. The schema has either a name or a query.
type Object struct {
	ID          string       `xml:"ParticipantObjectID,attr"`
	Type        string       `xml:"ParticipantObjectTypeCode,attr"`
	Role        string       `xml:"ParticipantObjectTypeCodeRole,attr,omitempty"`
	IDType      CodedValue   `xml:"ParticipantObjectIDTypeCode"`
	Name        *string      `xml:"ParticipantObjectName"`
	Query       *string      `xml:"ParticipantObjectQuery"` // in base64
	Details     []Detail     `xml:"ParticipantObjectDetail"`
	Description *Description `xml:"ParticipantObjectDescription"`
}

// Detail is a value with a name (ValuePair).
type Detail struct {
	Type  string `xml:"type,attr"`
	Value string `xml:"value,attr"` // in base64
}

// Description tells of the instances of a study (DICOMObjectDescriptionContents).
type Description struct {
	Classes []Class `xml:"SOPClass"`
}

// Class is how many instances of a SOP class there were.
type Class struct {
	UID   string `xml:"UID,attr,omitempty"` // empty: of several others
	Count int    `xml:"NumberOfInstances,attr"`
}
