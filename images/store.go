package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"dcmgate/internal/durable"
)

// What a store's folder holds beside a folder for each first byte of a digest.
const (
	incomingDir = "incoming" // what is being written
	indexName   = "index.db"
)

// Options are a store's settings.
type Options struct {
	MaxSize int64        // bytes of a file; 0: no bound. SetMaxSize changes it
	Room    func() error // asked before an image is taken; its error, such as ErrFull, refuses it. nil: there is room

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	Now        func() time.Time      // nil: time.Now
}

// Store keeps images in a folder that is its own. Its methods may be called by many goroutines.
type Store struct {
	dir     string
	o       Options
	log     *slog.Logger
	index   *index
	id      string
	last    atomic.Uint64
	maxSize atomic.Int64
	metrics *instruments

	mu sync.Mutex // over a file's coming or going and its records
}

// Open opens the store in a folder, which is made if it is not there, and takes away what was left half done.
func Open(ctx context.Context, dir string, o Options) (_ *Store, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Room == nil {
		o.Room = func() error { return nil }
	}
	s := &Store{dir: dir, o: o, log: o.Logger}
	s.SetMaxSize(o.MaxSize)
	incoming := filepath.Join(dir, incomingDir)
	if err := os.RemoveAll(incoming); err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	if err := os.MkdirAll(incoming, 0o700); err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	if s.index, err = openIndex(ctx, filepath.Join(dir, indexName)); err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	if err = s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open images: %w", err), s.index.db.Close())
	}
	return s, nil
}

func (s *Store) begin(ctx context.Context) error {
	if err := s.index.db.QueryRowContext(ctx, "SELECT id FROM store").Scan(&s.id); err != nil {
		return err
	}
	t, err := s.index.totals(ctx)
	if err != nil {
		return err
	}
	s.last.Store(t.last)
	s.metrics = newInstruments(s.o.Registerer, t)
	left, err := s.index.unkept(ctx)
	if err != nil {
		return err
	}
	for i := range left {
		if err := s.remove(ctx, &left[i]); err != nil {
			return err
		}
	}
	return durable.SyncDir(s.dir)
}

// Close closes the store. Nothing may be under way.
func (s *Store) Close() error {
	s.metrics.unregister()
	return s.index.db.Close()
}

// SetMaxSize bounds the bytes of files that come from now on; 0: no bound.
func (s *Store) SetMaxSize(bytes int64) { s.maxSize.Store(bytes) }

// ID tells this store from every other: its numbers are of its own.
func (s *Store) ID() string { return s.id }

// LastSequence is the number of the last change.
func (s *Store) LastSequence() uint64 { return s.last.Load() }

// Changes lists the images that changed behind a number, each as it is now, in the order of their last changes.
func (s *Store) Changes(ctx context.Context, behind uint64, limit int) ([]Image, error) {
	return s.index.list(ctx, "SELECT "+columns+" FROM image WHERE seq > ? ORDER BY seq LIMIT ?", behind, limit)
}

// OfStudy lists the images that name exactly this study, or studies, behind a number in the order of their last changes.
func (s *Store) OfStudy(ctx context.Context, study string, behind uint64, limit int) ([]Image, error) {
	return s.index.list(ctx, "SELECT "+columns+" FROM image WHERE study = ? AND seq > ? ORDER BY seq LIMIT ?", study, behind, limit)
}

// Image returns a record. The error may be ErrNotFound.
func (s *Store) Image(ctx context.Context, id string) (Image, error) { return s.index.image(ctx, id) }

// Source is where an image comes from, for the metrics.
type Source string

// The sources.
const (
	FromCommand Source = "command"
	FromFolder  Source = "folder" // one that is watched
	FromUpload  Source = "upload" // by HTTP
)

// Incoming is an image to be added.
type Incoming struct {
	Source Source
	Identifiers
	Digest []byte    // that the file has to have; nil: any
	Body   io.Reader // is read to its end
}

// Add stores an image and returns once it is durable. What is there already, the same content with the same identifiers,
// is not stored twice: added is false. What was withdrawn comes back under its ID. The error is a *[FormatError] or
// *[IdentifierError], ErrTooLarge, ErrDigest, or what Options.Room, the body or the disk fail with.
func (s *Store) Add(ctx context.Context, in Incoming) (out Image, added bool, err error) {
	begun := s.o.Now()
	defer func() { s.account(in.Source, &out, added, err, begun) }()
	if err := s.o.Room(); err != nil {
		return out, false, err
	}
	if out.Identifiers, err = in.Normalize(); err != nil {
		return out, false, err
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, incomingDir), "*")
	if err != nil {
		return out, false, fmt.Errorf("store an image: %w", err)
	}
	defer func() {
		f.Close()
		os.Remove(f.Name()) // nothing after it was moved; else Open does it
	}()
	if err := s.receive(f, &out, in.Body); err != nil {
		return out, false, err
	}
	if in.Digest != nil && string(in.Digest) != string(out.Digest[:]) {
		return out, false, ErrDigest
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return out, false, fmt.Errorf("store an image: %w", err)
	}
	out.Received = s.o.Now()
	out.Changed = out.Received
	return s.commit(ctx, f.Name(), out)
}

// receive writes what is read into a file and checks it at the same time.
func (s *Store) receive(f *os.File, out *Image, body io.Reader) (err error) {
	sum := sha256.New()
	w := &counter{w: io.MultiWriter(f, sum), most: s.maxSize.Load()}
	out.Info, err = Check(io.TeeReader(body, w))
	if w.err != nil { // of the disk, or the limit
		return w.err
	}
	out.Size = w.n
	copy(out.Digest[:], sum.Sum(nil))
	return err
}

// counter writes up to a limit and remembers what it fails with.
type counter struct {
	w       io.Writer
	n, most int64
	err     error
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	if c.most > 0 && c.n+int64(len(p)) > c.most {
		c.err = ErrTooLarge
		return 0, c.err
	}
	n, err := c.w.Write(p)
	if c.n += int64(n); err != nil {
		c.err = fmt.Errorf("store an image: %w", err)
	}
	return n, c.err
}

// commit moves a synced file to its place and records the image. The order matters: a record has its file.
func (s *Store) commit(ctx context.Context, from string, in Image) (out Image, added bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.place(&in)
	if err := makeDir(filepath.Dir(place)); err != nil {
		return in, false, fmt.Errorf("store an image: %w", err)
	}
	// Also where there is such a file already: this one is known to be good.
	if err := os.Rename(from, place); err != nil {
		return in, false, fmt.Errorf("store an image: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(place)); err != nil {
		return in, false, fmt.Errorf("store an image: %w", err)
	}
	shared, err := s.index.shared(ctx, &in)
	if err != nil {
		return in, false, fmt.Errorf("record an image: %w", err)
	}
	if out, added, err = s.index.insert(ctx, in); err != nil {
		return in, false, fmt.Errorf("record an image: %w", err)
	}
	if added {
		s.last.Store(out.Sequence)
		s.metrics.stored.Inc()
		if !shared {
			s.metrics.bytes.Add(float64(out.Size))
		}
	}
	return out, added, nil
}

// place is where the content of an image is. Nothing in it comes from a sender.
func (s *Store) place(in *Image) string {
	name := hex.EncodeToString(in.Digest[:])
	return filepath.Join(s.dir, name[:2], name+"."+string(in.Kind))
}

// Withdraw marks an image as not to be shown, with a reason for the record, and takes its bytes away. Once more changes
// nothing. The error may be ErrNotFound.
func (s *Store) Withdraw(ctx context.Context, id, reason string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, changed, err := s.index.withdraw(ctx, id, reason, s.o.Now())
	if err != nil {
		return in, err
	}
	if changed {
		s.last.Store(in.Sequence)
		s.metrics.stored.Dec()
		s.metrics.withdrawn.Inc()
		s.log.Info("image withdrawn", "sequence", in.Sequence)
	}
	return in, s.remove(ctx, &in)
}

// remove takes away the bytes of an image that was withdrawn, if no other has the same.
func (s *Store) remove(ctx context.Context, in *Image) error {
	shared, err := s.index.shared(ctx, in)
	if err != nil {
		return err
	}
	if !shared {
		err := os.Remove(s.place(in))
		if err == nil {
			s.metrics.bytes.Sub(float64(in.Size))
			err = durable.SyncDir(filepath.Dir(s.place(in)))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an image: %w", err)
		}
	}
	return s.index.gone(ctx, in.ID)
}

// Content opens an image's file, which was compared with its digest. The error may be ErrNotFound, ErrWithdrawn or
// ErrDamaged.
func (s *Store) Content(ctx context.Context, id string) (*os.File, Image, error) {
	in, err := s.index.image(ctx, id)
	if err == nil && in.Withdrawn {
		err = ErrWithdrawn
	}
	if err != nil {
		return nil, in, err
	}
	f, err := s.open(ctx, &in)
	return f, in, err
}

// open opens a file and compares it with its digest.
func (s *Store) open(ctx context.Context, in *Image) (_ *os.File, err error) {
	f, err := os.Open(s.place(in))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: its file is missing", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(sum, readerUntil{ctx, f})
	if err == nil && (n != in.Size || [32]byte(sum.Sum(nil)) != in.Digest) {
		err = fmt.Errorf("%w: its content has changed", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// readerUntil is a reader that ends with a context.
type readerUntil struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r readerUntil) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// makeDir makes a folder and makes that durable.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}
