// Package pdu is the DICOM Upper Layer on the wire: the seven protocol data
// units of PS3.8 section 9.3 with every item of PS3.8 annex D and PS3.7 annex
// D.3.3, and P-DATA-TF as a stream.
//
// The package is pure. It turns bytes into values and back; it knows no
// sockets, deadlines, logs or goroutines, and every limit is an argument. Who
// may associate, which contexts are accepted and what an unexpected PDU means
// is decided above it.
//
// # Reading
//
//	r := pdu.NewReader(conn, 0, pdu.Limits{MaxPDataLength: offered})
//	for {
//		h, err := r.Next()
//		...
//		if h.Type != pdu.TypePData {
//			p, err := r.Decode() // *AssociateRQ, *ReleaseRQ, *Abort, ...
//			continue
//		}
//		for {
//			f, err := r.Fragment() // io.EOF: the PDU is used up
//			...
//			d := pdu.NewDataReader(r, f, r.Next)
//			n, err := d.WriteTo(sink) // one command set or data set
//		}
//	}
//
// A [Reader] never needs a PDU to fit its buffer. Payload goes from the buffer
// to the sink without another copy, and straight into the caller's memory where
// that is large; nothing is allocated per PDU or fragment. A [DataReader] joins
// the fragments of one message part over any number of PDUs, so that mixed and
// oddly split PDUs are of no concern above.
//
// # Writing
//
// A [Writer] collects a burst (a command and its data set, several responses)
// in one buffer and hands it on in as few writes as the buffer allows, because
// a header written apart from its body costs a delayed acknowledgement (40 ms)
// with many peers.
//
// # What is refused and what is not
//
// Everything read is hostile until parsed. Lengths are checked against what
// encloses them before anything is allocated, counts are bounded, and whatever
// is wrong is a [*FormatError] that names the field and the byte as the
// standard's tables do. Deviations that peers are known for, or that are safely
// understood, pass: padded AE titles and UIDs, UIDs over 64 characters, missing
// user information, bytes behind the last field of a sub-item, unknown items,
// empty fragments.
package pdu
