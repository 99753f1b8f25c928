package cloud

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
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

// SignedRequest is what requests have in common that bear a signature.
type SignedRequest struct {
	Signature string    // "" if there is none
	AccessKey string    // parameter accessKey, "" if there is none
	TimeStamp time.Time // zero if there is none
	// Signed are the parameters that the signature is over, as they were sent: all but Signature and accessKey.
	Signed []Parameter
}

// RetrieveRequest is a request of 203 (5.3.2).
type RetrieveRequest struct {
	HospitalCode     string
	StudyInstanceUID string
	SignedRequest
}

// ImageRequest is a request to add an image that is not DICOM, which follows as its body. The standard has none; this is in the
// manner of 203, with the columns of the view (4.2.5) as parameters.
type ImageRequest struct {
	AccessionNumber, StudyInstanceUID, PatID string // as they were sent
	SHA256                                   []byte // of the body
	SignedRequest
}

// ParameterError says what is wrong with a parameter. It holds nothing of its value.
type ParameterError struct{ Name, Reason string }

func (e *ParameterError) Error() string { return e.Name + " " + e.Reason }

// ParseRetrieveRequest reads the query of a request's URL. Names are compared without regard to case: 5.3.2 itself writes
// Signature and signature, HospitalCode and hospitalCode. timeStamp, which 203 does not have, may be in seconds as in 202 or
// in milliseconds as in 301. Other parameters are not looked at, but signed. Errors are *ParameterError.
func ParseRetrieveRequest(query string) (rq RetrieveRequest, err error) {
	err = rq.parse(query, map[string]*string{"hospitalcode": &rq.HospitalCode, "studyinstanceuid": &rq.StudyInstanceUID})
	if err != nil {
		return rq, err
	}
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
			return rq, &ParameterError{c.name, "is missing"}
		case len(c.value) > c.longest:
			return rq, &ParameterError{c.name, fmt.Sprintf("is longer than %d characters", c.longest)}
		case strings.ContainsFunc(c.value, func(r rune) bool { return !c.allowed(r) }):
			return rq, &ParameterError{c.name, "has a character that is not allowed"}
		}
	}
	return rq, nil
}

// ParseImageRequest reads the query of a request's URL in the same way. What the identifiers may be is for the store of
// images to say.
func ParseImageRequest(query string) (rq ImageRequest, err error) {
	digest := ""
	err = rq.parse(query, map[string]*string{
		"accessionnumber": &rq.AccessionNumber, "studyinstanceuid": &rq.StudyInstanceUID, "patid": &rq.PatID, "sha256": &digest,
	})
	if err != nil {
		return rq, err
	}
	if rq.SHA256, err = hex.DecodeString(digest); err != nil || len(rq.SHA256) != sha256.Size {
		return rq, &ParameterError{"sha256", "is not the SHA-256 of the body in 64 hexadecimal digits"}
	}
	return rq, nil
}

// parse reads a query into the variables of known, by names in lower case, and into rq.
func (rq *SignedRequest) parse(query string, known map[string]*string) error {
	if len(query) > maxQuery {
		return &ParameterError{"query", fmt.Sprintf("is longer than %d bytes", maxQuery)}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return &ParameterError{"query", "is not URL-encoded"}
	}
	if len(values) > maxParameters {
		return &ParameterError{"query", fmt.Sprintf("has more than %d parameters", maxParameters)}
	}
	timeStamp := ""
	known["signature"], known["accesskey"], known["timestamp"] = &rq.Signature, &rq.AccessKey, &timeStamp
	seen := make(map[string]bool)
	for name, list := range values {
		lower := strings.ToLower(name)
		if len(list) > 1 || seen[lower] {
			return &ParameterError{"query", "has a parameter twice"}
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
	return rq.check(timeStamp)
}

func (rq *SignedRequest) check(timeStamp string) error {
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
