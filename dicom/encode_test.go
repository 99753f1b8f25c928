package dicom

import (
	"bytes"
	"errors"
	"testing"
)

func TestEncodeElements(t *testing.T) {
	// PS3.5 7.1.2: 16-bit length for PN, 32-bit behind two reserved bytes for SQ; padding by 6.2.
	elements := []DataElement{
		{Tag: TagPatientName, VR: "PN", Value: []byte("A^B")},
		{Tag: TagSOPClassUID, VR: "UI", Value: []byte("1.2")},
		{Tag: 0x00081140, VR: "SQ", Items: [][]DataElement{{{Tag: TagRows, VR: "US", Value: []byte{1, 2}}}}},
	}
	for _, row := range []struct {
		name string
		ts   UID
		want string
	}{
		{"implicit", ImplicitVRLittleEndian, "\x08\x00\x16\x00\x04\x00\x00\x001.2\x00" +
			"\x08\x00\x40\x11\x12\x00\x00\x00\xFE\xFF\x00\xE0\x0A\x00\x00\x00\x28\x00\x10\x00\x02\x00\x00\x00\x01\x02" +
			"\x10\x00\x10\x00\x04\x00\x00\x00A^B "},
		{"explicit", ExplicitVRLittleEndian, "\x08\x00\x16\x00UI\x04\x001.2\x00" +
			"\x08\x00\x40\x11SQ\x00\x00\x12\x00\x00\x00\xFE\xFF\x00\xE0\x0A\x00\x00\x00\x28\x00\x10\x00US\x02\x00\x01\x02" +
			"\x10\x00\x10\x00PN\x04\x00A^B "},
		{"big endian", ExplicitVRBigEndian, "\x00\x08\x00\x16UI\x00\x041.2\x00" +
			"\x00\x08\x11\x40SQ\x00\x00\x00\x00\x00\x12\xFF\xFE\xE0\x00\x00\x00\x00\x0A\x00\x28\x00\x10US\x00\x02\x01\x02" +
			"\x00\x10\x00\x10PN\x00\x04A^B "},
	} {
		got, err := EncodeElements(elements, row.ts)
		if err != nil || string(got) != row.want {
			t.Errorf("%s: got %q, %v", row.name, got, err)
		}
	}
}

func TestEncodedElementsParseAgain(t *testing.T) {
	elements := []DataElement{
		{Tag: TagSpecificCharacterSet, VR: "CS", Value: []byte("ISO_IR 192")},
		{Tag: TagPatientName, VR: "PN", Value: []byte("王^小东")},
		{Tag: 0x00081140, VR: "SQ", Items: [][]DataElement{{{Tag: TagPatientID, VR: "LO", Value: []byte("7")}}, {}}},
		{Tag: TagPatientID, VR: "LO", Value: bytes.Repeat([]byte("x"), 3000)},
	}
	for _, ts := range []UID{ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian} {
		data, err := EncodeElements(elements, ts)
		if err != nil || len(data)%2 != 0 {
			t.Fatalf("%s: %d bytes, %v", ts, len(data), err)
		}
		got, err := ParseElements(data, ts)
		if err != nil || len(got) != 4 {
			t.Fatalf("%s: %v, %v", ts, got, err)
		}
		if got[2].Values[0] != "王^小东" || len(got[1].Items) != 2 || got[1].Items[0][0].Values[0] != "7" || len(got[3].Value) != 3000 {
			t.Errorf("%s: got %v", ts, got)
		}
	}
	var format *FormatError
	if _, err := EncodeElements([]DataElement{{Tag: TagPatientID, VR: "LO", Value: make([]byte, 70000)}}, ExplicitVRLittleEndian); !errors.As(err, &format) {
		t.Errorf("a value beyond 16 bits of length: %v", err)
	}
}
