package spool

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool/segment"
)

func sampleInstance() *Instance {
	return &Instance{
		ID: 0x0102030405060708, StudyInstanceUID: "1.2", SeriesInstanceUID: "1.2.3", SOPInstanceUID: "1.2.3.4",
		SOPClassUID: "1.2.840.10008.5.1.4.1.1.2", TransferSyntaxUID: "1.2.840.10008.1.2.1",
		Received: time.UnixMilli(1700000000123), Flags: FlagNewVersion, Priority: PriorityHigh,
		CallingAETitle: "CT1", CalledAETitle: "DCMGATE", RemoteAddress: "10.0.0.5:1", MoveOriginatorAETitle: "WS",
		MoveOriginatorMessageID: 7, AssociationID: "a1", restores: 9,
		Metadata: Metadata{Elements: []dicom.Element{{Tag: dicom.TagModality, VR: "CS", Value: []byte("CT")}, {Tag: dicom.TagPatientID, VR: "LO", Value: []byte{}}}},
		jobs:     []jobEntry{{"cloud", 0, false, false}, {"pacs", 2, true, false}, {"archive", 2, true, true}},
	}
}

func TestMetaGoldenBytes(t *testing.T) {
	for _, row := range []struct {
		name, version, checksum string
		of                      checksum
	}{
		{"of dcmgate 0.1", "01", "", checksum{}},
		{"with a checksum", "02", "deadbeef", checksum{value: 0xdeadbeef, known: true}},
	} {
		t.Run(row.name, func(t *testing.T) { testMetaGoldenBytes(t, row.of, row.version, row.checksum) })
	}
}

func testMetaGoldenBytes(t *testing.T, sum checksum, version, check string) {
	in := sampleInstance()
	in.checksum = sum
	in.Metadata.Elements = in.Metadata.Elements[:1]
	in.jobs = in.jobs[:1]
	in.SOPClassUID, in.RemoteAddress, in.AssociationID = "", "", ""
	want := strings.Join([]string{
		version,
		"0102030405060708", // ID
		"0000018bcfe5687b", // received: 1700000000123 ms
		"00000040",         // flags: new version
		"01",               // priority HIGH
		"0000000000000009", // restores
		check,
		"03312e32",         // study 1.2
		"05312e322e33",     // series 1.2.3
		"07312e322e332e34", // SOP instance 1.2.3.4
		"00",               // SOP class
		"13312e322e3834302e31303030382e312e322e31", // transfer syntax
		"03435431", "0744434d47415445", "00", "025753", "0007", "00", // calling, called, address, originator, message, association
		"01", "05636c6f7564", "00", "00", // one job: cloud, class HIGH, not delivered
		"01", "00080060", "024353", "024354", // one element: Modality CS CT
	}, "")
	got := appendMeta(nil, in)
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	back := new(Instance)
	if err := decodeMeta(got, back); err != nil || !reflect.DeepEqual(back, in) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestEntryRoundTrip(t *testing.T) {
	in := sampleInstance()
	in.place(segment.Location{Segment: 3, Generation: 4, Offset: 4096, Length: 8192, PayloadLength: 5000, HeaderLength: 300}, [32]byte{1, 2, 3})
	in.State, in.Evicted = InstanceEvicted, time.UnixMilli(1700000000999)
	back := new(Instance)
	if err := decodeEntry(appendEntry(nil, in), back); err != nil || !reflect.DeepEqual(back, in) {
		t.Errorf("got  %+v\nwant %+v, %v", back, in, err)
	}
}

func TestMetaFitsIntoARecord(t *testing.T) {
	long := strings.Repeat("x", 4*maxText)
	in := instanceOfIncoming(Incoming{SOPClassUID: dicom.UID(long), SOPInstanceUID: dicom.UID(long), TransferSyntaxUID: dicom.UID(long),
		CallingAETitle: long, CalledAETitle: long, RemoteAddress: long, MoveOriginatorAETitle: long, AssociationID: long})
	in.StudyInstanceUID, in.SeriesInstanceUID = boundUID(dicom.UID(long)), boundUID(dicom.UID(long))
	for range MaxJobs {
		in.jobs = append(in.jobs, jobEntry{destination: strings.Repeat("d", MaxDestinationLength)})
	}
	for _, size := range []int{0, 1, 4096} {
		var elements []dicom.Element
		for range 20000 {
			elements = append(elements, dicom.Element{Tag: 1, VR: "LO", Value: make([]byte, size)})
		}
		var trimmed bool
		in.Metadata, trimmed = copyElements(elements)
		if n := len(appendMeta(nil, in)); n > segment.MaxMeta || !trimmed {
			t.Errorf("values of %d: %d bytes, trimmed %v", size, n, trimmed)
		}
	}
}

func TestJobRecordRoundTrip(t *testing.T) {
	for _, r := range []jobRecord{
		{state: JobParked, class: 2, attempts: 7, status: 0xA900, enqueued: 1, due: 2, updated: 3, code: "code", reason: "reason"},
		{state: JobAwaiting, enqueued: 1, due: 2, updated: 3, asks: 4, asked: 5},
		{state: JobPending, attempts: 1, refusals: 2, code: "code"},
		{state: JobCommitted}, {state: JobRefused, reason: "reason"},
	} {
		b := r.append(nil)
		got, err := decodeJob(b)
		if err != nil || got != r {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := decodeJob(b[:len(b)-1]); err == nil {
			t.Errorf("%x accepted", b[:len(b)-1])
		}
	}
}

// TestJobRecordOfVersion1 reads and writes what dcmgate 0.1 does where no commitment is concerned.
func TestJobRecordOfVersion1(t *testing.T) {
	golden := "01" + "04" + "01" + "00000007" + "b000" + "0000000000000001" + "0000000000000000" + "0000000000000003" + "0163" + "0172"
	r := jobRecord{state: JobDelivered, class: 1, attempts: 7, status: 0xB000, enqueued: 1, updated: 3, code: "c", reason: "r"}
	if got := hex.EncodeToString(r.append(nil)); got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
}

func TestTransactionRoundTrip(t *testing.T) {
	for _, tr := range []Transaction{
		{UID: "2.25.1", Destination: "cloud", Asked: time.UnixMilli(1), Until: time.UnixMilli(2), Instances: []InstanceID{3, 4}},
		{UID: "2.25.1", Destination: "cloud", Asked: time.UnixMilli(1), Until: time.UnixMilli(2)},
	} {
		b := tr.append(nil)
		got := Transaction{UID: tr.UID}
		if err := got.decode(b); err != nil || !reflect.DeepEqual(got, tr) {
			t.Errorf("%+v, %v", got, err)
		}
		if new(Transaction).decode(b[:len(b)-1]) == nil || new(Transaction).decode(append(b, 0)) == nil {
			t.Error("malformed values accepted")
		}
	}
}

func TestVersionsAreBounded(t *testing.T) {
	var vs []version
	for i := range maxVersions + 10 {
		vs = setVersion(vs, version{id: InstanceID(i + 1), syntax: "1.2"})
	}
	vs = setVersion(vs, version{id: InstanceID(maxVersions), evicted: true, syntax: "1.2"})
	back, err := decodeVersions(appendVersions(nil, vs))
	if err != nil || len(back) != maxVersions || !reflect.DeepEqual(back, vs) || back[0].id != 11 {
		t.Errorf("%d, %v", len(back), err)
	}
}

func TestQueueKeys(t *testing.T) {
	p := position{due: 77, class: 2, id: 5}
	for _, key := range [][]byte{readyKey("a", p), waitingKey("a", p), parkedKey("a", p.id), awaitingKey("a", p.due, p.id)} {
		name, got, ok := queueEntry(key)
		if !ok || name != "a" || got.id != 5 {
			t.Errorf("%q: %q %v %v", key, name, got, ok)
		}
		for n := range key {
			if n < 10 {
				if _, _, ok := queueEntry(key[:n]); ok {
					t.Errorf("%q accepted", key[:n])
				}
			}
		}
	}
}

func TestFoldText(t *testing.T) {
	for in, want := range map[string]string{
		"  Müller^Jörg ": "MÜLLER^JÖRG", "a\x00b\tc": "AB C", "王^小东": "王^小东", strings.Repeat("王", 40): strings.Repeat("王", 21), "\xff": "\uFFFD",
	} {
		if got := foldText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, sampleInstance()))
	f.Add([]byte{metaVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := new(Instance)
		if decodeMeta(b, in) != nil {
			return
		}
		again := appendMeta(nil, in)
		back := new(Instance)
		if err := decodeMeta(again, back); err != nil || !bytes.Equal(appendMeta(nil, back), again) {
			t.Fatalf("%x does not survive: %v", b, err)
		}
	})
}

// FuzzIndexValues feeds every other decoder of index values.
func FuzzIndexValues(f *testing.F) {
	in := sampleInstance()
	f.Add(appendEntry(nil, in))
	f.Add(appendVersions(nil, []version{in.version()}))
	f.Add((&jobRecord{state: JobPending}).append(nil))
	f.Add((&jobRecord{state: JobAwaiting, asks: 1}).append(nil))
	f.Add((&Transaction{Destination: "cloud", Instances: []InstanceID{1}}).append(nil))
	f.Add((&studyRecord{uid: "1.2", modalities: []string{"CT"}, textKeys: []string{"nX"}}).append(nil))
	f.Add((&seriesRecord{uid: "1.2"}).append(nil))
	f.Add(waitingKey("cloud", position{1, 2, 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = decodeEntry(b, new(Instance))
		_, _ = decodeVersions(b)
		if r, err := decodeJob(b); err == nil {
			if back, err := decodeJob(r.append(nil)); err != nil || back != r {
				t.Fatalf("%x does not survive: %v", b, err)
			}
		}
		if r, err := decodeStudy(b); err == nil {
			if _, err := decodeStudy(r.append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = decodeSeries(b)
		_, _ = decodeSegmentUse(b)
		_ = new(totals).decode(b)
		_ = new(destinationTotals).decode(b)
		if tr := new(Transaction); tr.decode(b) == nil && new(Transaction).decode(tr.append(nil)) != nil {
			t.Fatalf("%x does not survive", b)
		}
		if name, p, ok := queueEntry(b); ok && b[0] == kindWaiting && !bytes.Equal(waitingKey(name, p), b) {
			t.Fatalf("%x", b)
		}
	})
}

// TestKindsDiffer does not compile if two kinds of keys have the same letter.
func TestKindsDiffer(t *testing.T) {
	kinds := map[byte]bool{
		kindEntry: true, kindVersions: true, kindPlace: true, kindStudy: true, kindSeries: true, kindSOP: true, kindSeriesStudy: true,
		kindTree: true, kindPatient: true, kindName: true, kindAccession: true, kindDate: true, kindModality: true, kindPatientID: true,
		kindArrival: true, kindJob: true, kindReady: true, kindWaiting: true, kindParked: true, kindAwaiting: true, kindAsked: true,
		kindEnquiry: true, kindChange: true, kindTombstone: true, kindSegment: true, kindMeta: true,
	}
	if len(kinds) != 26 {
		t.Errorf("%d kinds", len(kinds))
	}
}
