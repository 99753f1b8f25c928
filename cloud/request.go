package cloud

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RetrievePath is the path of 203's address. It is printed "/ Viewer/ DICOMStudyRetrieve"; the blanks are slips.
const RetrievePath = "/Viewer/DICOMStudyRetrieve"

// AccessKeyHeader names the client, as in 202.
const AccessKeyHeader = "accessKey"

// Lengths in characters (5.3.2), and bounds of what is read of a request.
const (
	maxHospitalCode     = 22
	maxStudyInstanceUID = 64
	maxSignature        = 256
	maxAccessKey        = 256
	maxQuery            = 4096
	maxParameters       = 16
	millisecondsFrom    = 100_000_000_000 // timeStamp is in seconds below: the year 5138
)

// RetrieveRequest is a request of 203 (5.3.2).
type RetrieveRequest struct {
	HospitalCode     string
	StudyInstanceUID string
	Signature        string    // "" if there is none
	AccessKey        string    // parameter accessKey, "" if there is none
	TimeStamp        time.Time // zero if there is none
	// Signed are the parameters that the signature is over, as they were sent: all but Signature and accessKey.
	Signed []Parameter
}

// ParameterError says what is wrong with a parameter. It holds nothing of its value.
type ParameterError struct{ Name, Reason string }

func (e *ParameterError) Error() string { return e.Name + " " + e.Reason }

// ParseRetrieveRequest reads the query of a request's URL. Names are compared without regard to case: 5.3.2 itself writes
// Signature and signature, HospitalCode and hospitalCode. timeStamp, which 203 does not have, may be in seconds as in 202 or
// in milliseconds as in 301. Other parameters are not looked at, but signed. Errors are *ParameterError.
func ParseRetrieveRequest(query string) (RetrieveRequest, error) {
	var rq RetrieveRequest
	if len(query) > maxQuery {
		return rq, &ParameterError{"query", fmt.Sprintf("is longer than %d bytes", maxQuery)}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return rq, &ParameterError{"query", "is not URL-encoded"}
	}
	if len(values) > maxParameters {
		return rq, &ParameterError{"query", fmt.Sprintf("has more than %d parameters", maxParameters)}
	}
	timeStamp := ""
	known := map[string]*string{
		"hospitalcode": &rq.HospitalCode, "studyinstanceuid": &rq.StudyInstanceUID, "signature": &rq.Signature,
		"accesskey": &rq.AccessKey, "timestamp": &timeStamp,
	}
	seen := make(map[string]bool)
	for name, list := range values {
		lower := strings.ToLower(name)
		if len(list) > 1 || seen[lower] {
			return rq, &ParameterError{"query", "has a parameter twice"}
		}
		seen[lower] = true
		if into := known[lower]; into != nil {
			*into = list[0]
		}
		if lower != "signature" && lower != "accesskey" {
			rq.Signed = append(rq.Signed, Parameter{name, list[0]})
		}
	}
	slices.SortFunc(rq.Signed, func(a, b Parameter) int { return cmp.Compare(a.Name, b.Name) })
	return rq, rq.check(timeStamp)
}

// check holds the values to what they may be.
func (rq *RetrieveRequest) check(timeStamp string) error {
	for _, c := range []struct {
		name, value string
		longest     int
		allowed     func(rune) bool
	}{
		{"HospitalCode", rq.HospitalCode, maxHospitalCode, visible},
		{"StudyInstanceUID", rq.StudyInstanceUID, maxStudyInstanceUID, ofUID},
	} {
		switch {
		case c.value == "":
			return &ParameterError{c.name, "is missing"}
		case len(c.value) > c.longest:
			return &ParameterError{c.name, fmt.Sprintf("is longer than %d characters", c.longest)}
		case strings.ContainsFunc(c.value, func(r rune) bool { return !c.allowed(r) }):
			return &ParameterError{c.name, "has a character that is not allowed"}
		}
	}
	if len(rq.Signature) > maxSignature {
		return &ParameterError{"Signature", fmt.Sprintf("is longer than %d characters", maxSignature)}
	}
	if len(rq.AccessKey) > maxAccessKey {
		return &ParameterError{"accessKey", fmt.Sprintf("is longer than %d characters", maxAccessKey)}
	}
	if timeStamp == "" {
		return nil
	}
	n, err := strconv.ParseInt(timeStamp, 10, 64)
	if err != nil || n <= 0 || len(timeStamp) > 13 {
		return &ParameterError{"timeStamp", "is neither Unix seconds nor milliseconds"}
	}
	if n < millisecondsFrom {
		n *= 1000
	}
	rq.TimeStamp = time.UnixMilli(n)
	return nil
}

func visible(r rune) bool { return r > ' ' && r <= '~' }

func ofUID(r rune) bool { return r == '.' || r >= '0' && r <= '9' }
