package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

func store(t *testing.T, address string, o synth.Object) (dimse.Status, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var dialer dimse.Dialer
	a, err := dialer.Dial(ctx, address, dimse.Proposal{CalledAETitle: "CLOUD", CallingAETitle: "TEST",
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{synth.ExplicitVRLittleEndian}}}})
	if err != nil {
		return 0, err
	}
	defer a.Close()
	rsp, err := a.Store(ctx, dimse.StoreRequest{ContextID: 1, SOPClassUID: synth.CTImageStorage,
		SOPInstanceUID: dicom.UID(o.SOPInstanceUID), Data: bytes.NewReader(o.Data), Size: int64(len(o.Data))})
	return rsp.Status, err
}

func TestLedger(t *testing.T) {
	template := synth.NewTemplate(3000, 1)
	a, b := template.Object(1, 1, 1), template.Object(1, 1, 2)
	changed := template.Object(1, 1, 1)
	changed.Data[len(changed.Data)-1] ^= 1

	archive, address, err := Listen("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, o := range []synth.Object{a, b, a, changed} {
		if status, err := store(t, address, o); err != nil || status != dimse.StatusSuccess {
			t.Fatalf("status %v, %v", status, err)
		}
	}
	e, ok := archive.Lookup(dicom.UID(a.SOPInstanceUID))
	if want := sha256.Sum256(a.Data); !ok || e.Digest != want || e.Bytes != int64(len(a.Data)) || e.Answered != 3 || e.Conflicts != 1 {
		t.Errorf("entry %+v, want three answers and a conflict", e)
	}
	if c := archive.Counts(); c.Instances != 2 || c.Duplicates != 1 || c.Conflicts != 1 || c.Associations != 4 {
		t.Errorf("counts %+v", c)
	}
}

func TestFaults(t *testing.T) {
	o := synth.NewTemplate(30000, 1).Object(1, 1, 1)
	tests := []struct {
		name   string
		faults Faults
		failed bool
		status dimse.Status
		entry  bool // the ledger has it
		unsure int
	}{
		{"rejected", Faults{RejectRate: 1}, true, 0, false, 0},
		{"aborted early", Faults{AbortRate: 1}, true, 0, false, 0},
		{"answer lost", Faults{LoseAnswerRate: 1}, true, 0, true, 1},
		{"status", Faults{StatusRate: 1, Status: 0xA700}, false, 0xA700, false, 0},
		{"warning", Faults{WarningRate: 1}, false, 0xB000, true, 0},
		{"delay", Faults{Delay: time.Millisecond}, false, 0, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			archive, address, err := Listen("127.0.0.1:0", Options{Faults: tt.faults})
			if err != nil {
				t.Fatal(err)
			}
			defer archive.Close()
			status, err := store(t, address, o)
			if (err != nil) != tt.failed || status != tt.status {
				t.Errorf("status %v, error %v", status, err)
			}
			archive.Close()
			if e, ok := archive.Lookup(dicom.UID(o.SOPInstanceUID)); ok != tt.entry || e.Unsure != tt.unsure {
				t.Errorf("entry %+v, %v", e, ok)
			}
		})
	}
}

func TestUnreachableForAWhile(t *testing.T) {
	archive, address, err := Listen("127.0.0.1:0", Options{Faults: Faults{UpFor: 50 * time.Millisecond, DownFor: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	o := synth.NewTemplate(1000, 1).Object(1, 1, 1)
	failed, worked := false, false
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && !(failed && worked); {
		_, err := store(t, address, o)
		failed, worked = failed || err != nil, worked || err == nil
	}
	if !failed || !worked {
		t.Errorf("failed %v, worked %v; want both", failed, worked)
	}
}
