package dimse

import "testing"

func TestStatusClasses(t *testing.T) {
	for status, want := range map[Status]StatusClass{
		0x0000: ClassSuccess, 0x0001: ClassWarning, 0x0107: ClassWarning, 0x0116: ClassWarning,
		0xB000: ClassWarning, 0xB006: ClassWarning, 0xB007: ClassWarning, 0xBFFF: ClassWarning,
		0xFF00: ClassPending, 0xFF01: ClassPending, 0xFE00: ClassCancel,
		0xA700: ClassFailure, 0xA900: ClassFailure, 0xC000: ClassFailure, 0xCFFF: ClassFailure,
		0x0110: ClassFailure, 0x0122: ClassFailure, 0x0211: ClassFailure, 0x0002: ClassFailure, 0xFF02: ClassFailure,
	} {
		if got := status.Class(); got != want {
			t.Errorf("%v is %v, want %v", status, got, want)
		}
		if ok := want == ClassSuccess || want == ClassWarning; status.Ok() != ok {
			t.Errorf("%v: Ok is %v", status, !ok)
		}
	}
}

func TestStatusMeanings(t *testing.T) {
	for _, c := range []struct {
		status    Status
		operation CommandField
		want      string
	}{
		{0xA700, CStoreRSP, "refused: out of resources"},
		{0xA7FF, CStoreRQ, "refused: out of resources"},
		{0xA801, CMoveRQ, "refused: move destination unknown"},
		{0xB000, CStoreRQ, "warning: coercion of data elements"},
		{0xB000, CGetRQ, "warning: sub-operations complete, one or more failures"},
		{0x0124, CFindRQ, "refused: not authorized"},
		{0xFF01, CFindRQ, "pending, some optional keys were not matched"},
		{0xFF00, CFindRQ, "pending"},
		{0xC123, CStoreRQ, "cannot understand"},
		{0xD000, CStoreRQ, "failure"},
	} {
		if got := c.status.Meaning(c.operation); got != c.want {
			t.Errorf("%04X of %v: %q, want %q", uint16(c.status), c.operation, got, c.want)
		}
	}
	if got := StatusUnrecognizedOperation.String(); got != "0211H unrecognized operation" {
		t.Error(got)
	}
	if got := (&StatusError{StatusOutOfResources, "disk full"}).Error(); got != "A700H failure: disk full" {
		t.Error(got)
	}
}
