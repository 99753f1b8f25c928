package images

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	_ "modernc.org/sqlite" // registers the driver
)

// indexVersion is that of the tables. One that is later is not opened.
const indexVersion = 1

// schema makes the tables. Times are Unix milliseconds.
const schema = `
CREATE TABLE store (id TEXT NOT NULL);
CREATE TABLE image (
  seq INTEGER NOT NULL UNIQUE,
  id TEXT NOT NULL PRIMARY KEY,
  accession TEXT NOT NULL, study TEXT NOT NULL, patient TEXT NOT NULL,
  digest BLOB NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
  received INTEGER NOT NULL, changed INTEGER NOT NULL,
  withdrawn INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
  kept INTEGER NOT NULL DEFAULT 1,
  UNIQUE (digest, study, accession, patient)
) WITHOUT ROWID;
CREATE INDEX image_study ON image (study, seq);
CREATE INDEX image_unkept ON image (id) WHERE withdrawn = 1 AND kept = 1;
PRAGMA user_version = 1`

const columns = "seq, id, accession, study, patient, digest, kind, size, width, height, received, changed, withdrawn"

// index is the database of records.
type index struct{ db *sql.DB }

// openIndex opens the database, which is made if it is not there. Each transaction is synced before it returns.
func openIndex(ctx context.Context, path string) (*index, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would let everybody read
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8)
	x := &index{db}
	if err := x.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("index of images: %w", err), db.Close())
	}
	return x, nil
}

func (x *index) prepare(ctx context.Context) error {
	var version int
	if err := x.db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version > indexVersion:
		return fmt.Errorf("is of version %d, this dcmgate knows up to %d; use a later one", version, indexVersion)
	case version == indexVersion:
		return nil
	}
	id := make([]byte, 16)
	rand.Read(id)
	return x.update(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, schema); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO store VALUES (?)", hex.EncodeToString(id))
		return err
	})
}

func (x *index) update(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing after a commit
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// totals are what a store holds.
type totals struct {
	last      uint64
	images    int64
	withdrawn int64
	bytes     int64
}

func (x *index) totals(ctx context.Context) (t totals, err error) {
	err = x.db.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0), COUNT(*), COALESCE(SUM(withdrawn), 0),
		COALESCE((SELECT SUM(size) FROM (SELECT size FROM image WHERE withdrawn = 0 GROUP BY digest)), 0) FROM image`).
		Scan(&t.last, &t.images, &t.withdrawn, &t.bytes)
	return t, err
}

// newID is 128 bits at random. It does not begin as an option of a command does.
func newID() string {
	id := make([]byte, 16)
	for {
		rand.Read(id)
		if s := base64.RawURLEncoding.EncodeToString(id); s[0] != '-' {
			return s
		}
	}
}

// insert records an image under the next number, or revives the withdrawn one of the same content and identifiers. One
// that is there already is returned as it is.
func (x *index) insert(ctx context.Context, in Image) (out Image, added bool, err error) {
	err = x.update(ctx, func(tx *sql.Tx) error {
		there, err := scanImage(tx.QueryRowContext(ctx, "SELECT "+columns+" FROM image WHERE digest = ? AND study = ? AND accession = ? AND patient = ?",
			in.Digest[:], in.StudyInstanceUID, in.AccessionNumber, in.PatID))
		if err == nil && !there.Withdrawn {
			out = there
			return nil
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if in.ID = there.ID; in.ID == "" {
			in.ID = newID()
		}
		if in.Sequence, err = next(ctx, tx); err != nil {
			return err
		}
		out, added = in, true
		_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO image ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
			in.Sequence, in.ID, in.AccessionNumber, in.StudyInstanceUID, in.PatID, in.Digest[:], in.Kind, in.Size, in.Width, in.Height,
			in.Received.UnixMilli(), in.Changed.UnixMilli())
		return err
	})
	return out, added, err
}

// withdraw marks an image. Its bytes are still to go.
func (x *index) withdraw(ctx context.Context, id, reason string, now time.Time) (out Image, changed bool, err error) {
	err = x.update(ctx, func(tx *sql.Tx) error {
		out, err = scanImage(tx.QueryRowContext(ctx, "SELECT "+columns+" FROM image WHERE id = ?", id))
		if err != nil || out.Withdrawn {
			return err
		}
		if out.Sequence, err = next(ctx, tx); err != nil {
			return err
		}
		out.Changed, out.Withdrawn, changed = now, true, true
		_, err = tx.ExecContext(ctx, "UPDATE image SET seq = ?, changed = ?, withdrawn = 1, reason = ? WHERE id = ?", out.Sequence, now.UnixMilli(), reason, id)
		return err
	})
	return out, changed, err
}

func next(ctx context.Context, tx *sql.Tx) (n uint64, err error) {
	err = tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(seq), 0) + 1 FROM image").Scan(&n)
	return n, err
}

// unkept lists the withdrawn images whose bytes are still to go.
func (x *index) unkept(ctx context.Context) ([]Image, error) {
	return x.list(ctx, "SELECT "+columns+" FROM image WHERE withdrawn = 1 AND kept = 1")
}

// shared tells whether an image that was not withdrawn has the same content.
func (x *index) shared(ctx context.Context, in *Image) (bool, error) {
	var n int
	err := x.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM image WHERE digest = ? AND withdrawn = 0", in.Digest[:]).Scan(&n)
	return n > 0, err
}

func (x *index) gone(ctx context.Context, id string) error {
	_, err := x.db.ExecContext(ctx, "UPDATE image SET kept = 0 WHERE id = ?", id)
	return err
}

func (x *index) image(ctx context.Context, id string) (Image, error) {
	return scanImage(x.db.QueryRowContext(ctx, "SELECT "+columns+" FROM image WHERE id = ?", id))
}

func (x *index) list(ctx context.Context, query string, args ...any) (list []Image, err error) {
	rows, err := x.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		in, err := scanImage(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, in)
	}
	return list, rows.Err()
}

// scanImage reads a record's columns.
func scanImage(row interface{ Scan(...any) error }) (in Image, err error) {
	var digest []byte
	var received, changed int64
	err = row.Scan(&in.Sequence, &in.ID, &in.AccessionNumber, &in.StudyInstanceUID, &in.PatID, &digest, &in.Kind, &in.Size, &in.Width, &in.Height,
		&received, &changed, &in.Withdrawn)
	if errors.Is(err, sql.ErrNoRows) {
		return in, ErrNotFound
	}
	copy(in.Digest[:], digest)
	in.Received, in.Changed = time.UnixMilli(received), time.UnixMilli(changed)
	return in, err
}
