package web

import (
	"net/http"

	"dcmgate/dicom"
	"dcmgate/images"
	"dcmgate/spool"
)

// Audited is a request that is over, for an audit trail.
type Audited struct {
	Client   string // access key, "" if it is not known
	Address  string
	Download bool      // instances, or an image that is not DICOM, were sent
	Upload   bool      // an image that is not DICOM was stored; neither: instances of a study were listed
	Study    dicom.UID // "" if it is not known
	// Instance is one of those listed or sent, nil if there were none.
	Instance *spool.Instance
	// Image is the image that is not DICOM, nil if there was none.
	Image *images.Image
	Count int // instances listed, or sent, in part or whole
	// Refused says that the client was not entitled: its signature or address was not good. The same is told once a minute,
	// with how often it was not.
	Refused  bool
	Repeated int
	Whole    bool   // what was to be answered was, to its end
	Reason   string // if it was not
}

// audit tells of the exchange.
func (x *exchange) audit(repeated int) {
	if x.o.Audit == nil || x.kind == "other" || x.r.Method == http.MethodHead {
		return
	}
	x.o.Audit(Audited{
		Client: x.client, Address: x.address(), Download: x.kind == "download" || x.kind == "image", Upload: x.kind == "upload",
		Study: x.about, Instance: x.of, Image: x.file, Count: x.count,
		Refused: x.outcome == outcomeBadSignature || x.outcome == outcomeBadLink, Repeated: repeated,
		Whole: x.outcome == outcomeOK, Reason: x.reason,
	})
}
