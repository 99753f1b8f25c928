package images

import (
	"encoding/hex"
	"errors"
	"time"
)

// Image is a record of a store.
type Image struct {
	// ID names the image for ever: 22 characters that nobody can guess, letters, digits, - and _.
	ID       string
	Sequence uint64 // of its last change
	Identifiers
	Info
	Digest   [32]byte // SHA-256 of the file
	Size     int64    // bytes
	Received time.Time
	Changed  time.Time
	// Withdrawn says that the image is not to be shown any more. Its bytes are gone unless another image has the same.
	Withdrawn bool
}

// Name is the image's file name for those who fetch it.
func (i *Image) Name() string { return i.ID + "." + string(i.Kind) }

// DigestText is the digest in hexadecimal digits.
func (i *Image) DigestText() string { return hex.EncodeToString(i.Digest[:]) }

// Errors of a store.
var (
	ErrNotFound  = errors.New("there is no such image")
	ErrWithdrawn = errors.New("the image was withdrawn")
	ErrDamaged   = errors.New("the image is damaged on disk; it has to be added again")
	// ErrTooLarge says that a file has more bytes than are allowed.
	ErrTooLarge = errors.New("the file is too large")
	// ErrFull says that there is no room for more; it may pass.
	ErrFull = errors.New("there is no room on the disk; try again later")
	// ErrDigest says that a file is not the one that was announced.
	ErrDigest = errors.New("the file has another SHA-256 than was announced")
)
