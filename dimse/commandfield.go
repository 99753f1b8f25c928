package dimse

import "fmt"

// CommandField names a DIMSE message, (0000,0100) of PS3.7 E.1. Responses carry the field of
// their request with bit 15 set.
type CommandField uint16

// The messages of PS3.7 table E.1-1.
const (
	CStoreRQ        CommandField = 0x0001
	CStoreRSP       CommandField = 0x8001
	CGetRQ          CommandField = 0x0010
	CGetRSP         CommandField = 0x8010
	CFindRQ         CommandField = 0x0020
	CFindRSP        CommandField = 0x8020
	CMoveRQ         CommandField = 0x0021
	CMoveRSP        CommandField = 0x8021
	CEchoRQ         CommandField = 0x0030
	CEchoRSP        CommandField = 0x8030
	NEventReportRQ  CommandField = 0x0100
	NEventReportRSP CommandField = 0x8100
	NGetRQ          CommandField = 0x0110
	NGetRSP         CommandField = 0x8110
	NSetRQ          CommandField = 0x0120
	NSetRSP         CommandField = 0x8120
	NActionRQ       CommandField = 0x0130
	NActionRSP      CommandField = 0x8130
	NCreateRQ       CommandField = 0x0140
	NCreateRSP      CommandField = 0x8140
	NDeleteRQ       CommandField = 0x0150
	NDeleteRSP      CommandField = 0x8150
	CCancelRQ       CommandField = 0x0FFF
)

// dataSetRule says whether a request carries a data set, from the "Data Set" rows of the
// message tables in PS3.7 9.3 and 10.3.
type dataSetRule uint8

const (
	dataSetOptional dataSetRule = iota
	dataSetRequired
	dataSetForbidden
)

// operationTraits are the properties of an operation that the engine needs to route its messages.
type operationTraits struct {
	name       string
	dataSet    dataSetRule // of the request
	priority   bool        // the request carries (0000,0700)
	cancelable bool        // C-CANCEL may end it
}

// operations is keyed by the request's command field.
var operations = map[CommandField]operationTraits{
	CStoreRQ:       {"C-STORE", dataSetRequired, true, false},
	CGetRQ:         {"C-GET", dataSetRequired, true, true},
	CFindRQ:        {"C-FIND", dataSetRequired, true, true},
	CMoveRQ:        {"C-MOVE", dataSetRequired, true, true},
	CEchoRQ:        {"C-ECHO", dataSetForbidden, false, false},
	NEventReportRQ: {"N-EVENT-REPORT", dataSetOptional, false, false},
	NGetRQ:         {"N-GET", dataSetForbidden, false, false},
	NSetRQ:         {"N-SET", dataSetRequired, false, false},
	NActionRQ:      {"N-ACTION", dataSetOptional, false, false},
	NCreateRQ:      {"N-CREATE", dataSetOptional, false, false},
	NDeleteRQ:      {"N-DELETE", dataSetForbidden, false, false},
}

const responseBit = 0x8000

// IsResponse tells whether the field names a response message.
func (f CommandField) IsResponse() bool { return f&responseBit != 0 }

// Request is the field of the request that a response answers; a request is its own.
func (f CommandField) Request() CommandField { return f &^ responseBit }

// Response is the field of the response to a request.
func (f CommandField) Response() CommandField { return f | responseBit }

// Operation is the name of the operation the message belongs to, such as "C-STORE".
// Fields outside PS3.7 give "unknown", so that the name is safe as a metric label.
func (f CommandField) Operation() string {
	if f == CCancelRQ {
		return "C-CANCEL"
	}
	if t, ok := operations[f.Request()]; ok {
		return t.name
	}
	return "unknown"
}

// String is the message's name in PS3.7, such as "C-STORE-RSP", or its hexadecimal value.
func (f CommandField) String() string {
	name := f.Operation()
	switch {
	case name == "unknown":
		return fmt.Sprintf("command field %04XH", uint16(f))
	case f.IsResponse():
		return name + "-RSP"
	default:
		return name + "-RQ"
	}
}
