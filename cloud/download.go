package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ErrChanged says that a download cannot be resumed: the file has changed since, or nothing tells that it has not. It has to
// be begun again.
var ErrChanged = errors.New("the file changed during the download")

// Download is a file being downloaded. Read goes on where a connection has broken off, by a request for the range that is
// missing, as long as an entity tag tells that the file is still the same. For one goroutine.
type Download struct {
	c       *Client
	ctx     context.Context
	address string

	body     io.ReadCloser
	cancel   context.CancelFunc
	watch    *time.Timer // ends a request that brings nothing
	etag     string      // strong, "" if there is none
	size     int64       // -1: not known
	at       int64
	failures int
	sum      []byte // SHA-256 of the file, as the headers say
}

// Open begins to download from an address of a list.
func (c *Client) Open(ctx context.Context, address string) (*Download, error) {
	u, err := c.resolve(address)
	if err != nil {
		return nil, err
	}
	d := &Download{c: c, ctx: ctx, address: u.String(), size: -1}
	for {
		err := d.begin()
		if err == nil {
			return d, nil
		}
		if err := d.failed(err); err != nil {
			return nil, err
		}
	}
}

// Size is the file's length in bytes, -1 if it is not known.
func (d *Download) Size() int64 { return d.size }

// Digest is the SHA-256 of the file that the platform names in a header Repr-Digest (RFC 9530) or Digest (RFC 3230); nil if
// it names none.
func (d *Download) Digest() []byte { return d.sum }

// TagDigest is the entity tag where it has the form of a SHA-256 in hexadecimal digits, as that of a dcmgate has; else nil.
func (d *Download) TagDigest() []byte {
	sum, err := hex.DecodeString(strings.Trim(d.etag, `"`))
	if err != nil || len(sum) != sha256.Size {
		return nil
	}
	return sum
}

// Close ends the download.
func (d *Download) Close() error {
	if d.body != nil {
		d.watch.Stop()
		d.cancel()
		d.body.Close()
		d.body = nil
	}
	return nil
}

// Read implements io.Reader. io.EOF comes only once the whole file has.
func (d *Download) Read(p []byte) (int, error) {
	for {
		if d.size >= 0 && d.at >= d.size {
			return 0, io.EOF
		}
		if d.body == nil {
			if err := d.resume(); err != nil {
				if err := d.failed(err); err != nil {
					return 0, err
				}
				continue
			}
		}
		n, err := d.body.Read(p)
		d.watch.Reset(d.c.o.Timeout)
		if n > 0 {
			d.at += int64(n)
			d.failures = 0
			if d.size >= 0 && d.at > d.size {
				return 0, fmt.Errorf("%w: it is longer than it was to be", ErrChanged)
			}
			return n, nil // an error comes again
		}
		if err == io.EOF && d.size < 0 {
			d.size = d.at
			return 0, io.EOF
		}
		if err == nil {
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err := d.failed(err); err != nil {
			return 0, err
		}
	}
}

// failed waits before the next attempt; it returns the error if there is to be none.
func (d *Download) failed(err error) error {
	d.Close()
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	d.failures++
	if !passes(err) || d.failures >= d.c.o.Attempts {
		return err
	}
	return pause(d.ctx, d.failures, err)
}

// request asks for the file, or for what of it is missing.
func (d *Download) request(headers http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancel(d.ctx)
	d.cancel = cancel
	d.watch = time.AfterFunc(d.c.o.Timeout, cancel)
	resp, err := d.c.get(ctx, d.address, headers)
	if err != nil {
		d.watch.Stop()
		cancel()
		return nil, err
	}
	d.body = resp.Body
	return resp, nil
}

// begin opens the file at its beginning.
func (d *Download) begin() error {
	resp, err := d.request(nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return statusError(resp)
	}
	if resp.ContentLength < 0 && resp.ProtoMajor < 2 && len(resp.TransferEncoding) == 0 {
		return fmt.Errorf("%w: a file comes without its length", errAnswer)
	}
	d.size, d.etag = resp.ContentLength, strongTag(resp)
	d.sum = digestOf(resp)
	return nil
}

// resume opens the file where it broke off.
func (d *Download) resume() error {
	if d.etag == "" {
		return fmt.Errorf("%w, as far as can be told: it has no entity tag", ErrChanged)
	}
	resp, err := d.request(http.Header{"Range": {fmt.Sprintf("bytes=%d-", d.at)}, "If-Range": {d.etag}})
	if err != nil {
		return err
	}
	switch {
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent:
		return statusError(resp)
	case strongTag(resp) != d.etag:
		return ErrChanged
	case resp.StatusCode == http.StatusOK: // it does not serve ranges
		_, err := io.CopyN(io.Discard, d.body, d.at)
		return err
	}
	if want := fmt.Sprintf("bytes %d-%d/%d", d.at, d.size-1, d.size); d.size >= 0 && resp.Header.Get("Content-Range") != want {
		return fmt.Errorf("%w: it sends another range than was asked for", errAnswer)
	}
	return nil
}

// strongTag is the answer's entity tag if it is one that tells bytes apart (RFC 9110 8.8.3).
func strongTag(resp *http.Response) string {
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) && len(tag) <= 256 {
		return tag
	}
	return ""
}

// digestOf finds the SHA-256 in the headers Repr-Digest (sha-256=:BASE64:) and Digest (SHA-256=BASE64).
func digestOf(resp *http.Response) []byte {
	for _, header := range [...]string{"Repr-Digest", "Digest"} {
		for entry := range strings.SplitSeq(resp.Header.Get(header), ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(entry), "=")
			if !strings.EqualFold(name, "sha-256") {
				continue
			}
			if sum, err := base64.StdEncoding.DecodeString(strings.Trim(value, ":")); err == nil && len(sum) == sha256.Size {
				return sum
			}
		}
	}
	return nil
}
