package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/gateway"
	"dcmgate/internal/machine"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
)

// entity is an application entity that knows its own AE title and one caller.
type entity struct {
	title, caller string
	refuses       map[dicom.UID]bool // SOP classes
}

func (a entity) Associate(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	if pdu.TrimAETitle(rq.RQ.CalledAETitle) != a.title {
		return nil, dimse.RejectCalledAETitle("")
	}
	if pdu.TrimAETitle(rq.RQ.CallingAETitle) != a.caller {
		return nil, dimse.RejectCallingAETitle("")
	}
	results := dimse.Negotiate(rq.RQ, func(class dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
		if a.refuses[class] || offered[0].Encapsulated() && offered[0] != dicom.JPEGLosslessSV1 {
			return "", pdu.ContextAbstractSyntaxNotSupported
		}
		return offered[0], pdu.ContextAccepted
	})
	return &dimse.Acceptance{Results: results, Service: dimse.Mux{dimse.CEchoRQ: dimse.Echo()}}, nil
}

// serve returns the address of an entity, over TLS if secure is not nil.
func serve(t *testing.T, a entity, secure *tls.Config) string {
	t.Helper()
	s, err := dimse.NewServer(a, dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l := listen(t)
	go func() {
		if secure != nil {
			_ = s.ServeTLS(l, secure)
		} else {
			_ = s.Serve(l)
		}
	}()
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// certified is a certificate with its files.
type certified struct {
	certFile, keyFile string
	pair              tls.Certificate
}

// certify makes a self-signed certificate for 127.0.0.1, changed as wanted.
func certify(t *testing.T, change func(*x509.Certificate)) certified {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "archive.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := certified{filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem"), tls.Certificate{}}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for file, data := range map[string][]byte{c.certFile: certPEM, c.keyFile: keyPEM} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c.pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return c
}

var classes = []dicom.UID{dicom.CTImageStorage, dicom.MRImageStorage, dicom.UltrasoundImageStorage, dicom.SecondaryCaptureImageStorage, dicom.ComputedRadiographyImageStorage}

// examine examines what a configuration names, and returns it by name.
func examine(t *testing.T, timeout time.Duration, text string, names ...string) map[string]*Examined {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	cfg, err := gateway.Parse("test", fmt.Appendf(nil, "data_dir: %q\nhttp: {listen: \"127.0.0.1:0\"}\ndicom: {listen: \"127.0.0.1:0\"}\ninstitution: {code: \"12511000000000000X\", name: x}\n%s", data, text))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*Examined{}
	err = Examine(t.Context(), cfg, Options{Names: names, Timeout: timeout, StorageClasses: classes, Compressed: []dicom.UID{dicom.JPEGLosslessSV1, dicom.RLELossless}}, func(e *Examined) {
		found[e.Name] = e
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// has says whether a finding of a check holds some words and, in its words or advice, others.
func has(e *Examined, check string, outcome Outcome, words ...string) bool {
	for _, f := range e.Findings {
		all := f.Check == check && f.Outcome == outcome
		for _, w := range words {
			all = all && strings.Contains(f.Words+" → "+f.Advice, w)
		}
		if all {
			return true
		}
	}
	return false
}

func TestApplicationEntities(t *testing.T) {
	good := entity{title: "CLOUD", caller: "DCMGATE"}
	sound := certify(t, nil)
	expired := certify(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	ending := certify(t, func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(0, 0, 3) })
	early := certify(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	elsewhere := certify(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} })
	over := func(c certified) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c.pair}} }
	mutual := over(sound)
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	mutual.ClientCAs.AddCert(sound.pair.Leaf)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	silent := listen(t) // accepts by its backlog, and says nothing
	trust := func(c certified) string { return fmt.Sprintf("tls: {enabled: true, ca: %q}", c.certFile) }
	for _, c := range []struct {
		name, address, keys string
		check               string
		outcome             Outcome
		words               []string
	}{
		{"works", serve(t, good, nil), "ae_title: CLOUD", "echo", OK, nil},
		{"association", serve(t, good, nil), "ae_title: CLOUD", "associate", OK, []string{"DCMGATE to CLOUD", "DCMGATE_", "window 1"}},
		{"compression", serve(t, good, nil), "ae_title: CLOUD", "contexts", Note, []string{"accepts JPEG Lossless", "not RLE Lossless", "convert: true"}},
		{"converted", serve(t, good, nil), "ae_title: CLOUD, convert: true", "contexts", Note, []string{"converted where that is possible"}},
		{"classes", serve(t, entity{"CLOUD", "DCMGATE", map[dicom.UID]bool{dicom.MRImageStorage: true}}, nil), "ae_title: CLOUD", "contexts", Note, []string{"4 of 5", "not MR Image Storage"}},
		{"no storage", serve(t, entity{"CLOUD", "DCMGATE", map[dicom.UID]bool{classes[0]: true, classes[1]: true, classes[2]: true, classes[3]: true, classes[4]: true}}, nil), "ae_title: CLOUD", "contexts", Problem, []string{"no storage SOP class"}},
		{"no echo", serve(t, entity{"CLOUD", "DCMGATE", map[dicom.UID]bool{dicom.VerificationSOPClass: true}}, nil), "ae_title: CLOUD", "echo", Note, []string{"Verification"}},
		{"commitment", serve(t, entity{"CLOUD", "DCMGATE", map[dicom.UID]bool{dicom.StorageCommitmentPushModelSOPClass: true}}, nil), "ae_title: CLOUD, commitment: {enabled: true}", "contexts", Problem, []string{"Storage Commitment Push Model", "DCMGATE"}},
		{"case of called", serve(t, good, nil), "ae_title: cloud", "associate", Problem, []string{`"cloud", but to "CLOUD"`, "ae_title: CLOUD"}},
		{"space in called", serve(t, entity{title: "THE_CLOUD", caller: "DCMGATE"}, nil), "ae_title: THE CLOUD", "associate", Problem, []string{`"THE CLOUD", but to "THE_CLOUD"`}},
		{"case of calling", serve(t, entity{title: "CLOUD", caller: "dcmgate"}, nil), "ae_title: CLOUD", "associate", Problem, []string{`"DCMGATE", but "dcmgate"`, "entered there"}},
		{"unknown called", serve(t, good, nil), "ae_title: OTHER", "associate", Problem, []string{`calling "DCMGATE", called "OTHER"`, "check the called AE title"}},
		{"unknown calling", serve(t, entity{title: "CLOUD", caller: "OTHER"}, nil), "ae_title: CLOUD", "associate", Problem, []string{"does not know our calling AE title"}},
		{"nothing listens", peertest.Address(t), "ae_title: CLOUD", "connect", Problem, []string{"nothing listens", "check address and port"}},
		{"no such name", "nowhere.invalid:104", "ae_title: CLOUD", "resolve", Problem, nil},
		{"web server", web.Listener.Addr().String(), "ae_title: CLOUD", "associate", Problem, []string{"a web server"}},
		{"silence", silent.Addr().String(), "ae_title: CLOUD", "associate", Problem, []string{"did not answer in time"}},
		{"TLS", serve(t, good, over(sound)), "ae_title: CLOUD, " + trust(sound), "tls", OK, []string{"TLS 1.3", "archive.example"}},
		{"association over TLS", serve(t, good, over(sound)), "ae_title: CLOUD, " + trust(sound), "echo", OK, nil},
		{"TLS there alone", serve(t, good, over(sound)), "ae_title: CLOUD", "associate", Problem, []string{"it speaks TLS at this port", "tls.enabled"}},
		{"TLS here alone", serve(t, good, nil), "ae_title: CLOUD, tls: {enabled: true}", "tls", Problem, []string{"DICOM without TLS"}},
		{"TLS to a web server", web.Listener.Addr().String(), "ae_title: CLOUD, tls: {enabled: true}", "tls", Problem, []string{"HTTP", "web server"}},
		{"expired", serve(t, good, over(expired)), "ae_title: CLOUD, " + trust(expired), "tls", Problem, []string{"expired on", "clock"}},
		{"not valid yet", serve(t, good, over(early)), "ae_title: CLOUD, " + trust(early), "tls", Problem, []string{"only from", "clocks"}},
		{"expires soon", serve(t, good, over(ending)), "ae_title: CLOUD, " + trust(ending), "tls", Warning, []string{"expires on"}},
		{"another name", serve(t, good, over(elsewhere)), "ae_title: CLOUD, " + trust(elsewhere), "tls", Problem, []string{"for other.example, and not for 127.0.0.1", "tls.server_name"}},
		{"name as told", serve(t, good, over(elsewhere)), fmt.Sprintf("ae_title: CLOUD, tls: {enabled: true, ca: %q, server_name: other.example}", elsewhere.certFile), "echo", OK, nil},
		{"unknown authority", serve(t, good, over(sound)), "ae_title: CLOUD, " + trust(elsewhere), "tls", Problem, []string{"issued by archive.example", "tls.ca"}},
		{"wants a certificate", serve(t, good, mutual), "ae_title: CLOUD, " + trust(sound), "tls", Warning, []string{"asks for a certificate", "tls.cert"}},
		{"and refuses", serve(t, good, mutual), "ae_title: CLOUD, " + trust(sound), "associate", Problem, []string{"asked for a certificate in vain"}},
		{"mutual", serve(t, good, mutual), fmt.Sprintf("ae_title: CLOUD, tls: {enabled: true, ca: %[1]q, cert: %[1]q, key: %[2]q}", sound.certFile, sound.keyFile), "echo", OK, nil},
		{"another certificate", serve(t, good, mutual), fmt.Sprintf("ae_title: CLOUD, tls: {enabled: true, ca: %q, cert: %q, key: %q}", sound.certFile, elsewhere.certFile, elsewhere.keyFile), "associate", Problem, []string{"may not accept the certificate"}},
		{"no such file", serve(t, good, over(sound)), "ae_title: CLOUD, tls: {enabled: true, ca: /nowhere.pem}", "config", Problem, []string{"/nowhere.pem"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			timeout := 20 * time.Second
			if c.name == "silence" || c.name == "web server" { // either says nothing before it is asked in its language
				timeout = time.Second
			}
			e := examine(t, timeout, fmt.Sprintf("destinations: [{name: there, address: %q, %s}]\n", c.address, c.keys), "there")["there"]
			if !has(e, c.check, c.outcome, c.words...) {
				t.Errorf("no %s at %s that says %q in %+v", c.outcome, c.check, c.words, e.Findings)
			}
			if worst := e.Worst(); c.outcome == Problem && worst != Problem || c.outcome == OK && rank(worst) > rank(Note) {
				t.Errorf("worst is %s in %+v", worst, e.Findings)
			}
		})
	}
}

func TestUpstreamsAndPeers(t *testing.T) {
	address := serve(t, entity{"PACS", "DCMGATE", map[dicom.UID]bool{dicom.StudyRootMoveSOPClass: true}}, nil)
	found := examine(t, 20*time.Second, fmt.Sprintf("upstreams: [{name: pacs, ae_title: PACS, address: %q}]\npeers: [{ae_title: PACS, address: %q}, {ae_title: CT1}]\n", address, address), "pacs", "PACS")
	if e := found["pacs"]; e.Kind != Upstream || !has(e, "contexts", OK, "FIND") || !has(e, "contexts", Problem, "MOVE") {
		t.Errorf("upstream: %+v", e)
	}
	if e := found["PACS"]; e.Kind != Peer || !has(e, "contexts", OK, "5 usual storage") || !has(e, "echo", OK) {
		t.Errorf("peer: %+v", e)
	}
}

func TestTheMachine(t *testing.T) {
	taken := listen(t)
	found := examine(t, time.Second, fmt.Sprintf("public: {listen: %q}\nspool: {min_free: 900TB}\n", taken.Addr()))
	e := found[""]
	if e.Kind != Machine || !has(e, "config", OK, "test is valid") || !has(e, "disk", Note, "not there yet") || !has(e, "gateway", Note, "no gateway runs") {
		t.Errorf("%+v", e)
	}
	if !has(e, "ports", Problem, "public.listen", "ss -ltnp") || e.Worst() != Problem {
		t.Errorf("%+v", e)
	}
	if e := found["local"]; e == nil || e.Kind != Database || !has(e, "connect", Note, "not there yet") {
		t.Errorf("database: %+v", e)
	}

	dir := t.TempDir()
	x := &examiner{cfg: gateway.Config{DataDir: dir, Spool: gateway.Spool{MinFree: 900 << 40}}}
	e = &Examined{}
	if x.dataFolder(e); !has(e, "disk", Problem, "less than spool.min_free", "make room") {
		t.Errorf("%+v", e)
	}
	e, x.cfg.Spool.MinFree = &Examined{}, 1
	if x.dataFolder(e); !has(e, "disk", OK, "free") || !has(e, "disk", OK, "durable write") && !has(e, "disk", Warning, "durable write") {
		t.Errorf("%+v", e)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	foreign := filepath.Join(dir, "index", "000001.vlog")
	if err := os.MkdirAll(filepath.Dir(foreign), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e = &Examined{}
	if x.dataFolder(e); e.Worst() == Problem {
		t.Errorf("owned by one user: %+v", e)
	}
	if err := os.Chown(foreign, 12345, 12345); err == nil { // only root can
		e = &Examined{}
		if x.dataFolder(e); !has(e, "disk", Problem, foreign+" belongs to 12345", "chown -R") {
			t.Errorf("%+v", e)
		}
	}
	for _, path := range []string{foreign, filepath.Join(foreign, "below")} {
		cfg, err := gateway.Parse("test", fmt.Appendf(nil, "data_dir: %q\ninstitution: {code: \"12511000000000000X\", name: x}\n", path))
		if err != nil {
			t.Fatal(err)
		}
		misplaced, e := &examiner{cfg: cfg}, &Examined{}
		misplaced.configuration(e)
		misplaced.dataFolder(e)
		if len(e.Findings) != 1 || !has(e, "config", Problem, foreign+" is a file, not a folder; move it away, or set data_dir to another path") {
			t.Errorf("%s is to be named once: %+v", path, e)
		}
	}
	e = &Examined{}
	if unreadIndex(e, &fs.PathError{Op: "open", Path: "MANIFEST", Err: syscall.EACCES}, false); e.Worst() == Problem || !has(e, "disk", Note, "not looked at: permission denied", "as the owner") {
		t.Errorf("%+v", e)
	}
	e = &Examined{}
	if unreadIndex(e, &fs.PathError{Op: "open", Path: "MANIFEST", Err: syscall.EACCES}, true); !has(e, "disk", Problem, "permission denied") {
		t.Errorf("%+v", e)
	}
	e = &Examined{}
	if unreadIndex(e, &fs.PathError{Op: "read", Path: "MANIFEST", Err: syscall.EIO}, false); !has(e, "disk", Problem, "input/output error") {
		t.Errorf("%+v", e)
	}
	e = &Examined{}
	if doubt(e, &machine.FileSystem{Name: "nfs", Remote: true}); !has(e, "disk", Warning, "fsync", "local disk") {
		t.Errorf("%+v", e)
	}
	e = &Examined{}
	if doubt(e, &machine.FileSystem{Name: "ext4"}); len(e.Findings) > 0 {
		t.Errorf("%+v", e)
	}
	x.cfg.DataDir = taken.Addr().String() + "\x00"
	e = &Examined{}
	if x.dataFolder(e); e.Worst() != Problem {
		t.Errorf("%+v", e)
	}
}

func TestARunningGateway(t *testing.T) {
	x := &examiner{status: &gateway.Status{
		Version: "1.2", Spool: gateway.SpoolStatus{Error: "input/output error", Pressure: "reject"},
		Reload: gateway.ReloadStatus{Error: "dcmgate.yaml:3:1: unknown key", NeedsRestart: []string{"data_dir"}},
		Destinations: []gateway.DestinationStatus{
			{Name: "old", Pending: 3}, {Name: "cloud", Configured: true, State: "not working", Parked: 2, LastError: "nothing listens", LastErrorCount: 4},
			{Name: "backup", Configured: true, State: "idle", Parked: 1}, {Name: "third", Configured: true, State: "sending"},
		},
		Incidents: []gateway.Incident{
			{Kind: gateway.IncidentExpiry, Subject: "dicom", What: "gateway certificate"},
			{Kind: gateway.IncidentExpiry, Subject: "CT1 10.0.0.1", What: "it expires", At: time.Unix(1, 0)},
			{Kind: gateway.IncidentRejected, Subject: "CT2 10.0.0.1", What: "unknown", At: time.Unix(1, 0)},
		},
	}}
	e := &Examined{}
	x.gateway(e, x.status)
	for _, want := range []struct {
		outcome Outcome
		words   string
	}{{OK, "version 1.2"}, {Problem, "input/output error"}, {Warning, "pressure reject"}, {Warning, "dcmgate.yaml:3:1"}, {Warning, "data_dir waits"}, {Warning, "3 instances wait for the destination old"}, {Warning, "it expires"}} {
		if !has(e, "gateway", want.outcome, want.words) {
			t.Errorf("no %s %q in %+v", want.outcome, want.words, e.Findings)
		}
	}
	if has(e, "gateway", Warning, "gateway certificate") || has(e, "gateway", Warning, "CT2") {
		t.Errorf("told without need: %+v", e.Findings)
	}
	for name, want := range map[string]Finding{
		"cloud": {Outcome: Warning, Words: "nothing listens"}, "backup": {Outcome: Warning, Words: "1 are parked"}, "third": {Outcome: OK, Words: "sending"},
	} {
		e := &Examined{}
		if x.delivery(e, name); !has(e, "delivery", want.Outcome, want.Words) {
			t.Errorf("%s: %+v", name, e.Findings)
		}
	}
}

func TestTheCloud(t *testing.T) {
	answer := `{"code":"N0000","message":"ok","result":[]}`
	ahead := time.Duration(0)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		fmt.Fprint(w, answer)
	}))
	defer web.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("retrieve: {cloud: {url: %q, hospital_code: \"1\", access_key: k, access_secret: \"file:%s\"}}\n", web.URL, secret)
	if e := examine(t, 20*time.Second, text, "retrieve.cloud")["retrieve.cloud"]; e.Kind != Cloud || !has(e, "clock", OK) || !has(e, "request", OK) || e.Worst() != OK {
		t.Errorf("%+v", e)
	}
	answer, ahead = `{"code":"E0002","message":"签名不正确"}`, time.Hour
	if e := examine(t, 20*time.Second, text, "retrieve.cloud")["retrieve.cloud"]; !has(e, "clock", Warning, "ahead of this one") || !has(e, "request", Problem, "access_secret") {
		t.Errorf("%+v", e)
	}
	answer = `<html>`
	if e := examine(t, 20*time.Second, text, "retrieve.cloud")["retrieve.cloud"]; !has(e, "request", Problem, "path") {
		t.Errorf("%+v", e)
	}
}

func TestUnknownNamesAreRefused(t *testing.T) {
	err := Examine(t.Context(), gateway.Default(), Options{Names: []string{"nobody"}, Timeout: time.Second}, func(*Examined) { t.Error("examined") })
	if err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Error(err)
	}
	cfg, err := gateway.Parse("test", []byte("destinations: [{name: cloud, ae_title: A, address: \"1.2.3.4:104\"}]\npeers: [{ae_title: P, address: \"1.2.3.4:104\"}, {ae_title: Q}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if names := Names(&cfg); strings.Join(names, " ") != "cloud P local" {
		t.Errorf("names %q", names)
	}
}
