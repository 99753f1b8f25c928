package transfer

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

const (
	rle  = dicom.RLELossless
	bevr = dicom.ExplicitVRBigEndian
)

// TestPlanConversions plans what may be sent converted: each stored transfer syntax first, then the uncompressed ones.
func TestPlanConversions(t *testing.T) {
	for name, test := range map[string]struct {
		batch   []Pair
		options PlanOptions
		want    []Pair // of the only association
	}{
		"compressed":            {[]Pair{{ct, rle}}, PlanOptions{}, []Pair{{ct, rle}, {ct, evr}, {ct, ivr}}},
		"uncompressed":          {[]Pair{{ct, evr}}, PlanOptions{}, []Pair{{ct, evr}, {ct, ivr}}},
		"once for a SOP class":  {[]Pair{{ct, rle}, {ct, evr}, {ct, dicom.JPEGBaseline}}, PlanOptions{}, []Pair{{ct, rle}, {ct, evr}, {ct, ivr}, {ct, dicom.JPEGBaseline}}},
		"for each SOP class":    {[]Pair{{ct, rle}, {mr, rle}}, PlanOptions{}, []Pair{{ct, rle}, {ct, evr}, {ct, ivr}, {mr, rle}, {mr, evr}, {mr, ivr}}},
		"not decoded":           {[]Pair{{ct, j2k}}, PlanOptions{}, []Pair{{ct, j2k}}},
		"only what may be sent": {[]Pair{{ct, rle}}, PlanOptions{TransferSyntaxes: []dicom.UID{ivr}}, []Pair{{ct, ivr}}},
		"what may follow":       {[]Pair{{ct, evr}}, PlanOptions{Also: []Pair{{mr, bevr}}}, []Pair{{ct, evr}, {ct, ivr}, {mr, bevr}, {mr, evr}, {mr, ivr}}},
	} {
		test.options.Convert = true
		plan := NewPlan(test.batch, test.options)
		if len(plan.Proposals) != 1 {
			t.Fatalf("%s: %d associations", name, len(plan.Proposals))
		}
		if got := pairsOf(plan.Proposals[0]); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
		if served := plan.Served[0]; !slices.Equal(served[:len(test.batch)], test.batch) {
			t.Errorf("%s: serves %v", name, served)
		}
	}
	if plan := NewPlan([]Pair{{ct, j2k}}, PlanOptions{Convert: true, TransferSyntaxes: []dicom.UID{evr}}); plan.Assigned[0] != -1 {
		t.Error("what cannot be converted is proposed in a transfer syntax that it may not be sent in")
	}
}

func pairsOf(contexts []pdu.PresentationContext) (pairs []Pair) {
	for _, c := range contexts {
		pairs = append(pairs, Pair{dicom.UID(c.AbstractSyntax), dicom.UID(c.TransferSyntaxes[0])})
	}
	return pairs
}

// A pair and what it can be converted to are in one association, and no pair is served by two.
func TestPlanConversionsOverSeveralAssociations(t *testing.T) {
	var batch []Pair
	for _, pair := range manyPairs(200) {
		batch = append(batch, Pair{pair.SOPClassUID, rle}, Pair{pair.SOPClassUID, evr})
	}
	plan := NewPlan(batch, PlanOptions{Convert: true})
	seen := map[Pair]int{}
	for i, contexts := range plan.Proposals {
		if len(contexts) > MaxContexts {
			t.Errorf("association %d has %d contexts", i, len(contexts))
		}
		for _, pair := range plan.Served[i] {
			seen[pair]++
			for _, needed := range []dicom.UID{pair.TransferSyntaxUID, ivr} {
				if !slices.Contains(pairsOf(contexts), Pair{pair.SOPClassUID, needed}) {
					t.Errorf("%v is served without a context in %s", pair, needed)
				}
			}
		}
	}
	for i, pair := range batch {
		if seen[pair] != 1 || !slices.Contains(plan.Served[plan.Assigned[i]], pair) {
			t.Fatalf("%v is served %d times", pair, seen[pair])
		}
	}
}

// stored is an instance of bytes in a transfer syntax.
func stored(uid, ts dicom.UID, data string) *Item {
	it := item(uid, len(data))
	it.TransferSyntaxUID = ts
	it.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(data)), nil }
	return it
}

const (
	elementEVR = "\x08\x00\x18\x00UI\x04\x001.2\x00"
	elementIVR = "\x08\x00\x18\x00\x04\x00\x00\x001.2\x00"
	// imageEVR describes an image of one pixel, fragments begins its compressed pixel data, pixelsEVR is what that becomes.
	imageEVR   = "\x28\x00\x02\x00US\x02\x00\x01\x00\x28\x00\x10\x00US\x02\x00\x01\x00\x28\x00\x11\x00US\x02\x00\x01\x00\x28\x00\x00\x01US\x02\x00\x08\x00"
	pixelsEVR  = "\xE0\x7F\x10\x00OW\x00\x00\x02\x00\x00\x00\x07\x00"
	fragments  = "\xE0\x7F\x10\x00OB\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x00\x00\x00\x00\xFE\xFF\x00\xE0\x42\x00\x00\x00"
	endOfItems = "\xFE\xFF\xDD\xE0\x00\x00\x00\x00"
)

// rleFrame is a frame of a segment that is the pixel 7, or makes no sense.
func rleFrame(good bool) string {
	header := make([]byte, 64)
	header[0], header[4] = 1, 64
	if !good {
		header[0] = 2
	}
	return string(header) + "\x00\x07"
}

// TestPumpConverts sends to a peer that takes nothing but some transfer syntaxes.
func TestPumpConverts(t *testing.T) {
	for _, window := range windows {
		a := newFake(window)
		for _, ts := range []dicom.UID{ivr, rle, bevr, j2k} {
			a.refuse[Pair{ct, ts}] = true
		}
		gone := errors.New("gone")
		unreadable := stored("1.6", ivr, "")
		unreadable.Open = func() (io.ReadCloser, error) { return io.NopCloser(failing{gone}), nil }
		s := newSource(t, stored("1.1", evr, elementEVR), stored("1.2", ivr, elementIVR), stored("1.3", rle, imageEVR+fragments+rleFrame(true)+endOfItems),
			stored("1.4", j2k, elementEVR), stored("1.5", rle, imageEVR+fragments+rleFrame(false)+endOfItems), unreadable, stored("1.7", ivr, elementIVR))
		var log bytes.Buffer
		registry := prometheus.NewRegistry()
		c := NewConverter(registry, slog.New(slog.NewTextHandler(&log, nil)))
		if err := (&Pump{Association: a, Source: s, Converter: c}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[dicom.UID]Kind{"1.1": Answered, "1.2": Answered, "1.3": Answered, "1.4": NoContext, "1.5": LocalError, "1.6": LocalError, "1.7": Answered}
		if got := s.kinds(); !maps.Equal(got, want) || a.aborted {
			t.Errorf("window %d: %v, aborted %v", window, got, a.aborted)
		}
		for uid, data := range map[dicom.UID]string{"1.1": elementEVR, "1.2": elementEVR, "1.3": imageEVR + pixelsEVR, "1.7": elementEVR} {
			if string(a.data[uid]) != data {
				t.Errorf("window %d: %s arrived as % x", window, uid, a.data[uid])
			}
		}
		var failed *ConversionError
		if err := s.outcomes["1.5"].Err; !errors.As(err, &failed) || failed.To != evr {
			t.Errorf("window %d: a frame that makes no sense: %v", window, err)
		}
		if err := s.outcomes["1.6"].Err; errors.As(err, &failed) || !errors.Is(err, gone) {
			t.Errorf("window %d: an instance that cannot be read: %v", window, err)
		}
		if err := s.outcomes["1.4"].Err; !strings.Contains(err.Error(), "cannot convert") {
			t.Errorf("window %d: JPEG 2000: %v", window, err)
		}
		counts := `
			# HELP dcmgate_conversions_total Instances converted to another transfer syntax to be sent, by UID of the stored and the sent one and by result: converted, or failed.
			# TYPE dcmgate_conversions_total counter
			dcmgate_conversions_total{from="1.2.840.10008.1.2",result="converted",to="1.2.840.10008.1.2.1"} 2
			dcmgate_conversions_total{from="1.2.840.10008.1.2.5",result="converted",to="1.2.840.10008.1.2.1"} 1
			dcmgate_conversions_total{from="1.2.840.10008.1.2.5",result="failed",to="1.2.840.10008.1.2.1"} 1
		`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(counts)); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "instance cannot be converted"); n != 1 || !strings.Contains(log.String(), "sop_instance_uid=1.5") {
			t.Errorf("logged: %s", &log)
		}
	}
}

// frames is an instance of two frames of a MiB, of which the second may make no sense. That is behind more than is read ahead.
func frames(uid dicom.UID, good bool) *Item {
	const pixels = 1 << 20
	image := strings.Replace(imageEVR, "\x10\x00US\x02\x00\x01\x00", "\x08\x00IS\x02\x002 \x28\x00\x10\x00US\x02\x00\x00\x04", 1)
	image = strings.Replace(image, "\x11\x00US\x02\x00\x01\x00", "\x11\x00US\x02\x00\x00\x04", 1)
	frame := func(run string) string {
		f := rleFrame(true)[:64] + strings.Repeat(run, pixels/128)
		return "\xFE\xFF\x00\xE0" + string([]byte{byte(len(f)), byte(len(f) >> 8), byte(len(f) >> 16), 0}) + f
	}
	second := frame("\x81\x07")
	if !good {
		second = frame("\x80\x80")
	}
	return stored(uid, rle, image+fragments[:len(fragments)-8]+frame("\x81\x07")+second+endOfItems)
}

func TestAConversionThatFailsInTheMiddleNeverEndsTheInstance(t *testing.T) {
	a := newFake(1)
	a.refuse[Pair{ct, rle}] = true
	s := newSource(t, frames("1.1", false))
	err := (&Pump{Association: a, Source: s, Converter: NewConverter(nil, slog.New(slog.DiscardHandler))}).Run(t.Context())
	var local *LocalAbortError
	var failed *ConversionError
	if !errors.As(err, &local) || !errors.As(err, &failed) || !a.aborted || len(a.received) != 0 {
		t.Errorf("%v, aborted %v, received %v", err, a.aborted, a.received)
	}
	if got := s.kinds()["1.1"]; got != LocalError {
		t.Errorf("outcome %v", got)
	}
}

// TestPumpConvertsToTheEndBefore sends nothing of an instance that fails in the middle, and the others over the same
// association. Longer ones are opened a second time.
func TestPumpConvertsToTheEndBefore(t *testing.T) {
	long := stored("1.4", ivr, elementIVR+"\xE0\x7F\x10\x00\x00\x00\x60\x00"+strings.Repeat("ab", 3<<20))
	opened, open := 0, long.Open
	long.Open = func() (io.ReadCloser, error) { opened++; return open() }
	s := newSource(t, frames("1.1", false), frames("1.2", true), stored("1.3", ivr, elementIVR), long, frames("1.5", false))
	a := newFake(1)
	a.refuse[Pair{ct, rle}], a.refuse[Pair{ct, ivr}] = true, true
	registry := prometheus.NewRegistry()
	p := Pump{Association: a, Source: s, Converter: NewConverter(registry, slog.New(slog.DiscardHandler)), Whole: true}
	if err := p.Run(t.Context()); err != nil || a.aborted {
		t.Fatalf("%v, aborted %v", err, a.aborted)
	}
	want := map[dicom.UID]Kind{"1.1": LocalError, "1.2": Answered, "1.3": Answered, "1.4": Answered, "1.5": LocalError}
	if got := s.kinds(); !maps.Equal(got, want) || opened != 2 {
		t.Errorf("%v, opened %d times", got, opened)
	}
	if got := a.data["1.2"]; len(got) < 2<<20 || !bytes.HasSuffix(got, bytes.Repeat([]byte{7}, 2<<20)) {
		t.Errorf("%d bytes of two frames", len(got))
	}
	if got := a.data["1.4"]; len(got) != len(elementEVR)+12+6<<20 {
		t.Errorf("%d bytes of a long instance", len(got))
	}
	if n := testutil.CollectAndCount(p.Converter.conversions); n != 3 {
		t.Errorf("%d series", n)
	}
	if n := testutil.ToFloat64(p.Converter.conversions.WithLabelValues(string(ivr), string(evr), converted)); n != 2 {
		t.Errorf("%v conversions counted", n)
	}
}
