package pdu

// ReleaseRQ is the A-RELEASE-RQ PDU (PS3.8 9.3.6). It carries nothing.
type ReleaseRQ struct{}

// Type returns TypeReleaseRQ.
func (*ReleaseRQ) Type() Type { return TypeReleaseRQ }

// Append implements [PDU]; it cannot fail.
func (*ReleaseRQ) Append(dst []byte) ([]byte, error) {
	return appendFixed(dst, TypeReleaseRQ, 0, 0, 0, 0), nil
}

// ReleaseRP is the A-RELEASE-RP PDU (PS3.8 9.3.7). It carries nothing.
type ReleaseRP struct{}

// Type returns TypeReleaseRP.
func (*ReleaseRP) Type() Type { return TypeReleaseRP }

// Append implements [PDU]; it cannot fail.
func (*ReleaseRP) Append(dst []byte) ([]byte, error) {
	return appendFixed(dst, TypeReleaseRP, 0, 0, 0, 0), nil
}
