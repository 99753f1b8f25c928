package commitment

import (
	"bytes"
	"context"
	"fmt"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// Ask invokes N-ACTION (PS3.4 J.3.2): nil says that the SCP has taken the request and will report. Other answers are
// *[dimse.StatusError]; [dimse.ErrNoContext] says that the peer did not accept the SOP class. Who asks over an association
// has to serve reports on it from then on ([Reports]).
func Ask(ctx context.Context, a *dimse.Association, r *Request) error {
	c := dimse.Command{CommandField: dimse.NActionRQ, RequestedSOPClassUID: SOPClass, RequestedSOPInstanceUID: Instance,
		ActionTypeID: actionRequest}
	return invoke(ctx, a, isSCU, c, r.Encode)
}

// Report invokes N-EVENT-REPORT (PS3.4 J.3.3) with the event type that goes with the result. nil says that the SCU has
// taken it; errors are as of [Ask].
func Report(ctx context.Context, a *dimse.Association, r *Result) error {
	c := dimse.Command{CommandField: dimse.NEventReportRQ, AffectedSOPClassUID: SOPClass, AffectedSOPInstanceUID: Instance,
		EventTypeID: eventSuccess}
	if len(r.Failed) > 0 {
		c.EventTypeID = eventFailures
	}
	return invoke(ctx, a, isSCP, c, r.Encode)
}

func invoke(ctx context.Context, a *dimse.Association, role func(dimse.NegotiatedContext) bool, c dimse.Command, encode func(dicom.UID) ([]byte, error)) error {
	nc, ok := contextOf(a, role)
	if !ok {
		return fmt.Errorf("%w for storage commitment", dimse.ErrNoContext)
	}
	data, err := encode(nc.TransferSyntax)
	if err != nil {
		return err
	}
	p, err := a.Do(ctx, nc.ID, c, bytes.NewReader(data))
	if err != nil {
		return err
	}
	rsp, err := p.Wait(ctx)
	if err != nil {
		p.Abandon()
		return err
	}
	if !rsp.Status.Ok() {
		return &dimse.StatusError{Status: rsp.Status, Comment: rsp.ErrorComment}
	}
	return nil
}
