package gateway

import (
	"errors"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

// TestDropTellsWhatIsInDelivery drops while jobs are claimed, and afterwards.
func TestDropTellsWhatIsInDelivery(t *testing.T) {
	s, err := spool.Open(t.TempDir(), spool.Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	template := synth.NewTemplate(3000, 1)
	for i := range 5 {
		o := template.Object(1, 1, i)
		w, err := s.Begin(spool.Incoming{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: synth.ExplicitVRLittleEndian})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = w.Write(o.Data); err == nil {
			_, err = w.Commit([]spool.JobSpec{{Destination: "cloud"}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	claimed, err := s.Claim("cloud", 2)
	if err != nil || len(claimed) != 2 {
		t.Fatal(claimed, err)
	}
	o := &operations{spool: s, status: func() Status {
		return Status{Destinations: destinationStatus([]Destination{{Name: "pacs"}}, nil, s.Counts(), nil)}
	}}
	for _, want := range []struct {
		filter JobFilter
		Changed
	}{
		{JobFilter{Destination: "cloud", State: "parked"}, Changed{}},
		{JobFilter{Destination: "cloud", State: "active"}, Changed{Active: 2}},
		{JobFilter{Destination: "cloud"}, Changed{Count: 3, Active: 2}},
		{JobFilter{All: true}, Changed{Active: 2}},
		{JobFilter{Destination: "pacs"}, Changed{}}, // configured, and has none
	} {
		if got, err := o.Drop(t.Context(), want.filter, "test"); err != nil || got != want.Changed {
			t.Errorf("%+v: got %+v, %v; want %+v", want.filter, got, err, want.Changed)
		}
	}
	for name, err := range map[string]error{
		"list":  func() error { _, err := o.Jobs(t.Context(), JobFilter{Destination: "nosuch"}, "", 1); return err }(),
		"retry": func() error { _, err := o.Retry(t.Context(), JobFilter{Destination: "nosuch"}, ""); return err }(),
		"drop":  func() error { _, err := o.Drop(t.Context(), JobFilter{Destination: "nosuch"}, ""); return err }(),
	} {
		var unknown *DestinationError
		if !errors.As(err, &unknown) || !strings.Contains(err.Error(), "those that are: pacs") {
			t.Errorf("%s for a destination that is not there: %v", name, err)
		}
	}
	if _, err := o.Jobs(t.Context(), JobFilter{Destination: "cloud"}, "", 1); err != nil {
		t.Errorf("a destination that was configured before: %v", err)
	}
}
