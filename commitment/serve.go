package commitment

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// Taker takes a request or a result that has come over an association. nil means success; a *[dimse.StatusError] is
// answered as it is, any other error as a processing failure (0110H) without telling the peer more.
type Taker[T any] func(ctx context.Context, rq *dimse.Request, data *T) error

// Requests is the SCP's service for N-ACTION (PS3.4 J.3.2). When take returns nil the request is answered with success,
// so that from then on nothing may keep its result from being reported.
func Requests(take Taker[Request]) dimse.Service {
	return dimse.ServiceFunc(func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		c := &rq.Command
		err := checkTarget(rq, cmp.Or(c.RequestedSOPClassUID, c.AffectedSOPClassUID), cmp.Or(c.RequestedSOPInstanceUID, c.AffectedSOPInstanceUID))
		if err == nil && c.ActionTypeID != actionRequest {
			err = &dimse.StatusError{Status: dimse.StatusNoSuchActionType}
		}
		if err == nil {
			err = serve(ctx, rq, ParseRequest, take)
		}
		respond(w, dimse.Command{ActionTypeID: c.ActionTypeID}, err)
	})
}

// Reports is the SCU's service for N-EVENT-REPORT (PS3.4 J.3.3). Of a result its sequences count, not the event type: an
// SCP that announces success and lists failures has failed.
func Reports(take Taker[Result]) dimse.Service {
	return dimse.ServiceFunc(func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		c := &rq.Command
		err := checkTarget(rq, cmp.Or(c.AffectedSOPClassUID, c.RequestedSOPClassUID), cmp.Or(c.AffectedSOPInstanceUID, c.RequestedSOPInstanceUID))
		if err == nil && c.EventTypeID != eventSuccess && c.EventTypeID != eventFailures {
			err = &dimse.StatusError{Status: dimse.StatusNoSuchEventType}
		}
		if err == nil {
			err = serve(ctx, rq, ParseResult, take)
		}
		respond(w, dimse.Command{EventTypeID: c.EventTypeID}, err)
	})
}

// checkTarget holds a request to the one instance of the SOP class (PS3.4 J.3.5).
func checkTarget(rq *dimse.Request, class, instance dicom.UID) error {
	switch {
	case rq.Context.AbstractSyntax != SOPClass || class != SOPClass:
		return &dimse.StatusError{Status: dimse.StatusNoSuchSOPClass, Comment: "not storage commitment"}
	case instance != Instance:
		return &dimse.StatusError{Status: dimse.StatusNoSuchSOPInstance, Comment: "not the instance of storage commitment"}
	}
	return nil
}

// serve reads the data set off the connection and hands over what it says.
func serve[T any](ctx context.Context, rq *dimse.Request, parse func([]byte, dicom.UID) (*T, error), take Taker[T]) error {
	if rq.Data == nil {
		return &dimse.StatusError{Status: dimse.StatusInvalidArgumentValue, Comment: "data set is missing"}
	}
	var data bytes.Buffer
	if _, err := io.Copy(&data, io.LimitReader(rq.Data, MaxDataSet+1)); err != nil {
		return err // the association has ended
	}
	t, err := parse(data.Bytes(), rq.Context.TransferSyntax)
	if err != nil {
		return err
	}
	return take(ctx, rq, t)
}

// respond answers; where the association has ended there is nobody to tell.
func respond(w dimse.ResponseWriter, c dimse.Command, err error) {
	var status *dimse.StatusError
	switch {
	case errors.As(err, &status):
		c.Status, c.ErrorComment = status.Status, status.Comment
	case err != nil:
		c.Status = dimse.StatusProcessingFailure
	}
	_ = w.Respond(c, nil)
}
