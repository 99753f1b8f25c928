package gateway

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dcmgate/dicom"
)

// parseDuration reads Go's notation (500ms, 30s, 1h30m) and whole days (7d),
// which retention is thought of in. 0 needs no unit.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number of days", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration; write 500ms, 30s, 10m, 2h or 7d", s)
	}
	return d, nil
}

// ParseDuration reads a duration as configuration files have it: 500ms, 30s, 1h30m, 7d.
func ParseDuration(s string) (time.Duration, error) { return parseDuration(s) }

// byteUnits holds every unit of size in lower case, longest suffix first.
var byteUnits = []struct {
	suffix string
	bytes  float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"b", 1}, {"", 1},
}

// parseSize reads a number of bytes: 16384, 64MiB (powers of 1024), 20GB
// (powers of 1000).
func parseSize(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || math.IsNaN(n) || n < 0 || n*u.bytes >= math.MaxInt64 {
			break
		}
		return int64(n * u.bytes), nil
	}
	return 0, fmt.Errorf("%q is not a size; write 64MiB, 20GB or a number of bytes", s)
}

// formatSize writes n so that parseSize reads the same number back.
func formatSize(n int64) string {
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"TB", 1e12}, {"TiB", 1 << 40}, {"GB", 1e9}, {"GiB", 1 << 30}, {"MB", 1e6}, {"MiB", 1 << 20}, {"kB", 1e3}, {"KiB", 1 << 10}} {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// ParseSize reads a number of bytes as the configuration writes them: 16384, 64MiB (powers of 1024), 20GB (powers of 1000).
func ParseSize(s string) (int64, error) { return parseSize(s) }

// parseAETitle checks the value representation AE of PS3.5 6.2: at most 16
// characters of the default repertoire without backslash and control
// characters; leading and trailing spaces are not significant and are cut.
func parseAETitle(s string) (string, error) {
	title := strings.Trim(s, " ")
	switch {
	case title == "":
		return "", errors.New("an AE title is needed: 1 to 16 characters")
	case len(title) > 16:
		return "", fmt.Errorf("AE title %q has %d characters; 16 are allowed", title, len(title))
	}
	for _, r := range title {
		if r < ' ' || r > '~' || r == '\\' {
			return "", fmt.Errorf("AE title %q holds %q; letters, digits, space and punctuation other than backslash are allowed", title, r)
		}
	}
	return title, nil
}

// parseListen checks an address to listen on: HOST:PORT, ListenPassed, or off. It returns ""
// for off.
func parseListen(s string) (string, error) {
	switch s {
	case "off":
		return "", nil
	case ListenPassed:
		return s, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not HOST:PORT; write 127.0.0.1:11112, or 0.0.0.0:11112 for every interface, or systemd, or off", s)
	}
	if host == "" {
		return "", fmt.Errorf("%q names no host; write 0.0.0.0:%s if every interface is meant", s, port)
	}
	if err := checkHost(host); err != nil {
		return "", err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return s, nil
}

// checkHost finds characters that no host name and no IP address has.
func checkHost(host string) error {
	for _, r := range host {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-_.:%", r):
		default:
			return fmt.Errorf("host %q holds %q; write an IP address, or a name of letters, digits, '-' and '.'", host, r)
		}
	}
	return nil
}

// parseAddress checks the address of a peer: HOST:PORT, with a port one can
// connect to.
func parseAddress(s string) (string, error) {
	if s == "" {
		return "", errors.New("an address is needed: HOST:PORT")
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", fmt.Errorf("%q is not HOST:PORT; write 10.0.0.5:104, pacs.example.org:11112 or [fd00::5]:104", s)
	}
	if err := checkHost(host); err != nil {
		return "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return s, nil
}

// parsePrefix reads an IP address or a network in CIDR notation.
func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IP address nor a network such as 10.0.0.0/24", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("network %q has host bits set; %s is meant, or %s for one address", s, p.Masked(), p.Addr())
	}
	if p.Addr().Is4In6() { // callers' addresses are compared as IPv4
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

// parseTransferSyntax reads a transfer syntax UID.
func parseTransferSyntax(s string) (dicom.UID, error) {
	uid := dicom.UID(s)
	if err := uid.Valid(); err != nil {
		return "", fmt.Errorf("%q is not a transfer syntax UID: %v", s, err)
	}
	return uid, nil
}

// parseName checks the short name of a destination, which appears in metrics,
// keys of the spool, logs and on the command line.
func parseName(s string) (string, error) {
	if s == "" {
		return "", errors.New("a name is needed, such as cloud")
	}
	if len(s) > 64 {
		return "", fmt.Errorf("name has %d characters; 64 are allowed", len(s))
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return "", fmt.Errorf("name %q holds %q; letters, digits, '-', '_' and '.' are allowed", s, r)
		}
	}
	return s, nil
}
