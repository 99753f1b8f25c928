package pdu

import "bytes"

// openings are the first bytes of protocols that turn up at DICOM ports: load
// balancers' checks, scanners, browsers, and DICOM over TLS where plain DICOM
// was configured.
var openings = []struct{ prefix, name string }{
	{"\x16\x03", "looks like a TLS hello; is the peer configured for TLS?"},
	{"GET ", "looks like HTTP"},
	{"POST", "looks like HTTP"},
	{"HEAD", "looks like HTTP"},
	{"PUT ", "looks like HTTP"},
	{"OPTI", "looks like HTTP"},
	{"PRI ", "looks like HTTP/2"},
	{"HTTP", "looks like an HTTP answer"},
	{"CONN", "looks like an HTTP proxy request"},
	{"SSH-", "looks like SSH"},
	{"PROXY", "looks like the PROXY protocol"},
	{"\r\n\r\n\x00\r", "looks like the PROXY protocol"},
	{"\x0bMSH", "looks like HL7 over MLLP"},
	{"EHLO", "looks like SMTP"},
	{"HELO", "looks like SMTP"},
	{"\x00\x00\x00", "looks like SMB or a port scanner"},
	{"\r\n", "looks like an empty line from a port scanner"},
	{"DICM", "looks like a DICOM file sent without an association"},
}

// looksLike names what b, which does not begin with a PDU type, may be. It
// works on however much has arrived: the peer may send no more before it gets
// an answer.
func looksLike(b []byte) string {
	for _, o := range openings {
		if bytes.HasPrefix(b, []byte(o.prefix)) {
			return o.name
		}
	}
	return "not a PDU type of DICOM"
}
