package dicom

import (
	"slices"
	"strings"
	"testing"
)

func TestUIDValid(t *testing.T) {
	for uid, want := range map[UID]error{
		"1.2.840.10008.1.1":          nil,
		"0":                          nil,
		"2.25.0":                     nil,
		ImplementationClassUID:       nil,
		UID(strings.Repeat("1", 64)): nil,
		UID(strings.Repeat("1", 65)): ErrUIDTooLong,
		"":                           ErrUIDEmpty,
		"1..2":                       ErrUIDComponent,
		"1.":                         ErrUIDComponent,
		".1":                         ErrUIDComponent,
		"1.02":                       ErrUIDComponent,
		"1.00":                       ErrUIDComponent,
		"1.2 ":                       ErrUIDCharacter,
		"1.2\x00":                    ErrUIDCharacter,
		"1.a":                        ErrUIDCharacter,
	} {
		if err := uid.Valid(); err != want {
			t.Errorf("UID %q: %v, want %v", uid, err, want)
		}
	}
}

func TestParseUID(t *testing.T) {
	for value, want := range map[string]UID{"1.2\x00": "1.2", "1.2 ": "1.2", " 1.2\x00\x00": "1.2", "": "", "\x00": "", "1 2": "1 2"} {
		if got := ParseUID([]byte(value)); got != want {
			t.Errorf("ParseUID(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestTag(t *testing.T) {
	tag := NewTag(0x0009, 0x10FF)
	if tag != 0x000910FF || tag.Group() != 9 || tag.Element() != 0x10FF || !tag.Private() || tag.String() != "(0009,10FF)" {
		t.Errorf("tag %s: group %x, element %x, private %v", tag, tag.Group(), tag.Element(), tag.Private())
	}
	if TagPatientID.Private() {
		t.Error("Patient ID is private")
	}
}

func TestTransferSyntaxes(t *testing.T) {
	type properties struct{ implicit, big, deflated, encapsulated bool }
	want := map[UID]properties{
		ImplicitVRLittleEndian:         {implicit: true},
		ExplicitVRLittleEndian:         {},
		ExplicitVRBigEndian:            {big: true},
		DeflatedExplicitVRLittleEndian: {deflated: true},
		JPIPReferenced:                 {},
		JPIPReferencedDeflate:          {deflated: true},
		JPIPHTJ2KReferenced:            {},
		JPIPHTJ2KReferencedDeflate:     {deflated: true},
		RFC2557MIMEEncapsulation:       {},
		XMLEncoding:                    {},
		SMPTEST211020Progressive:       {},
		SMPTEST211020Interlaced:        {},
		SMPTEST211030PCMDigitalAudio:   {},
		Papyrus3ImplicitVRLittleEndian: {implicit: true},
		"1.2.840.113619.5.2":           {implicit: true},
		"1.2.3.4":                      {encapsulated: true},
		"":                             {encapsulated: true},
	}
	for _, uid := range append(TransferSyntaxes(), "1.2.840.113619.5.2", "1.2.3.4", "") {
		w, ok := want[uid]
		if !ok {
			w = properties{encapsulated: true} // all others of the standard
		}
		if got := (properties{uid.ImplicitVR(), uid.BigEndian(), uid.Deflated(), uid.Encapsulated()}); got != w {
			t.Errorf("%s %s: %+v, want %+v", uid, TransferSyntaxName(uid), got, w)
		}
	}
	if n := len(TransferSyntaxes()); n != 63 {
		t.Errorf("%d transfer syntaxes, PS3.6 2025 has 63", n)
	}
	if got := TransferSyntaxName(HTJ2KLosslessRPCL); got != "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)" {
		t.Errorf("name of %s: %q", HTJ2KLosslessRPCL, got)
	}
	if got := TransferSyntaxName(CTImageStorage); got != "" {
		t.Errorf("a SOP class is transfer syntax %q", got)
	}
}

// Tables hold no UID twice and none that is malformed.
func TestUIDTables(t *testing.T) {
	for name, uids := range map[string][]UID{"transfer syntaxes": TransferSyntaxes(), "Storage SOP classes": StorageSOPClasses()} {
		slices.Sort(uids)
		if len(slices.Compact(slices.Clone(uids))) != len(uids) {
			t.Errorf("%s: duplicates", name)
		}
		for _, uid := range uids {
			if err := uid.Valid(); err != nil {
				t.Errorf("%s: %q: %v", name, uid, err)
			}
		}
	}
	if len(ImplementationVersionName) > 16 {
		t.Errorf("implementation version name %q is longer than 16", ImplementationVersionName)
	}
}

func TestSOPClasses(t *testing.T) {
	for uid, want := range map[UID]struct {
		name    string
		storage bool
	}{
		CTImageStorage:                      {"CT Image Storage", true},
		"1.2.840.10008.5.1.4.1.1.66.7":      {"Label Map Segmentation Storage", true},
		"1.2.840.10008.5.1.4.1.1.104.3":     {"Encapsulated STL Storage", true},
		"1.2.840.10008.5.1.4.1.1.201.1":     {"Inventory Storage", true},
		"1.2.840.10008.5.1.4.1.1.481.17":    {"RT Radiation Salvage Record Storage", true},
		"1.2.840.10008.5.1.4.1.1.6":         {"Ultrasound Image Storage", true},
		"1.2.840.10008.5.1.4.38.1":          {"Hanging Protocol Storage", true},
		VerificationSOPClass:                {"Verification SOP Class", false},
		StudyRootFindSOPClass:               {"Study Root Query/Retrieve Information Model - FIND", false},
		"1.2.840.10008.5.1.4.1.1.200.4":     {"Protocol Approval Information Model - FIND", false},
		"1.2.840.10008.5.1.4.1.1.201.6":     {"Repository Query", false},
		"1.2.840.10008.5.1.1.9":             {"Basic Grayscale Print Management Meta SOP Class", false},
		"1.2.840.10008.1.3.10":              {"Media Storage Directory Storage", false},
		ExplicitVRLittleEndian:              {"", false},
		ModalityPerformedProcedureStepClass: {"Modality Performed Procedure Step SOP Class", false},
		"1.2.3":                             {"", false},
	} {
		if got := SOPClassName(uid); got != want.name || IsStorageSOPClass(uid) != want.storage {
			t.Errorf("%s: %q, storage %v, want %q, %v", uid, got, IsStorageSOPClass(uid), want.name, want.storage)
		}
	}
	if n := len(StorageSOPClasses()); n != 210 {
		t.Errorf("%d Storage SOP classes, want 210", n)
	}
}

func TestTagNames(t *testing.T) {
	for tag, want := range map[Tag]struct{ keyword, vr string }{
		TagPatientName: {"PatientName", "PN"},
		0x00080053:     {"QueryRetrieveView", "CS"},
		0x00080017:     {"AcquisitionUID", "UI"},
		0x7FE00001:     {"ExtendedOffsetTable", "OV"},
		0x00283006:     {"LUTData", "US"},
		0x00080000:     {"GroupLength", "UL"},
		0x60023000:     {"OverlayData", "OB"},
		0x60000010:     {"OverlayRows", "US"},
		0x00090010:     {"PrivateCreator", "LO"},
		0x00091001:     {"", ""},
		0x00081234:     {"", ""},
		tagItem:        {"Item", ""},
	} {
		if TagName(tag) != want.keyword || TagVR(tag) != want.vr {
			t.Errorf("%s: %q %q, want %q %q", tag, TagName(tag), TagVR(tag), want.keyword, want.vr)
		}
	}
	for keyword, want := range map[string]Tag{"PatientName": TagPatientName, "QueryRetrieveView": 0x00080053, "AcquisitionUID": 0x00080017} {
		if tag, ok := TagByKeyword(keyword); !ok || tag != want {
			t.Errorf("TagByKeyword(%q) = %s, %v", keyword, tag, ok)
		}
	}
	for _, keyword := range []string{"", "patientname", "NoSuchThing", "RETIRED_X"} {
		if tag, ok := TagByKeyword(keyword); ok {
			t.Errorf("TagByKeyword(%q) = %s", keyword, tag)
		}
	}
	for _, tag := range DefaultTags() {
		if TagName(tag) == "" || TagVR(tag) == "" {
			t.Errorf("%s is not in the dictionary", tag)
		}
	}
	if !slices.IsSorted(DefaultTags()) {
		t.Error("default tags are not sorted")
	}
}
