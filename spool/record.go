package spool

import (
	"encoding/binary"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool/segment"
)

// Versions of the encodings. A reader refuses what it does not know.
const (
	metaVersion        = 2
	metaVersionNoCheck = 1 // of dcmgate 0.1: without the checksum
	entryVersion       = 1
)

// Bounds of what a record's metadata may hold.
const (
	maxText     = 128      // bytes of a UID, AE title, address or other string of Incoming
	maxElements = 44 << 10 // bytes of all elements; with maxText and MaxJobs this stays below segment.MaxMeta
)

// appendMeta encodes what a segment's record keeps beside the bytes: everything that the index needs, so that it can be
// built from segments alone. Layout, big endian, s = uvarint length and bytes:
//
//	version1 iid8 received8(ms) flags4 priority1 restores8 checksum4
//	s study, s series, s SOP instance, s SOP class, s transfer syntax
//	s calling AE, s called AE, s remote address, s move originator AE, message ID 2, s association
//	uvarint jobs, each: s destination, class1, state1 (0 to be done, 1 delivered before, 2 and committed)
//	uvarint elements, each: tag4, s VR, s value
//
// Digest, size and header length are the segment's own. The checksum, of version 2 on, is the CRC-32C of the data set.
func appendMeta(b []byte, in *Instance) []byte {
	version := byte(metaVersion)
	if !in.checksum.known {
		version = metaVersionNoCheck
	}
	b = append(b, version)
	b = appendID(b, in.ID)
	b = binary.BigEndian.AppendUint64(b, uint64(in.Received.UnixMilli()))
	b = binary.BigEndian.AppendUint32(b, uint32(in.Flags))
	b = append(b, byte(in.Priority))
	b = appendID(b, in.restores)
	if in.checksum.known {
		b = binary.BigEndian.AppendUint32(b, in.checksum.value)
	}
	for _, uid := range [...]dicom.UID{in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID, in.SOPClassUID, in.TransferSyntaxUID} {
		b = appendString(b, uid)
	}
	for _, s := range [...]string{in.CallingAETitle, in.CalledAETitle, in.RemoteAddress, in.MoveOriginatorAETitle} {
		b = appendString(b, s)
	}
	b = binary.BigEndian.AppendUint16(b, in.MoveOriginatorMessageID)
	b = appendString(b, in.AssociationID)
	b = binary.AppendUvarint(b, uint64(len(in.jobs)))
	for _, j := range in.jobs {
		b = appendString(b, j.destination)
		b = append(b, j.class, j.encodedState())
	}
	b = binary.AppendUvarint(b, uint64(len(in.Metadata.Elements)))
	for _, e := range in.Metadata.Elements {
		b = binary.BigEndian.AppendUint32(b, uint32(e.Tag))
		b = appendString(b, e.VR)
		b = binary.AppendUvarint(b, uint64(len(e.Value)))
		b = append(b, e.Value...)
	}
	return b
}

// decodeMeta is the inverse of appendMeta; it copies what it keeps.
func decodeMeta(b []byte, in *Instance) error {
	d := decoder{b: b}
	version := d.byte()
	if version != metaVersion && version != metaVersionNoCheck {
		return errBadRecord
	}
	in.ID = InstanceID(d.uint64())
	in.Received = time.UnixMilli(int64(d.uint64()))
	in.Flags = Flags(d.uint32())
	in.Priority = Priority(d.byte())
	in.restores = InstanceID(d.uint64())
	if version != metaVersionNoCheck {
		in.checksum = checksum{value: d.uint32(), known: true}
	}
	for _, uid := range [...]*dicom.UID{&in.StudyInstanceUID, &in.SeriesInstanceUID, &in.SOPInstanceUID, &in.SOPClassUID, &in.TransferSyntaxUID} {
		*uid = dicom.UID(d.str())
	}
	for _, s := range [...]*string{&in.CallingAETitle, &in.CalledAETitle, &in.RemoteAddress, &in.MoveOriginatorAETitle} {
		*s = d.str()
	}
	if v := d.take(2); v != nil {
		in.MoveOriginatorMessageID = binary.BigEndian.Uint16(v)
	}
	in.AssociationID = d.str()
	decodeJobs(&d, in)
	decodeElements(&d, in)
	if len(d.b) != 0 {
		d.bad = true
	}
	return d.err()
}

func decodeJobs(d *decoder, in *Instance) {
	n := d.count(3)
	if n > MaxJobs {
		d.bad = true
		return
	}
	in.jobs = make([]jobEntry, 0, n)
	for range n {
		j := jobEntry{destination: d.str(), class: d.byte()}
		state := d.byte()
		j.delivered, j.committed = state == jobCarried || state == jobCarriedCommitted, state == jobCarriedCommitted
		if d.bad || checkDestination(j.destination) != nil {
			d.bad = true
			return
		}
		in.jobs = append(in.jobs, j)
	}
}

// decodeElements copies all values in one piece, so that an instance costs two allocations for its elements.
func decodeElements(d *decoder, in *Instance) {
	n := d.count(6)
	if d.bad || n == 0 {
		return
	}
	values := append([]byte(nil), d.b...)
	c := decoder{b: values}
	in.Metadata.Elements = make([]dicom.Element, 0, n)
	for range n {
		e := dicom.Element{Tag: dicom.Tag(c.uint32()), VR: vrName(c.bytes()), Value: c.bytes()}
		in.Metadata.Elements = append(in.Metadata.Elements, e)
	}
	d.b, d.bad = c.b, c.bad
}

// vrName spares an allocation for each of the usual VRs.
func vrName(b []byte) string {
	switch string(b) {
	case "UI":
		return "UI"
	case "LO":
		return "LO"
	case "CS":
		return "CS"
	case "DA":
		return "DA"
	case "TM":
		return "TM"
	case "PN":
		return "PN"
	case "SH":
		return "SH"
	case "IS":
		return "IS"
	case "DS":
		return "DS"
	case "US":
		return "US"
	case "AS":
		return "AS"
	}
	return string(b)
}

// appendEntry encodes an index entry:
//
//	version1 state1 evicted8(ms) size8 header8 digest32
//	segment4 generation8 offset8 length8 payload8
//	meta
func appendEntry(b []byte, in *Instance) []byte {
	b = append(b, entryVersion, byte(in.State))
	b = binary.BigEndian.AppendUint64(b, uint64(unixMilli(in.Evicted)))
	b = binary.BigEndian.AppendUint64(b, uint64(in.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(in.HeaderLength))
	b = append(b, in.Digest[:]...)
	l := &in.location
	b = binary.BigEndian.AppendUint32(b, uint32(l.Segment))
	b = binary.BigEndian.AppendUint64(b, l.Generation)
	b = binary.BigEndian.AppendUint64(b, uint64(l.Offset))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Length))
	b = binary.BigEndian.AppendUint64(b, uint64(l.PayloadLength))
	return appendMeta(b, in)
}

// decodeEntry is the inverse of appendEntry.
func decodeEntry(b []byte, in *Instance) error {
	d := decoder{b: b}
	if d.byte() != entryVersion {
		return errBadRecord
	}
	in.State = InstanceState(d.byte())
	in.Evicted = timeOfMilli(int64(d.uint64()))
	in.Size = int64(d.uint64())
	in.HeaderLength = int64(d.uint64())
	copy(in.Digest[:], d.take(32))
	in.location = segment.Location{
		Segment:       segment.ID(d.uint32()),
		Generation:    d.uint64(),
		Offset:        int64(d.uint64()),
		Length:        int64(d.uint64()),
		PayloadLength: int64(d.uint64()),
		HeaderLength:  in.HeaderLength,
	}
	if d.bad {
		return errBadRecord
	}
	return decodeMeta(d.b, in)
}

// instanceOfRecord builds the instance that a segment's record describes.
func instanceOfRecord(r segment.Record) (*Instance, error) {
	in := new(Instance)
	if err := decodeMeta(r.Meta, in); err != nil {
		return nil, err
	}
	in.place(r.Location, r.Digest)
	return in, nil
}

// place notes where the bytes are.
func (in *Instance) place(l segment.Location, digest [32]byte) {
	in.location = l
	in.Digest = digest
	in.HeaderLength = l.HeaderLength
	in.Size = l.PayloadLength - l.HeaderLength
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// unixMilli and timeOfMilli keep the zero time zero.
func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOfMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
