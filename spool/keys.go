package spool

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"dcmgate/dicom"
	"dcmgate/spool/segment"
)

// The keys of the index. Each begins with one byte that names its kind; numbers are big endian, so that keys sort by
// them. study8, series8 and patient8 are the first 8 bytes of a SHA-256: short, of one length, and nothing a sender can
// choose. Where two studies could share one, records hold the full UID to compare.
//
//	i iid8                        entry: what is known of an instance (record.go)
//	u study8 series8 sop          versions: every version under these UIDs with digest and state (versions.go)
//	g segment4 offset8            iid8: which instance a record belongs to
//	s study8                      study: UID, counts, newest instance, text keys (tree.go)
//	e study8 series8              series: UID, count, newest instance
//	o sop8 study8 series8         empty: where a SOP Instance UID is known, that of a u key (byuid.go)
//	f series8 study8              empty: studies by Series Instance UID (byuid.go)
//	x study8 series8 iid8         empty: stored instances of a series in order of arrival
//	p patient8 study8             empty: studies by Patient ID (0010,0020)
//	n name 0 study8               empty: studies by Patient's Name (0010,0010), folded, at most 64 bytes
//	a accession 0 study8          empty: studies by Accession Number (0008,0050), folded
//	d date 0 study8               empty: studies by Study Date (0008,0020), YYYYMMDD
//	y modality 0 date 0 study8    empty: studies by Modality (0008,0060), folded, and Study Date (modality.go)
//	b patient ID 0 study8         empty: studies by Patient ID in its own order, folded, for what begins with it (arrivals.go)
//	r first8(ms) study8           empty: studies by when the first of their instances was received (arrivals.go)
//	j iid8 destination            job: state, attempts, last error (jobrecord.go)
//	q destination 0 class1 iid8   empty: pending jobs that may be claimed at once
//	w destination 0 due8 class1 iid8  empty: pending jobs that wait until due (Unix milliseconds)
//	v peer 0 transaction UID      ms8 and the request: a peer's enquiry about commitment (enquiry.go)
//	k destination 0 iid8          empty: parked and refused jobs
//	h destination 0 due8 iid8     empty: jobs that await commitment, by when the destination is to be asked (Unix milliseconds)
//	z transaction UID             a request for commitment (transaction.go)
//	c seq8                        kind1 iid8 ms8: the change sequence
//	t evicted8(ms) iid8           empty: evicted instances by time, for bounding the custody records
//	l segment4                    checkpoint and use of a segment (ledger.go)
//	m name                        counters of the ledger (ledger.go)
const (
	kindEntry       = 'i'
	kindVersions    = 'u'
	kindPlace       = 'g'
	kindStudy       = 's'
	kindSeries      = 'e'
	kindSOP         = 'o'
	kindSeriesStudy = 'f'
	kindTree        = 'x'
	kindPatient     = 'p'
	kindName        = 'n'
	kindAccession   = 'a'
	kindDate        = 'd'
	kindModality    = 'y'
	kindPatientID   = 'b'
	kindArrival     = 'r'
	kindJob         = 'j'
	kindReady       = 'q'
	kindWaiting     = 'w'
	kindParked      = 'k'
	kindEnquiry     = 'v'
	kindAwaiting    = 'h'
	kindAsked       = 'z'
	kindChange      = 'c'
	kindTombstone   = 't'
	kindSegment     = 'l'
	kindMeta        = 'm'
)

// hash8 is the fixed-length stand-in for a UID or patient ID in keys.
type hash8 [8]byte

func hashOf(s string) hash8 {
	sum := sha256.Sum256([]byte(s))
	return hash8(sum[:8])
}

// identity is the hashed form of the UIDs that deduplication goes by.
type identity struct {
	study, series hash8
	sop           dicom.UID
}

func identityOf(study, series, sop dicom.UID) identity {
	return identity{hashOf(string(study)), hashOf(string(series)), sop}
}

func appendID(dst []byte, id InstanceID) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(id))
}

func idAt(b []byte) InstanceID { return InstanceID(binary.BigEndian.Uint64(b)) }

func entryKey(id InstanceID) []byte { return appendID(append(make([]byte, 0, 9), kindEntry), id) }

func tombstoneKey(in *Instance) []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, 17), kindTombstone), uint64(unixMilli(in.Evicted)))
	return appendID(b, in.ID)
}

func versionsKey(k identity) []byte {
	b := make([]byte, 0, 17+len(k.sop))
	b = append(b, kindVersions)
	b = append(b, k.study[:]...)
	b = append(b, k.series[:]...)
	return append(b, k.sop...)
}

// identityOfKey takes a u key apart.
func identityOfKey(key []byte) (k identity, ok bool) {
	if len(key) < 17 {
		return k, false
	}
	return identity{study: hash8(key[1:]), series: hash8(key[9:]), sop: dicom.UID(key[17:])}, true
}

func placeKey(segmentID segment.ID, offset int64) []byte {
	b := append(make([]byte, 0, 13), kindPlace)
	b = binary.BigEndian.AppendUint32(b, uint32(segmentID))
	return binary.BigEndian.AppendUint64(b, uint64(offset))
}

func studyKey(study hash8) []byte { return append([]byte{kindStudy}, study[:]...) }

func seriesKey(study, series hash8) []byte {
	return append(append(append(make([]byte, 0, 17), kindSeries), study[:]...), series[:]...)
}

func treePrefix(study hash8) []byte { return append([]byte{kindTree}, study[:]...) }

func treeKey(study, series hash8, id InstanceID) []byte {
	b := append(make([]byte, 0, 25), kindTree)
	b = append(append(b, study[:]...), series[:]...)
	return appendID(b, id)
}

func jobPrefix(id InstanceID) []byte { return appendID(append(make([]byte, 0, 9), kindJob), id) }

func jobKey(id InstanceID, destination string) []byte {
	b := append(make([]byte, 0, 9+len(destination)), kindJob)
	return append(appendID(b, id), destination...)
}

// queuePrefix begins the keys of kind q, w, k or h of one destination. Names hold no NUL, so none is the prefix of another.
func queuePrefix(kind byte, destination string) []byte {
	b := append(make([]byte, 0, 19+len(destination)), kind)
	return append(append(b, destination...), 0)
}

func readyKey(destination string, p position) []byte {
	return appendID(append(queuePrefix(kindReady, destination), p.class), p.id)
}

func waitingKey(destination string, p position) []byte {
	b := binary.BigEndian.AppendUint64(queuePrefix(kindWaiting, destination), uint64(p.due))
	return appendID(append(b, p.class), p.id)
}

func parkedKey(destination string, id InstanceID) []byte {
	return appendID(queuePrefix(kindParked, destination), id)
}

func awaitingKey(destination string, due int64, id InstanceID) []byte {
	return appendID(binary.BigEndian.AppendUint64(queuePrefix(kindAwaiting, destination), uint64(due)), id)
}

func transactionKey(uid dicom.UID) []byte { return append([]byte{kindAsked}, uid...) }

func changeKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), kindChange), seq)
}

func segmentKey(id segment.ID) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, 5), kindSegment), uint32(id))
}

func metaKey(name string) []byte { return append([]byte{kindMeta}, name...) }

// maxTextKey bounds the text part of n, a and d keys in bytes.
const maxTextKey = 64

// textKey makes an n, a or d key; text must come from foldText.
func textKey(kind byte, text string, study hash8) []byte {
	b := append(make([]byte, 0, 10+len(text)), kind)
	b = append(append(b, text...), 0)
	return append(b, study[:]...)
}

func patientKey(patient, study hash8) []byte {
	return append(append(append(make([]byte, 0, 17), kindPatient), patient[:]...), study[:]...)
}

// foldText brings text into the form in which it is looked up: upper case, single spaces, no control characters, bounded.
func foldText(s string) string {
	s = strings.Join(strings.Fields(strings.ToUpper(strings.ToValidUTF8(s, "\uFFFD"))), " ")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return -1
		}
		return r
	}, s)
	return clip(s, maxTextKey)
}

// clip shortens s to at most n bytes without cutting a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// queueEntry takes a q, w, k or h key apart.
func queueEntry(key []byte) (destination string, p position, ok bool) {
	if len(key) < 2 {
		return "", position{}, false
	}
	end := strings.IndexByte(string(key[1:]), 0)
	if end < 0 {
		return "", position{}, false
	}
	destination, rest := string(key[1:1+end]), key[2+end:]
	switch {
	case key[0] == kindReady && len(rest) == 9:
		return destination, position{class: rest[0], id: idAt(rest[1:])}, true
	case key[0] == kindWaiting && len(rest) == 17:
		due := int64(binary.BigEndian.Uint64(rest))
		return destination, position{due: due, class: rest[8], id: idAt(rest[9:])}, true
	case key[0] == kindParked && len(rest) == 8:
		return destination, position{id: idAt(rest)}, true
	case key[0] == kindAwaiting && len(rest) == 16:
		return destination, position{due: int64(binary.BigEndian.Uint64(rest)), id: idAt(rest[8:])}, true
	}
	return "", position{}, false
}
