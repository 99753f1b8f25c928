package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"dcmgate/dicom"
)

// Bounds of what is taken from a platform.
const (
	maxAnswer    = 64 << 20 // bytes of a list: some 90,000 images
	maxImages    = 200_000
	maxRedirects = 5
	maxWait      = 30 * time.Second // between two attempts, whatever the platform asks for
	firstWait    = 200 * time.Millisecond
)

// ClientOptions say how a platform's 203 is asked.
type ClientOptions struct {
	BaseURL      string // to which RetrievePath is added
	HospitalCode string
	Rule         Rule
	Key          Key
	TimeStamp    bool     // send, and sign, timeStamp in seconds
	Hosts        []string // HOST or HOST:PORT, beside that of BaseURL, that images may be downloaded from
	Timeout      time.Duration
	Attempts     int               // in succession without a byte
	Transport    http.RoundTripper // nil: the default, without its transparent compression
}

// Client asks a platform for the images of a study (interface 203), and downloads them.
type Client struct {
	o      ClientOptions
	base   *url.URL
	signer *Signer
	http   *http.Client
}

// NewClient checks the options and makes a Client.
func NewClient(o ClientOptions) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("%q is not the address of a platform, such as https://images.example.org", o.BaseURL)
	}
	signer, err := NewSigner(o.Rule, o.Key)
	if err != nil {
		return nil, err
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true // a file's length and its ranges are those of its bytes
		o.Transport = t
	}
	c := &Client{o: o, base: base, signer: signer}
	c.http = &http.Client{Transport: o.Transport, CheckRedirect: c.redirect}
	return c, nil
}

// RefusedError is an answer of the platform other than success.
type RefusedError struct {
	Code    Code
	Message string // of the platform, bounded
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the platform answered %s", printable(string(e.Code)))
	if e.Message != "" {
		text += " (" + e.Message + ")"
	}
	if e.Code.BadSignature() {
		text += "; check access key, access secret, signature rule and clock"
	}
	return text
}

// StatusError is an HTTP status other than success.
type StatusError struct {
	Status int
	retry  time.Duration // what Retry-After asks for
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.Status, http.StatusText(e.Status))
}

// passes tells whether asking again may help.
func passes(err error) bool {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.Status == http.StatusRequestTimeout || s.Status == http.StatusTooManyRequests || s.Status >= 500 && s.Status != http.StatusNotImplemented
	}
	return !errors.As(err, new(*RefusedError)) && !errors.As(err, new(*addressError)) && !errors.Is(err, ErrChanged) && !errors.Is(err, errAnswer)
}

var errAnswer = errors.New("the platform's answer is not as the standard has it")

// Images lists the images of a study. None is no error.
func (c *Client) Images(ctx context.Context, study dicom.UID) ([]Image, error) {
	for attempt := 1; ; attempt++ {
		images, err := c.images(ctx, study)
		if err == nil || ctx.Err() != nil || !passes(err) || attempt >= c.o.Attempts {
			return images, err
		}
		if err := pause(ctx, attempt, err); err != nil {
			return nil, err
		}
	}
}

func (c *Client) images(ctx context.Context, study dicom.UID) ([]Image, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	resp, err := c.get(ctx, c.request(study), http.Header{AccessKeyHeader: {c.o.Key.AccessKey}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	return parseAnswer(body, study)
}

// request is the address of a signed request.
func (c *Client) request(study dicom.UID) string {
	parameters := []Parameter{{"HospitalCode", c.o.HospitalCode}, {"StudyInstanceUID", string(study)}}
	if c.o.TimeStamp {
		parameters = append(parameters, Parameter{"timeStamp", strconv.FormatInt(time.Now().Unix(), 10)})
	}
	q := url.Values{}
	for _, p := range parameters {
		q.Set(p.Name, p.Value)
	}
	if s := c.signer.Sign(parameters); s != "" {
		q.Set("Signature", s)
	}
	return strings.TrimSuffix(c.o.BaseURL, "/") + RetrievePath + "?" + q.Encode()
}

// parseAnswer reads a list. Images of another study are an error: nobody asked for them.
func parseAnswer(body []byte, study dicom.UID) ([]Image, error) {
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", errAnswer, maxAnswer)
	}
	var a struct {
		Code    Code
		Message json.RawMessage
		Result  json.RawMessage
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("%w: it is no JSON object", errAnswer)
	}
	if !a.Code.OK() {
		return nil, &RefusedError{Code: a.Code, Message: printable(textOf(a.Message))}
	}
	var images []Image
	if len(a.Result) > 0 && a.Result[0] == '[' {
		if err := json.Unmarshal(a.Result, &images); err != nil {
			return nil, fmt.Errorf("%w: its result is no list of images", errAnswer)
		}
	}
	if len(images) > maxImages {
		return nil, fmt.Errorf("%w: it lists more than %d images", errAnswer, maxImages)
	}
	for i := range images {
		if other := images[i].StudyInstanceUID; other != "" && other != string(study) {
			return nil, fmt.Errorf("%w: it lists images of another study", errAnswer)
		}
	}
	return images, nil
}

// printable bounds what a platform says for a log line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return strings.TrimSpace(s)
}

// get sends a GET request.
func (c *Client) get(ctx context.Context, address string, headers http.Header) (*http.Response, error) {
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, &addressError{"is no URL"}
	}
	for name, values := range headers {
		rq.Header[http.CanonicalHeaderKey(name)] = values
	}
	resp, err := c.http.Do(rq)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the URL holds what nobody else may see
	}
	return resp, err
}

func statusError(resp *http.Response) error {
	e := &StatusError{Status: resp.StatusCode}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.retry = time.Duration(min(s, 3600)) * time.Second
	}
	return e
}

// addressError says why nothing is downloaded from an address.
type addressError struct{ reason string }

func (e *addressError) Error() string { return "the address for download " + e.reason }

// resolve makes an absolute address of one in a list, if it is to be trusted: a platform, or whoever speaks for it, must not
// send the gateway to hosts that nobody has named.
func (c *Client) resolve(address string) (*url.URL, error) {
	if len(address) > 8*MaxDownloadURL {
		return nil, &addressError{"is too long"}
	}
	u, err := c.base.Parse(address)
	if err != nil {
		return nil, &addressError{"is no URL"}
	}
	return u, c.trusted(u)
}

func (c *Client) trusted(u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.User != nil:
		return &addressError{"is not of the web"}
	case u.Scheme == "http" && c.base.Scheme == "https":
		return &addressError{"is not encrypted, as that of the platform is"}
	case u.Host == c.base.Host || slices.Contains(c.o.Hosts, u.Host) || slices.Contains(c.o.Hosts, u.Hostname()):
		return nil
	}
	return &addressError{"is of host " + printable(u.Host) + ", which is not named in hosts"}
}

func (c *Client) redirect(rq *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return &addressError{"leads from one place to the next"}
	}
	return c.trusted(rq.URL)
}

// pause waits before another attempt: as long as the platform asks, else twice as long as before, with jitter.
func pause(ctx context.Context, attempt int, err error) error {
	wait := min(firstWait<<min(attempt-1, 10), maxWait)
	wait = wait/2 + rand.N(wait/2+1)
	if s, ok := errors.AsType[*StatusError](err); ok {
		wait = min(max(wait, s.retry), maxWait)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
