package gateway

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
)

// validator turns raw structs into a Config, collecting every mistake.
type validator struct {
	binder
	notes []string
}

// parsed applies one of the parse functions of units.go to a value.
func parsed[T any](v *validator, raw value, parse func(string) (T, error)) T {
	t, err := parse(raw.Text)
	if err != nil {
		v.fail(raw.at, "%v", err)
	}
	return t
}

// parsedList applies a parse function to every entry of a list.
func parsedList[T any](v *validator, raw []value, parse func(string) (T, error)) []T {
	var list []T
	for _, r := range raw {
		list = append(list, parsed(v, r, parse))
	}
	return list
}

// oneOf checks a keyword.
func oneOf[T ~string](v *validator, raw value, words ...T) T {
	if slices.Contains(words, T(raw.Text)) {
		return T(raw.Text)
	}
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	v.fail(raw.at, "%q is not one of %s", raw.Text, strings.Join(names, ", "))
	return ""
}

func (v *validator) note(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

// whole reads a whole number within limits.
func (v *validator) whole(raw value, least, most int) int {
	n, err := strconv.Atoi(raw.Text)
	if err != nil || n < least || n > most {
		v.fail(raw.at, "%q is not a whole number from %d to %d", raw.Text, least, most)
	}
	return n
}

func (v *validator) truth(raw value) bool {
	if raw.Text != "true" && raw.Text != "false" {
		v.fail(raw.at, "%q is neither true nor false", raw.Text)
	}
	return raw.Text == "true"
}

// duration reads a duration within limits; 0 is within them only if least is 0.
func (v *validator) duration(raw value, least, most time.Duration) time.Duration {
	d, err := parseDuration(raw.Text)
	switch {
	case err != nil:
		v.fail(raw.at, "%v", err)
	case d < least || d > most:
		v.fail(raw.at, "%s is outside %v to %v", raw.Text, least, most)
	}
	return d
}

// size reads a number of bytes within limits.
func (v *validator) size(raw value, least, most int64) int64 {
	n, err := parseSize(raw.Text)
	switch {
	case err != nil:
		v.fail(raw.at, "%v", err)
	case n < least || n > most:
		v.fail(raw.at, "%s is outside %s to %s", raw.Text, formatSize(least), formatSize(most))
	}
	return n
}

// secret takes a reference; one written in line works and is remarked on.
func (v *validator) secret(raw value) Secret {
	s := Secret{raw.Text}
	if s.Inline() {
		v.note("%s: whoever can read this file can read this secret; write file:PATH or credential:NAME", raw.at.path)
	} else if _, err := s.path(); err != nil && !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY") {
		v.fail(raw.at, "%v", err)
	}
	return s
}

// text takes free text of bounded length on one line.
func (v *validator) text(raw value, most int) string {
	if len(raw.Text) > most || strings.ContainsFunc(raw.Text, func(r rune) bool { return r < ' ' }) {
		v.fail(raw.at, "must be one line of at most %d bytes", most)
	}
	return raw.Text
}

func (v *validator) config(raw *rawConfig) Config {
	cfg := Config{
		AETitle:         parsed(v, raw.AETitle, parseAETitle),
		DataDir:         v.text(raw.DataDir, 4096),
		Institution:     v.institution(&raw.Institution),
		DICOM:           v.dicom(&raw.DICOM),
		HTTP:            v.http(&raw.HTTP),
		Public:          v.public(&raw.Public),
		Spool:           v.spool(&raw.Spool),
		Views:           v.views(raw.Views),
		Rows:            v.rows(&raw.Rows),
		Retrieve:        v.retrieve(&raw.Retrieve),
		Log:             v.log(&raw.Log),
		Audit:           v.audit(&raw.Audit),
		Commitment:      Commitment{MaxAge: v.duration(raw.Commitment.MaxAge, time.Minute, 366*24*time.Hour)},
		ShutdownTimeout: v.duration(raw.ShutdownTimeout, time.Second, time.Hour),
	}
	cfg.Peers = v.peers(raw.Peers, cfg.DICOM.TLS)
	cfg.Destinations = v.destinations(raw.Destinations, cfg.AETitle)
	v.checkEvictAfter(&cfg)
	cfg.Upstreams = v.upstreams(raw.Upstreams, &cfg)
	switch {
	case cfg.DataDir == "":
		v.fail(raw.DataDir.at, "a directory is needed, such as /var/lib/dcmgate")
	case raw.DataDir.Set && !filepath.IsAbs(cfg.DataDir):
		v.note("data_dir: %s lies in the folder that dcmgate is started in; a path that begins with / does not depend on that", cfg.DataDir)
	}
	if raw.DICOM.Listen.Text == "off" && raw.DICOM.TLS.Listen.Text == "off" {
		v.fail(raw.DICOM.Listen.at, "both dicom.listen and dicom.tls.listen are off; nothing could be received")
	}
	cfg.Retrieve.Cloud = v.cloud(&raw.Retrieve.Cloud, cfg.Institution)
	v.served(&cfg, raw)
	v.listeners(&cfg, raw)
	v.linkedRows(&cfg, &raw.Rows.Files)
	v.guarded(&cfg, &raw.HTTP)
	cfg.Images = v.images(&raw.Images, &cfg)
	cfg.Drop = v.dropFolders(raw.Drop, &cfg)
	return cfg
}

// listeners wants each port once. http.listen and public.listen may share an address.
func (v *validator) listeners(cfg *Config, raw *rawConfig) {
	at := map[string]place{listenHTTP: raw.HTTP.Listen.at, listenPublic: raw.Public.Listen.at, listenDICOM: raw.DICOM.Listen.at, listenDICOMTLS: raw.DICOM.TLS.Listen.at}
	for i, key := range listenKeys {
		address := cfg.listens(key)
		for _, other := range listenKeys[:i] {
			if samePort(address, cfg.listens(other)) {
				v.fail(at[key], "%s takes the port of %s, %s; set another port", address, other, cfg.listens(other))
				break
			}
		}
	}
}

// samePort tells whether only one of two addresses can be listened on.
func samePort(a, b string) bool {
	if a == b {
		return a != "" && a != ListenPassed && !strings.HasSuffix(a, ":0")
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || unspecified(a) || unspecified(b))
}

func (v *validator) institution(raw *rawInstitution) Institution {
	in := Institution{
		Code:         v.institutionCode(raw.Code),
		Name:         v.text(raw.Name, 256),
		PlatformCode: v.text(raw.PlatformCode, 64),
	}
	return in
}

func (v *validator) dicom(raw *rawDICOM) DICOM {
	d := DICOM{
		Listen:          parsed(v, raw.Listen, parseListen),
		Accept:          oneOf(v, raw.Accept, AcceptKnown, AcceptAny),
		CheckCalledAE:   v.truth(raw.CheckCalledAE),
		MaxAssociations: v.whole(raw.MaxAssociations, 1, 10000),
		MaxPerAddress:   v.whole(raw.MaxPerAddress, 0, 10000),
		MaxPDU:          uint32(v.size(raw.MaxPDU, 1018, 16<<20)),
		Window:          v.whole(raw.Window, 1, dimse.MaxOperations),
		SOPClasses:      oneOf(v, raw.SOPClasses, SOPClassesKnown, SOPClassesAny),
		TransferSyntaxes: TransferSyntaxes{
			Prefer:  parsedList(v, raw.TransferSyntaxes.Prefer, parseTransferSyntax),
			Refuse:  parsedList(v, raw.TransferSyntaxes.Refuse, parseTransferSyntax),
			Private: parsedList(v, raw.TransferSyntaxes.Private, parseTransferSyntax),
		},
		Timeouts: v.serverTimeouts(&raw.Timeouts),
		TLS:      v.serverTLS(&raw.TLS),
	}
	for i, uid := range d.TransferSyntaxes.Refuse {
		if uid == dicom.ImplicitVRLittleEndian {
			v.fail(raw.TransferSyntaxes.Refuse[i].at, "Implicit VR Little Endian is the default transfer syntax that every application entity must take (PS3.5 10.1)")
		}
		if slices.Contains(d.TransferSyntaxes.Prefer, uid) {
			v.fail(raw.TransferSyntaxes.Refuse[i].at, "%s is also under prefer", uid)
		}
	}
	return d
}

func (v *validator) serverTimeouts(raw *rawServerTimeouts) ServerTimeouts {
	return ServerTimeouts{
		Association: v.duration(raw.Association, time.Second, time.Hour),
		Idle:        v.duration(raw.Idle, time.Second, 24*time.Hour),
		PDU:         v.duration(raw.PDU, time.Second, time.Hour),
		DIMSE:       v.duration(raw.DIMSE, time.Second, 24*time.Hour),
		Write:       v.duration(raw.Write, time.Second, time.Hour),
	}
}

func (v *validator) serverTLS(raw *rawServerTLS) ServerTLS {
	t := ServerTLS{
		Listen:   parsed(v, raw.Listen, parseListen),
		Cert:     v.text(raw.Cert, 4096),
		Key:      v.keyFile(raw.Key),
		ClientCA: v.text(raw.ClientCA, 4096),
	}
	if t.Listen != "" && (t.Cert == "" || t.Key == Secret{}) {
		v.fail(raw.Listen.at, "cert and key are needed to listen with TLS")
	}
	return t
}

// keyFile takes a private key, which is always a file: a bare path is one too.
func (v *validator) keyFile(raw value) Secret {
	if s := (Secret{raw.Text}); !s.Inline() {
		return v.secret(raw)
	}
	return Secret{"file:" + v.text(raw, 4096)}
}

func (v *validator) spool(raw *rawSpool) Spool {
	s := Spool{
		Quota:        v.size(raw.Quota, 0, math.MaxInt64),
		MinFree:      v.size(raw.MinFree, 64<<20, math.MaxInt64),
		Retention:    v.duration(raw.Retention, 0, 10*366*24*time.Hour),
		KeepUnrouted: v.truth(raw.KeepUnrouted),
		EvictAfter:   oneOf(v, raw.EvictAfter, EvictAfterDelivered, EvictAfterCommitted),
		SegmentSize:  v.size(raw.SegmentSize, 16<<20, 4<<30),
	}
	if s.Quota != 0 && s.Quota < 4*s.SegmentSize {
		v.fail(raw.Quota.at, "%s is less than four segments (segment_size %s)", raw.Quota.Text, raw.SegmentSize.Text)
	}
	return s
}

func (v *validator) destinations(raws []rawDestination, own string) []Destination {
	var list []Destination
	seen := make(map[string]int)
	for i := range raws {
		d := v.destination(&raws[i], own)
		if first, ok := seen[d.Name]; ok && d.Name != "" {
			v.fail(raws[i].Name.at, "name %s is already destinations[%d]", d.Name, first)
		}
		seen[d.Name] = i
		list = append(list, d)
	}
	return list
}

func (v *validator) destination(raw *rawDestination, own string) Destination {
	d := Destination{
		Name:             parsed(v, raw.Name, parseName),
		AETitle:          parsed(v, raw.AETitle, parseAETitle),
		CallingAETitle:   own,
		Address:          parsed(v, raw.Address, parseAddress),
		Associations:     v.whole(raw.Associations, 1, 64),
		Window:           v.whole(raw.Window, 1, dimse.MaxOperations),
		Batch:            v.whole(raw.Batch, 1, 100000),
		Linger:           v.duration(raw.Linger, 0, 10*time.Minute),
		MaxPDU:           uint32(v.size(raw.MaxPDU, 1018, 16<<20)),
		TransferSyntaxes: parsedList(v, raw.TransferSyntaxes, parseTransferSyntax),
		Convert:          v.truth(raw.Convert),
		Priority:         oneOf(v, raw.Priority, PriorityReceived, PriorityLow, PriorityMedium, PriorityHigh),
		Commitment:       v.destinationCommitment(&raw.Commitment),
		Timeouts:         v.clientTimeouts(&raw.Timeouts),
		TLS:              v.clientTLS(&raw.TLS),
	}
	if raw.CallingAETitle.Set {
		d.CallingAETitle = parsed(v, raw.CallingAETitle, parseAETitle)
	}
	d.Retry = v.retry(&raw.Retry)
	d.Calendar = v.calendar(raw.Calendar, raw.Rate)
	return d
}

// calendar joins the periods and the rate that holds outside all of them.
func (v *validator) calendar(periods []value, rate value) forwarder.Calendar {
	var lines []string
	for _, p := range periods {
		if _, err := forwarder.ParseCalendar([]string{p.Text}); err != nil {
			v.fail(p.at, "%v", err)
			return forwarder.Calendar{}
		}
		lines = append(lines, p.Text)
	}
	if _, err := forwarder.ParseRate(rate.Text); err != nil {
		v.fail(rate.at, "%v", err)
		return forwarder.Calendar{}
	}
	calendar, err := forwarder.ParseCalendar(append(lines, rate.Text))
	if err != nil {
		v.fail(rate.at, "%v", err)
	}
	return calendar
}

func (v *validator) retry(raw *rawRetry) Retry {
	r := Retry{
		Initial:  v.duration(raw.Initial, 100*time.Millisecond, time.Hour),
		Max:      v.duration(raw.Max, 100*time.Millisecond, 24*time.Hour),
		Attempts: v.whole(raw.Attempts, 1, 1_000_000),
	}
	if r.Max < r.Initial {
		v.fail(raw.Max.at, "%s is shorter than initial (%s)", raw.Max.Text, raw.Initial.Text)
	}
	return r
}

func (v *validator) clientTimeouts(raw *rawClientTimeouts) ClientTimeouts {
	return ClientTimeouts{
		Association: v.duration(raw.Association, time.Second, time.Hour),
		DIMSE:       v.duration(raw.DIMSE, time.Second, 24*time.Hour),
		Write:       v.duration(raw.Write, time.Second, time.Hour),
	}
}

func (v *validator) clientTLS(raw *rawClientTLS) ClientTLS {
	t := ClientTLS{
		Enabled:    v.truth(raw.Enabled),
		CA:         v.text(raw.CA, 4096),
		Cert:       v.text(raw.Cert, 4096),
		ServerName: v.text(raw.ServerName, 255),
	}
	if raw.Key.Set {
		t.Key = v.keyFile(raw.Key)
	}
	if (t.Cert == "") != (t.Key == Secret{}) {
		v.fail(raw.at, "cert and key are needed together")
	}
	if !t.Enabled && (t.CA != "" || t.Cert != "" || t.ServerName != "") {
		v.fail(raw.at, "is configured but not enabled; add enabled: true")
	}
	return t
}

func (v *validator) log(raw *rawLog) Log {
	var l Log
	if err := l.Level.UnmarshalText([]byte(raw.Level.Text)); err != nil {
		v.fail(raw.Level.at, "%q is not one of debug, info, warn, error", raw.Level.Text)
	}
	l.Format = oneOf(v, raw.Format, "text", "json")
	return l
}

// unspecified reports whether a listener is bound to every interface, which is
// a decision worth a line in the log.
func unspecified(listen string) bool {
	ap, err := netip.ParseAddrPort(listen)
	return err == nil && ap.Addr().IsUnspecified()
}
