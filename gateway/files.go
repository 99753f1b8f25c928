package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"syscall"
	"time"

	"dcmgate/internal/machine"
)

// contents are the digests of the files that a configuration names, by the path
// of the key: peers[0].tls.ca.
type contents map[string]string

// The kinds of files, as the tag file of the raw structs names them.
const (
	fileText   = "text"
	fileKey    = "key"
	fileSecret = "secret"
)

// namedFile is a file that a key names.
type namedFile struct {
	at     place
	secret Secret // file:PATH or credential:NAME
	kind   string
}

// namedFiles lists the files that a configuration names, in the order of its
// keys. What stands in the configuration itself is none.
func (c *rawConfig) namedFiles() []namedFile {
	return filesIn(reflect.ValueOf(c).Elem())
}

func filesIn(v reflect.Value) (files []namedFile) {
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			files = append(files, filesIn(v.Index(i))...)
		}
		return files
	}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Tag.Get("yaml") == "" {
			continue
		}
		named, ok := v.Field(i).Interface().(value)
		if !ok {
			if v.Field(i).Type() != reflect.TypeFor[[]value]() {
				files = append(files, filesIn(v.Field(i))...)
			}
			continue
		}
		if kind := field.Tag.Get("file"); kind != "" && named.Text != "" {
			f := namedFile{named.at, Secret{named.Text}, kind}
			if kind != fileSecret && f.secret.Inline() {
				f.secret = Secret{"file:" + named.Text}
			}
			if !f.secret.Inline() {
				files = append(files, f)
			}
		}
	}
	return files
}

// read takes the digest of a file, and refuses one that others could read who
// should not, or that holds nothing.
func (f *namedFile) read() (digest string, err error) {
	path, err := f.secret.path()
	if err != nil {
		return "", err
	}
	switch info, err := os.Stat(path); {
	case err != nil: // reading tells
	case !info.Mode().IsRegular(): // a FIFO would be waited for
		return "", fmt.Errorf("%s is a folder, FIFO, device or socket; name a file", path)
	case f.kind != fileText && info.Mode()&0o007 != 0:
		return "", fmt.Errorf("%s can be used by everybody on this machine (mode %04o); take that away: chmod o-rwx %s (a group may read it: 0640)",
			path, info.Mode().Perm(), path)
	}
	text, err := Secret{"file:" + path}.Read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s is not there; put it there or name another", path)
	case errors.Is(err, fs.ErrPermission):
		return "", fmt.Errorf("%s cannot be read by %s: %w; let the user that runs the gateway read it", path, machine.User(), fs.ErrPermission)
	case err != nil:
		return "", err
	case text == "":
		return "", errors.New(path + " is empty")
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:]), nil
}

// readFiles takes the digests of all files. Every mistake is a [ConfigError].
func (c *Config) readFiles() (contents, []error) {
	digests := make(contents)
	var errs []error
	for _, f := range c.raw.namedFiles() {
		digest, err := f.read()
		if err != nil {
			errs = append(errs, &ConfigError{c.Source, f.at.line, f.at.column, f.at.path, err.Error(), err})
		}
		digests[f.at.path] = digest
	}
	return digests, errs
}

// keyError is a mistake in what a key names, such as a certificate that does not
// go with its private key.
type keyError struct {
	key string // its path: peers[0].tls
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// located gives the mistake its place in the file.
func (c *Config) located(err error) error {
	e, ok := errors.AsType[*keyError](err)
	if !ok || c.Source == "" {
		return err
	}
	at, ok := placeIn(reflect.ValueOf(c.raw).Elem(), e.key)
	if !ok {
		return err
	}
	return &ConfigError{c.Source, at.line, at.column, e.key, e.err.Error(), e.err}
}

// placeIn finds where the key of that path stands.
func placeIn(v reflect.Value, path string) (place, bool) {
	switch at := v.Addr().Interface().(type) {
	case *value:
		return at.at, at.at.path == path
	case interface{ where() place }:
		if at.where().path == path {
			return at.where(), true
		}
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			if at, ok := placeIn(v.Index(i), path); ok {
				return at, true
			}
		}
		return place{}, false
	}
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") != "" {
			if at, ok := placeIn(v.Field(i), path); ok {
				return at, true
			}
		}
	}
	return place{}, false
}

// CheckFiles reads the files that the configuration names, such as certificates
// and secrets, as starting a gateway does. Mistakes are *ConfigError values
// joined, each with the line that names the file. What only systemd hands out
// is no mistake but a note, and so is what cannot be read unless this process
// runs by the gateway's own user, the owner of the data folder.
func (c *Config) CheckFiles() (notes []string, err error) {
	s, err := loadSettings(*c)
	var errs []error
	if err == nil {
		notes, errs = s.checkValidity(time.Now())
	}
	if no := checkDataFolder(c.DataDir); no != nil {
		errs = append(errs, c.located(&keyError{"data_dir", no}))
	}
	for _, e := range unjoined(err) {
		switch {
		case errors.Is(e, fs.ErrPermission) && !c.ownsData(), errors.Is(e, errNoCredentials):
			notes = append(notes, "not looked at: "+e.Error())
		default:
			errs = append(errs, e)
		}
	}
	return notes, joinByLine(errs)
}

// ownsData tells whether the data folder belongs to the user of this process.
func (c *Config) ownsData() bool {
	info, err := os.Stat(c.DataDir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// unjoined are the parts of a joined error.
func unjoined(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
