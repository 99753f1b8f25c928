package gateway

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxSecretSize bounds a secret file: a private key with its chain is a few
// kilobytes.
const maxSecretSize = 1 << 20

// Secret is a reference to something that must not be read by whoever reads
// the configuration: "file:PATH", or "credential:NAME" for a credential that
// systemd (LoadCredential=) has put under $CREDENTIALS_DIRECTORY. Its String
// never shows a value written in line, so that a Config can be logged.
type Secret struct{ ref string }

// errNoCredentials says that systemd has handed out nothing.
var errNoCredentials = errors.New("$CREDENTIALS_DIRECTORY is not set")

// SecretReference is a secret as a configuration or flag names it.
func SecretReference(ref string) Secret { return Secret{ref} }

// Inline reports whether the secret stands in the configuration itself.
func (s Secret) Inline() bool {
	return s.ref != "" && !strings.HasPrefix(s.ref, "file:") && !strings.HasPrefix(s.ref, "credential:")
}

// String names the source of the secret.
func (s Secret) String() string {
	if s.Inline() {
		return "(in the configuration)"
	}
	return s.ref
}

// Read returns the secret without its final newline.
func (s Secret) Read() (string, error) {
	path, err := s.path()
	if err != nil {
		return "", err
	}
	if path == "" {
		return s.ref, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", s, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretSize+1))
	if err != nil {
		return "", fmt.Errorf("read secret %s: %w", s, err)
	}
	if len(data) > maxSecretSize {
		return "", fmt.Errorf("read secret %s: more than %d bytes", s, maxSecretSize)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// path returns the file that holds the secret, "" for one written in line.
func (s Secret) path() (string, error) {
	if path, ok := strings.CutPrefix(s.ref, "file:"); ok {
		return path, nil
	}
	name, ok := strings.CutPrefix(s.ref, "credential:")
	if !ok {
		return "", nil
	}
	if name == "" || name != filepath.Base(name) || name == ".." {
		return "", fmt.Errorf("credential name %q must be a plain name", name)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("%w; start through systemd with LoadCredential=%s, or use file:PATH", errNoCredentials, name)
	}
	return filepath.Join(dir, name), nil
}
