package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/cloud"
	"dcmgate/images"
	"dcmgate/spool"
	"dcmgate/views"
	"dcmgate/web"
)

// imagesDir is the folder of images that are not DICOM in the data directory.
const imagesDir = "images"

// maxFolderAddress is what FilePath, of 64 characters (4.2.5), leaves beside the name of an image, and maxImageAddress what
// it leaves beside its path here, too.
const (
	maxFolderAddress = 64 - len("/") - 22 - len(".jpg")
	maxImageAddress  = 64 - len(web.ImagePath) - 22 - len(".jpg")
)

// Images configures what is kept of images that are not DICOM.
type Images struct {
	Address string // what FilePath begins with, without a slash at the end; "": there are none
	Export  string // folder that files are copied to, which Address is of; "": they are served at the public listener
	MaxSize int64  // bytes of a file
	Upload  bool   // by clients of interface 203
}

func (v *validator) images(raw *rawImages, cfg *Config) Images {
	i := Images{Address: parsed(v, raw.Address, parseFolderURL), Export: v.text(raw.Export, 900), MaxSize: v.size(raw.MaxSize, 1<<10, 4<<30), Upload: v.truth(raw.Upload)}
	switch {
	case i.Address == "" && i.Export != "":
		v.fail(raw.Export.at, "images.address is needed, too: the address of the folder, such as ftp://10.0.0.9/scope")
	case i.Address == "":
	case i.Upload && cfg.Retrieve.Signature == cloud.RuleNone:
		v.fail(raw.Upload.at, "without signatures anybody could add images; set retrieve.signature to md5 or aes")
	case i.Export != "":
		v.exportedImages(raw, cfg, i)
	case strings.HasPrefix(i.Address, "ftp:"):
		v.fail(raw.Address.at, "this gateway is no FTP server; set images.export to a folder that one shares")
	case len(i.Address) > maxImageAddress:
		v.fail(raw.Address.at, "has %d characters; the standard's 64 of FilePath leave room for %d", len(i.Address), maxImageAddress)
	case !cfg.servesPublic():
		v.fail(raw.Address.at, "images are served where interface 203 is: set public.listen and retrieve.clients")
	}
	return i
}

// exportedImages checks what is copied to a folder.
func (v *validator) exportedImages(raw *rawImages, cfg *Config, i Images) {
	switch {
	case !filepath.IsAbs(i.Export):
		v.fail(raw.Export.at, "%q is not an absolute path", i.Export)
	case filepath.Clean(i.Export) == filepath.Clean(cfg.Rows.Export):
		v.fail(raw.Export.at, "is rows.files.export, too; each needs a folder of its own")
	case len(i.Address) > maxFolderAddress:
		v.fail(raw.Address.at, "has %d characters; the standard's 64 of FilePath leave room for %d", len(i.Address), maxFolderAddress)
	case i.Upload && !cfg.servesPublic():
		v.fail(raw.Upload.at, "images are uploaded where interface 203 is: set public.listen and retrieve.clients")
	}
}

// keptImages are the store of images, which is opened when images are first configured and stays open from then on: who is
// at it while they are taken from the configuration may end.
type keptImages struct {
	dir string // data directory
	o   images.Options

	mu    sync.Mutex
	store *images.Store // nil before
}

func newKeptImages(dataDir string, s *spool.Spool, log *slog.Logger, registry prometheus.Registerer) *keptImages {
	return &keptImages{dir: filepath.Join(dataDir, imagesDir), o: images.Options{
		Room: func() error {
			if s.Pressure() >= spool.LevelReject {
				return images.ErrFull
			}
			return nil
		},
		Logger: log, Registerer: registry,
	}}
}

// of is the store as configured; nil if there is none.
func (k *keptImages) of(i *Images) (*images.Store, error) {
	if i.Address == "" {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store == nil {
		k.o.MaxSize = i.MaxSize
		var err error
		if k.store, err = images.Open(context.Background(), k.dir, k.o); err != nil {
			return nil, err
		}
	}
	return k.store, nil
}

// close closes what is open.
func (k *keptImages) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.store == nil {
		return nil
	}
	return k.store.Close()
}

// others are what V_DocImage_F is made of; nil if there are none.
func (i Images) others(kept *images.Store, s *spool.Spool) (views.Others, error) {
	switch {
	case kept == nil:
		return nil, nil
	case i.Export != "":
		return views.NewImageExporter(kept, s, i.Export, i.Address)
	}
	return views.ServedImages{ImageSource: kept, Prefix: i.Address + web.ImagePath}, nil
}

// served are what the public listener serves; nil if there are none.
func servedImages(s *images.Store) web.Images {
	if s == nil {
		return nil
	}
	return s
}

// configured is the store as configured. The error says that there is none.
func (k *keptImages) configured(i *Images) (*images.Store, error) {
	store, err := k.of(i)
	if store == nil && err == nil {
		err = errNoImages
	}
	return store, err
}

// ImageOperator is what a person may ask of images that are not DICOM.
type ImageOperator interface {
	// AddImage stores an image and returns once it is durable.
	AddImage(ctx context.Context, id images.Identifiers, body io.Reader) (StoredImage, error)
	// ListImages lists images of a study, or of all, in the order of their last changes behind one of them.
	ListImages(ctx context.Context, study string, behind uint64) ([]StoredImage, error)
	// WithdrawImage takes an image away; its row says so.
	WithdrawImage(ctx context.Context, id, reason string) error
	// VerifyImages reads every image back.
	VerifyImages(ctx context.Context) (images.Report, error)
}

// StoredImage is an image that is not DICOM, as operators see it.
type StoredImage struct {
	ID        string    `json:"id"`
	Sequence  uint64    `json:"sequence"` // of its last change
	Added     bool      `json:"added,omitempty"`
	Accession string    `json:"accession_number"`
	Study     string    `json:"study"`
	PatID     string    `json:"patient_id"`
	Kind      string    `json:"kind"`
	Width     int       `json:"width"`
	Height    int       `json:"height"`
	Size      int64     `json:"size"`
	Digest    string    `json:"digest"` // SHA-256
	Received  time.Time `json:"received"`
	Withdrawn bool      `json:"withdrawn"`
}

func describeImage(in *images.Image, added bool) StoredImage {
	return StoredImage{
		ID: in.ID, Sequence: in.Sequence, Added: added, Accession: in.AccessionNumber, Study: in.StudyInstanceUID, PatID: in.PatID,
		Kind: string(in.Kind), Width: in.Width, Height: in.Height, Size: in.Size, Digest: in.DigestText(), Received: in.Received, Withdrawn: in.Withdrawn,
	}
}

var errNoImages = errors.New("no images are kept; set images.address in the configuration")

// AddImage implements [ImageOperator].
func (o *operations) AddImage(ctx context.Context, id images.Identifiers, body io.Reader) (StoredImage, error) {
	store, err := o.images()
	if err != nil {
		return StoredImage{}, err
	}
	in, added, err := store.Add(ctx, images.Incoming{Source: images.FromCommand, Identifiers: id, Body: body})
	return describeImage(&in, added), err
}

// ListImages implements [ImageOperator].
func (o *operations) ListImages(ctx context.Context, study string, behind uint64) (list []StoredImage, err error) {
	store, err := o.images()
	if err != nil {
		return nil, err
	}
	var found []images.Image
	if study == "" {
		found, err = store.Changes(ctx, behind, maxJobsPage)
	} else {
		found, err = store.OfStudy(ctx, study, behind, maxJobsPage)
	}
	list = make([]StoredImage, len(found))
	for i := range found {
		list[i] = describeImage(&found[i], false)
	}
	return list, err
}

// WithdrawImage implements [ImageOperator].
func (o *operations) WithdrawImage(ctx context.Context, id, reason string) error {
	store, err := o.images()
	if err != nil {
		return err
	}
	_, err = store.Withdraw(ctx, id, reason)
	return err
}

// VerifyImages implements [ImageOperator].
func (o *operations) VerifyImages(ctx context.Context) (images.Report, error) {
	store, err := o.images()
	if err != nil {
		return images.Report{}, err
	}
	return store.Verify(ctx, nil)
}

func (c control) handleImages(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/images", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // only the owner can ask for it
		q := r.URL.Query()
		id := images.Identifiers{AccessionNumber: q.Get(images.FieldAccessionNumber), StudyInstanceUID: q.Get(images.FieldStudyInstanceUID), PatID: q.Get(images.FieldPatID)}
		in, err := c.AddImage(r.Context(), id, r.Body)
		answer(w, in, err)
	})
	mux.HandleFunc("GET /v1/images", func(w http.ResponseWriter, r *http.Request) {
		behind, err := strconv.ParseUint("0"+r.URL.Query().Get("behind"), 10, 64)
		if err != nil {
			answer(w, nil, err)
			return
		}
		list, err := c.ListImages(r.Context(), r.URL.Query().Get("study"), behind)
		answer(w, list, err)
	})
	mux.HandleFunc("POST /v1/images/withdraw", func(w http.ResponseWriter, r *http.Request) {
		var rq withdrawRequest
		if decode(w, r, &rq) {
			answer(w, struct{}{}, c.WithdrawImage(r.Context(), rq.ID, rq.Reason))
		}
	})
	mux.HandleFunc("POST /v1/images/verify", func(w http.ResponseWriter, r *http.Request) {
		report, err := c.VerifyImages(r.Context())
		answer(w, report, err)
	})
}

// withdrawRequest is the body of /v1/images/withdraw.
type withdrawRequest struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// AddImage implements [ImageOperator].
func (c *client) AddImage(ctx context.Context, id images.Identifiers, body io.Reader) (in StoredImage, err error) {
	q := url.Values{images.FieldAccessionNumber: {id.AccessionNumber}, images.FieldStudyInstanceUID: {id.StudyInstanceUID}, images.FieldPatID: {id.PatID}}
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway/v1/images?"+q.Encode(), io.NopCloser(body))
	if err != nil {
		return in, err
	}
	return in, c.send(rq, &in)
}

// ListImages implements [ImageOperator].
func (c *client) ListImages(ctx context.Context, study string, behind uint64) (list []StoredImage, err error) {
	q := url.Values{"study": {study}, "behind": {fmt.Sprint(behind)}}
	err = c.call(ctx, http.MethodGet, "/v1/images?"+q.Encode(), nil, &list)
	return list, err
}

// WithdrawImage implements [ImageOperator].
func (c *client) WithdrawImage(ctx context.Context, id, reason string) error {
	return c.call(ctx, http.MethodPost, "/v1/images/withdraw", withdrawRequest{strings.TrimSpace(id), reason}, &struct{}{})
}

// VerifyImages implements [ImageOperator].
func (c *client) VerifyImages(ctx context.Context) (r images.Report, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/images/verify", nil, &r)
	return r, err
}
