package gateway

import (
	"testing"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

const (
	ctImageStorage   dicom.UID = "1.2.840.10008.5.1.4.1.1.2"
	studyRootFind    dicom.UID = "1.2.840.10008.5.1.4.1.2.2.1"
	storageCommit    dicom.UID = "1.2.840.10008.1.20.1"
	futureStorage    dicom.UID = "1.2.840.10008.5.1.4.1.1.9999.1"
	privateStorage   dicom.UID = "1.3.12.2.1107.5.9.1"
	privateTransfer  dicom.UID = "1.3.46.670589.33.1.4.1"
	unknownStandard  dicom.UID = "1.2.840.10008.99.1"
	unknownTransfer  dicom.UID = "1.2.3.4"
	explicit                   = dicom.ExplicitVRLittleEndian
	implicit                   = dicom.ImplicitVRLittleEndian
	bigEndian                  = dicom.ExplicitVRBigEndian
	deflated                   = dicom.DeflatedExplicitVRLittleEndian
	jpegBaseline               = dicom.JPEGBaseline
	jpeg2000Lossless           = dicom.JPEG2000Lossless
)

func TestChoiceOfTransferSyntax(t *testing.T) {
	private := TransferSyntaxes{Private: []dicom.UID{privateTransfer}}
	for _, row := range []struct {
		name    string
		config  TransferSyntaxes
		offered []dicom.UID
		want    dicom.UID // "": none
	}{
		{"the only one", TransferSyntaxes{}, []dicom.UID{implicit}, implicit},
		{"explicit before implicit", TransferSyntaxes{}, []dicom.UID{implicit, explicit}, explicit},
		{"little endian before big", TransferSyntaxes{}, []dicom.UID{bigEndian, implicit}, implicit},
		{"big endian alone", TransferSyntaxes{}, []dicom.UID{bigEndian}, bigEndian},
		{"compressed first: not decompressed", TransferSyntaxes{}, []dicom.UID{jpegBaseline, explicit, implicit}, jpegBaseline},
		{"uncompressed first: not compressed", TransferSyntaxes{}, []dicom.UID{implicit, jpegBaseline, explicit}, explicit},
		{"compressed only, sender's order", TransferSyntaxes{}, []dicom.UID{jpeg2000Lossless, jpegBaseline}, jpeg2000Lossless},
		{"deflated first is what it has", TransferSyntaxes{}, []dicom.UID{deflated, implicit}, deflated},
		{"unknown ones do not count", TransferSyntaxes{}, []dicom.UID{unknownTransfer, jpegBaseline, implicit}, jpegBaseline},
		{"nothing known", TransferSyntaxes{}, []dicom.UID{unknownTransfer}, ""},
		{"nothing offered", TransferSyntaxes{}, nil, ""},
		{"private, not configured", TransferSyntaxes{}, []dicom.UID{privateTransfer}, ""},
		{"private, configured", private, []dicom.UID{privateTransfer, implicit}, privateTransfer},
		{"refused falls back", TransferSyntaxes{Refuse: []dicom.UID{jpegBaseline}}, []dicom.UID{jpegBaseline, implicit}, implicit},
		{"refused alone", TransferSyntaxes{Refuse: []dicom.UID{jpegBaseline}}, []dicom.UID{jpegBaseline}, ""},
		{"preferred wins anywhere", TransferSyntaxes{Prefer: []dicom.UID{jpeg2000Lossless}}, []dicom.UID{implicit, jpeg2000Lossless}, jpeg2000Lossless},
		{"preferred but not offered", TransferSyntaxes{Prefer: []dicom.UID{jpeg2000Lossless}}, []dicom.UID{implicit}, implicit},
	} {
		c := newContexts(DICOM{TransferSyntaxes: row.config})
		got, ok := c.transferSyntax(row.offered)
		if got != row.want || ok != (row.want != "") {
			t.Errorf("%s: got %q, %v, want %q", row.name, got, ok, row.want)
		}
	}
}

func TestEveryTransferSyntaxIsAcceptedAlone(t *testing.T) {
	c := newContexts(DICOM{})
	for _, ts := range dicom.TransferSyntaxes() {
		if got, ok := c.transferSyntax([]dicom.UID{ts}); got != ts || !ok {
			t.Errorf("%s: got %q", dicom.TransferSyntaxName(ts), got)
		}
	}
}

func TestAnswerToPresentationContext(t *testing.T) {
	for _, row := range []struct {
		name     string
		policy   SOPClassPolicy
		mayStore bool
		abstract dicom.UID
		offered  []dicom.UID
		want     pdu.ContextResult
	}{
		{"verification", SOPClassesKnown, false, dicom.VerificationSOPClass, []dicom.UID{implicit}, pdu.ContextAccepted},
		{"storage", SOPClassesKnown, true, ctImageStorage, []dicom.UID{implicit}, pdu.ContextAccepted},
		{"storage without the right", SOPClassesAny, false, ctImageStorage, []dicom.UID{implicit}, pdu.ContextUserRejection},
		{"storage in an unknown encoding", SOPClassesAny, true, ctImageStorage, []dicom.UID{unknownTransfer}, pdu.ContextTransferSyntaxesNotSupported},
		{"private storage, any", SOPClassesAny, true, privateStorage, []dicom.UID{implicit}, pdu.ContextAccepted},
		{"private storage, known", SOPClassesKnown, true, privateStorage, []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported},
		{"future storage, any", SOPClassesAny, true, futureStorage, []dicom.UID{implicit}, pdu.ContextAccepted},
		{"future storage, known", SOPClassesKnown, true, futureStorage, []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported},
		{"query", SOPClassesAny, true, studyRootFind, []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported},
		{"storage commitment", SOPClassesAny, true, storageCommit, []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported},
		{"unknown service of the standard", SOPClassesAny, true, unknownStandard, []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported},
		{"no abstract syntax", SOPClassesAny, true, "", []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported},
	} {
		choose := newContexts(DICOM{SOPClasses: row.policy}).policyFor(row.mayStore)
		if _, got := choose(row.abstract, row.offered); got != row.want {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}
