package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"dcmgate/internal/machine"
)

// ConfigError is one mistake in a configuration file.
type ConfigError struct {
	File         string
	Line, Column int
	Path         string // keys to the place, such as destinations[0].address
	Message      string // what is wrong and what to write instead

	cause error // of what is wrong with a file that the place names; may be nil
}

// Unwrap returns the cause, if there is one.
func (e *ConfigError) Unwrap() error { return e.cause }

// Error formats the mistake as FILE:LINE:COLUMN: PATH: MESSAGE.
func (e *ConfigError) Error() string {
	where := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Path != "" {
		where += abridged(e.Path) + ": "
	}
	return where + abridged(e.Message)
}

// Default returns the configuration of a gateway without a file: loopback
// listeners, any caller, data under ./dcmgate-data, no destinations.
func Default() Config {
	cfg, err := Parse("", nil)
	if err != nil {
		panic("gateway: the built-in defaults are not valid: " + err.Error())
	}
	cfg.DICOM.Accept = AcceptAny
	return cfg
}

// Load reads and validates a configuration file. Mistakes are *ConfigError
// values joined, those of the whole file at once.
func Load(path string) (Config, error) {
	data, err := readConfig(path)
	if err != nil {
		return Config{}, err
	}
	cfg, err := Parse(path, data)
	if err == nil && !cfg.raw.set {
		return Config{}, &ConfigError{File: path, Line: 1, Column: 1, Message: "holds no keys; `dcmgate config example` prints a configuration to start from"}
	}
	return cfg, err
}

func readConfig(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO that nobody writes to is not waited for
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("configuration: %w; %s, by whom the gateway runs, has to be able to read it: chown 0:%d %s && chmod 0640 %[4]s", err, machine.User(), os.Getegid(), path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w; `dcmgate config example` prints one to start from", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if errors.Is(err, syscall.EISDIR) {
		return nil, fmt.Errorf("configuration: %s is a folder; name the file in it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(data) > maxConfigSize {
		return nil, fmt.Errorf("configuration: %s is larger than %s", path, formatSize(maxConfigSize))
	}
	return data, nil
}

// Parse validates the contents of a configuration file; name is used in
// errors.
func Parse(name string, data []byte) (Config, error) {
	var raw rawConfig
	if errs := parseYAML(name, data, &raw); len(errs) > 0 {
		errs = byLine(errs)
		advise(data, errs)
		return Config{}, errors.Join(errs...)
	}
	v := &validator{binder: binder{file: name}}
	cfg := v.config(&raw)
	if len(v.errs) > 0 {
		errs := byLine(v.errs)
		advise(data, errs)
		return Config{}, errors.Join(errs...)
	}
	cfg.Source = name
	cfg.Notes = v.notes
	cfg.raw = &raw
	return cfg, nil
}

// DataDirIn finds the data directory in a configuration file that may have
// mistakes, to reach the gateway that goes on with the one before; "" if it
// cannot be told.
func DataDirIn(path string) string {
	data, err := readConfig(path)
	if err != nil {
		return ""
	}
	var raw rawConfig
	if parseYAML(path, data, &raw); raw.DataDir.Set {
		return raw.DataDir.Text
	}
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte("data_dir:")) {
			parseYAML(path, line, &raw)
		}
	}
	return raw.DataDir.Text
}

// byLine puts mistakes in the order of the file, which neither binding nor
// validation follows. Of very many the first are enough.
func byLine(errs []error) []error {
	slices.SortStableFunc(errs, func(a, b error) int { return lineOf(a) - lineOf(b) })
	if more := len(errs) - maxMistakes; more > 0 {
		errs = append(errs[:maxMistakes], fmt.Errorf("and %d more mistakes; is this the right file?", more))
	}
	return errs
}

func joinByLine(errs []error) error { return errors.Join(byLine(errs)...) }

func lineOf(err error) int {
	var e *ConfigError
	if errors.As(err, &e) {
		return e.Line
	}
	return 0
}
