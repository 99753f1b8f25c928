package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"dcmgate/spool"
)

// A link's token is the base64 (RFC 4648 5, without padding) of
//
//	 0  1  kind: what is served
//	 1  4  the client, a hash of its access key
//	 5  6  5 bits: the study's turn, see revocation; 43 bits: when it was made, milliseconds since 1970; in rows of a
//	       database: see LinkState.generation
//	11  8  ID of an instance: the one to serve, or one of the study to serve
//	19 16  HMAC-SHA-256 of the bytes before, cut to 128 bits
//
// The key of the code is made of the gateway's secret and of the client's, so that a client's links end when its key is
// changed or taken away.
const (
	tokenSigned = 19
	tokenMAC    = 16
	tokenLength = tokenSigned + tokenMAC

	madeBits = 43 // until the year 2248
	maxTurn  = 1<<(48-madeBits) - 1
)

// kind is what a link leads to.
type kind byte

const (
	kindDICOM kind = 1
	kindZIP   kind = 2
	kindRow   kind = 3 // an instance, in a row of a database
)

// suffixes end the paths of links.
var suffixes = map[kind]string{kindDICOM: ".dcm", kindZIP: ".zip", kindRow: ".dcm"}

// linkPath is where links begin.
const linkPath = "/Viewer/dicom/"

// clockSkew is how far ahead a link may have been made: the clock was set back between two starts.
const clockSkew = 5 * time.Minute

// link is a permission to download.
type link struct {
	kind   kind
	client clientID
	turn   uint8 // of its study when it was made; 0 in rows
	made   time.Time
	id     spool.InstanceID
}

// clientID stands for an access key in a token.
type clientID [4]byte

func clientIDOf(accessKey string) (id clientID) {
	sum := sha256.Sum256([]byte(accessKey))
	copy(id[:], sum[:])
	return id
}

// Why a link does not work.
var (
	errNoLink  = errors.New("no such address")
	errExpired = errors.New("the address has expired; ask for the list again")
	errRevoked = errors.New("the address was revoked; ask for the list again")
)

func (l link) signed() []byte {
	b := make([]byte, 0, tokenLength)
	b = append(b, byte(l.kind))
	b = append(b, l.client[:]...)
	ms := binary.BigEndian.AppendUint64(nil, uint64(l.turn)<<madeBits|uint64(l.made.UnixMilli())&(1<<madeBits-1))
	b = append(b, ms[2:]...)
	return binary.BigEndian.AppendUint64(b, uint64(l.id))
}

// path is the link's path under a client's key.
func (l link) path(key []byte) string {
	b := l.signed()
	return linkPath + base64.RawURLEncoding.EncodeToString(append(b, codeOf(key, b)...)) + suffixes[l.kind]
}

func codeOf(key, signed []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(signed)
	return h.Sum(nil)[:tokenMAC]
}

// parseLink reads a link's file name. keyOf gives a client's key, nil if there is no such client. The error is errNoLink.
func parseLink(name string, keyOf func(clientID) []byte) (link, error) {
	token, suffix := name, ""
	if dot := strings.IndexByte(name, '.'); dot >= 0 {
		token, suffix = name[:dot], name[dot:]
	}
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenLength) {
		return link{}, errNoLink
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != tokenLength {
		return link{}, errNoLink
	}
	l := link{kind: kind(b[0]), client: clientID(b[1:5])}
	made := binary.BigEndian.Uint64(append([]byte{0, 0}, b[5:11]...))
	l.turn, l.made = uint8(made>>madeBits), time.UnixMilli(int64(made&(1<<madeBits-1)))
	l.id = spool.InstanceID(binary.BigEndian.Uint64(b[11:tokenSigned]))
	key := keyOf(l.client)
	if key == nil || !hmac.Equal(codeOf(key, b[:tokenSigned]), b[tokenSigned:]) {
		return link{}, errNoLink
	}
	if want, ok := suffixes[l.kind]; !ok || suffix != want {
		return link{}, errNoLink
	}
	return l, nil
}

// valid tells whether a link is within its time. Those in rows have no end of their own: nobody asks for them again.
func (l link) valid(now time.Time, lifetime time.Duration) error {
	if l.kind == kindRow {
		return nil
	}
	if age := now.Sub(l.made); age > lifetime || age < -clockSkew {
		return errExpired
	}
	return nil
}
