package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/dicom"
	"dcmgate/pixel"
	"dcmgate/transcode"
)

// fallbacks are the transfer syntaxes that are proposed beside the stored one where instances may be converted, in the order
// in which they are used.
var fallbacks = []dicom.UID{dicom.ExplicitVRLittleEndian, dicom.ImplicitVRLittleEndian}

// A Converter lets pumps convert instances that a peer does not take as they are stored. Pumps share it. A nil *Converter
// converts nothing.
type Converter struct {
	log         *slog.Logger
	budget      *transcode.Budget
	conversions *prometheus.CounterVec
}

// maxFrames bounds the frames that are decoded at once for all pumps, in bytes: one of the largest and its components.
const maxFrames = 2 * pixel.MaxFrame

// The results of a conversion, which are labels.
const (
	converted   = "converted"
	unconverted = "failed"
)

// NewConverter makes a converter. There can be one to a registerer, which may be nil.
func NewConverter(registerer prometheus.Registerer, log *slog.Logger) *Converter {
	return &Converter{log: log, budget: transcode.NewBudget(maxFrames), conversions: promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "dcmgate_conversions_total",
		Help: "Instances converted to another transfer syntax to be sent, by UID of the stored and the sent one and by result: converted, or failed.",
	}, []string{"from", "to", "result"})}
}

func (c *Converter) count(p Pair, to dicom.UID, result string) {
	// What can be converted, and to what, is a short list.
	c.conversions.WithLabelValues(string(p.TransferSyntaxUID), string(to), result).Inc()
}

// context finds the presentation context to send a pair in: that of its own transfer syntax, else one that it can be
// converted to. to is empty if it is sent as it is stored.
func (c *Converter) context(a Association, p Pair) (contextID byte, to dicom.UID, ok bool) {
	if id, ok := a.Accepted(p.SOPClassUID, p.TransferSyntaxUID); ok || c == nil {
		return id, "", ok
	}
	for _, to := range transcode.Targets(p.TransferSyntaxUID) {
		if id, ok := a.Accepted(p.SOPClassUID, to); ok {
			return id, to, true
		}
	}
	return 0, "", false
}

// A ConversionError says that an instance could not be converted. The instance is as it was received: its sender, or what
// this software can decode, is at fault.
type ConversionError struct {
	Pair Pair
	To   dicom.UID // transfer syntax
	Err  error     // of package transcode
}

func (e *ConversionError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the conversion.
func (e *ConversionError) Unwrap() error { return e.Err }

// open begins the conversion of an item's payload, which ends with ctx. What cannot be converted shows here as a rule, before
// anything is sent.
func (c *Converter) open(ctx context.Context, over Association, item *Item, to dicom.UID, payload io.ReadCloser) (io.ReadCloser, error) {
	v := &conversion{converter: c, over: over, item: item, to: to, source: source{ReadCloser: payload}}
	var err error
	if v.reader, err = transcode.New(ctx, c.budget, item.TransferSyntaxUID, to, &v.source); err != nil {
		err = v.failed(err)
		_ = payload.Close() // only read from
		return nil, err
	}
	return v, nil
}

// maxWhole is how much of a converted instance is kept between its conversion and its sending, in bytes.
const maxWhole = 4 << 20

// openWhole is open for an instance that has to be converted to its end before any of it is sent. One that is longer than
// maxWhole is converted twice. The first time ends when stop is closed.
func (c *Converter) openWhole(ctx context.Context, over Association, item *Item, to dicom.UID, payload io.ReadCloser, stop <-chan struct{}) (io.ReadCloser, error) {
	first, err := c.open(ctx, over, item, to, payload)
	if err != nil {
		return nil, err
	}
	whole, rest, err := readWhole(first, stop)
	if err = errors.Join(err, first.Close()); err != nil {
		return nil, err
	}
	if !rest {
		return io.NopCloser(bytes.NewReader(whole)), nil
	}
	if payload, err = item.Open(); err != nil {
		return nil, err
	}
	again, err := c.open(ctx, over, item, to, payload)
	if err == nil {
		again.(*conversion).counted = true
	}
	return again, err
}

// readWhole reads to the end and returns what was read, or that it is more than maxWhole.
func readWhole(r io.Reader, stop <-chan struct{}) (whole []byte, rest bool, err error) {
	var b bytes.Buffer
	for !isClosed(stop) {
		if b.Len() > maxWhole {
			b, rest = bytes.Buffer{}, true
		}
		if _, err := io.CopyN(&b, r, maxWhole/4); err == io.EOF {
			return b.Bytes(), rest, nil
		} else if err != nil {
			return nil, rest, err
		}
	}
	return nil, rest, context.Canceled
}

// source remembers why reading the stored bytes failed, which is no failure of the conversion.
type source struct {
	io.ReadCloser
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// conversion is the payload of an item that is converted.
type conversion struct {
	converter *Converter
	over      Association // that it is for
	item      *Item
	to        dicom.UID
	source    source
	reader    *transcode.Reader
	counted   bool
}

func (v *conversion) Read(p []byte) (int, error) {
	n, err := v.reader.Read(p)
	switch {
	case err == nil:
	case err != io.EOF:
		err = v.failed(err)
	case !v.counted:
		v.counted = true
		v.converter.count(v.item.Pair, v.to, converted)
	}
	return n, err
}

// failed makes the error of the payload, and counts it if the conversion is at fault, which it is not when it was ended.
func (v *conversion) failed(err error) error {
	if v.source.err != nil {
		return v.source.err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	v.converter.count(v.item.Pair, v.to, unconverted)
	v.converter.log.Warn("instance cannot be converted", "association", v.over.ID(), "sop_instance_uid", v.item.SOPInstanceUID, "sop_class", v.item.SOPClassUID,
		"from", v.item.TransferSyntaxUID, "to", v.to, "error", err)
	return &ConversionError{v.item.Pair, v.to, err}
}

func (v *conversion) Close() error { return errors.Join(v.reader.Close(), v.source.Close()) }

// noContext explains that the peer takes an item in no way.
func (c *Converter) noContext(p Pair) error {
	return &NoContextError{Pair: p, Unconvertible: c != nil && len(transcode.Targets(p.TransferSyntaxUID)) == 0}
}
