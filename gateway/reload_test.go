package gateway

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
	"dcmgate/systemd"
)

// configured is a running gateway with a configuration file that can be changed.
type configured struct {
	*running
	file string
	head string // what every configuration of it begins with
}

// runFile starts a gateway on a file: data and ports as configure chooses them,
// then more.
func runFile(t *testing.T, more string) *configured {
	t.Helper()
	dir := t.TempDir()
	c := &configured{file: filepath.Join(dir, "dcmgate.yaml"), head: fmt.Sprintf("data_dir: %q\nhttp: {listen: 127.0.0.1:0}\nviews: []\n", filepath.Join(dir, "data"))}
	c.write(t, more)
	cfg, err := Load(c.file)
	if err != nil {
		t.Fatal(err)
	}
	c.running = run(t, cfg)
	return c
}

const (
	smallSpool = "spool: {min_free: 64MiB, segment_size: 16MiB}\n"
	anyPort    = "dicom: {listen: 127.0.0.1:0, accept: any}\n"
)

// write replaces the configuration as an editor does.
func (c *configured) write(t *testing.T, more string) {
	t.Helper()
	if !strings.Contains(more, "spool:") {
		more += smallSpool
	}
	if !strings.Contains(more, "dicom:") {
		more += anyPort
	}
	aside := c.file + ".new"
	err := os.WriteFile(aside, []byte(c.head+more), 0o600)
	if err == nil {
		err = os.Rename(aside, c.file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// take writes a configuration and has it taken.
func (c *configured) take(t *testing.T, more string) Reloaded {
	t.Helper()
	c.write(t, more)
	done, err := c.Reload("test")
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// admits tells whether an association is admitted, and how C-STORE fares on it.
func (c *configured) admits(t *testing.T, calling string) bool {
	t.Helper()
	d := dimse.Dialer{LocalAETitle: calling}
	a, err := d.Dial(t.Context(), c.Listeners().DICOM, dimse.Proposal{CalledAETitle: "DCMGATE", Contexts: []pdu.PresentationContext{
		{ID: 1, AbstractSyntax: string(dicom.VerificationSOPClass), TransferSyntaxes: []string{string(implicit)}}}})
	if err != nil {
		return false
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	return true
}

func TestEveryKeyFollowsTheConfiguration(t *testing.T) {
	all := rawKeys(reflect.TypeFor[rawConfig](), "")
	var claimed []string
	for _, f := range followers {
		if (f.prepare == nil) == (f.keep == nil) {
			t.Errorf("%v: either prepare or keep", f.keys)
		}
		claimed = append(claimed, f.keys...)
	}
	for _, key := range all {
		stanza := slices.ContainsFunc(all, func(k string) bool { return strings.HasPrefix(k, key+".") })
		if !stanza && !isUnder(key, claimed) {
			t.Errorf("no follower in followers.go takes a change of %s", key)
		}
	}
	for _, key := range claimed {
		if !slices.Contains(all, key) {
			t.Errorf("a follower names %s, which is not a key", key)
		}
	}
}

// The head of the reference lists what needs a restart.
func TestReferenceSaysWhatNeedsARestart(t *testing.T) {
	_, list, ok := strings.Cut(Reference, "These keys need a restart:")
	list, _, end := strings.Cut(list, ".\n#\n")
	if !ok || !end {
		t.Fatal("reference.yaml has no list of keys that need a restart")
	}
	said := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(" #,\n", r) })
	want := restartKeys()
	slices.Sort(said)
	slices.Sort(want)
	if !slices.Equal(said, want) {
		t.Errorf("reference.yaml says that %v need a restart, the followers say %v", said, want)
	}
}

func TestDifference(t *testing.T) {
	const two = "peers: [{ae_title: A, from: [10.0.0.1]}, {ae_title: B}]\n"
	for _, row := range []struct {
		name, old, new string
		want           []string
	}{
		{"nothing", two, two, nil},
		{"comments and form", "dicom: {window: 4}\n", "# more\ndicom:\n  window: 4\n", nil},
		{"the default written out", "ae_title: X\n", "ae_title: X\nlog: {level: info}\n", nil},
		{"a value", "ae_title: X\n", "ae_title: Y\n", []string{"ae_title"}},
		{"several", "", "dicom: {window: 4, timeouts: {idle: 1m}}\n", []string{"dicom.window", "dicom.timeouts.idle"}},
		{"of a peer", two, "peers: [{ae_title: A, from: [10.0.0.2]}, {ae_title: B}]\n", []string{"peers[A].from"}},
		{"order of peers", two, "peers: [{ae_title: B}, {ae_title: A, from: [10.0.0.1]}]\n", []string{"peers in another order"}},
		{"one more, one less", two, "peers: [{ae_title: C}, {ae_title: B}]\n", []string{"peers[A] removed", "peers[C] added"}},
		{"two of one title", "peers: [{ae_title: A, from: [10.0.0.1]}, {ae_title: A, from: [10.0.0.2]}]\n",
			"peers: [{ae_title: A, from: [10.0.0.1]}, {ae_title: A, from: [10.0.0.3]}]\n", []string{"peers[A#1].from"}},
		{"no views, and the one by default", "", "views: []\n", []string{"views in another order"}},
	} {
		settingsOf := func(text string) *settings {
			cfg, err := Parse("", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			return &settings{Config: cfg}
		}
		if got := difference(settingsOf(row.old), settingsOf(row.new)).words(); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	c := runFile(t, "dicom: {listen: 127.0.0.1:0}\npeers: [{ae_title: CT1}]\n")
	if !c.admits(t, "CT1") || c.admits(t, "CT2") {
		t.Fatal("not as configured")
	}
	done := c.take(t, "dicom: {listen: 127.0.0.1:0}\npeers: [{ae_title: CT2}]\n")
	if want := []string{"peers[CT1] removed", "peers[CT2] added"}; !slices.Equal(done.Changed, want) {
		t.Errorf("changed %q, want %q", done.Changed, want)
	}
	if c.admits(t, "CT1") || !c.admits(t, "CT2") {
		t.Error("the peers are those of before")
	}
	for _, bad := range []struct{ text, want string }{
		{"peers: [{ae_title: CT1}]\ndicom: {windows: 3}\n", "dcmgate.yaml:5:9: dicom.windows: unknown key; did you mean window?"},
		{"peers: [{ae_title: CT1}\n", "dcmgate.yaml:"},
		{"peers: [{ae_title: CT1, address: '127.0.0.1:1', tls: {enabled: true, ca: /nonexistent.pem}}]\n",
			"dcmgate.yaml:4:70: peers[0].tls.ca: /nonexistent.pem is not there; put it there or name another"},
	} {
		c.write(t, bad.text)
		if _, err := c.Reload("test"); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %s", bad.text, err, bad.want)
		}
		if s := c.Status().Reload; !strings.Contains(s.Error, bad.want) || s.At.Before(s.Taken) {
			t.Errorf("%s: status %+v", bad.text, s)
		}
		if testutil.ToFloat64(c.reloads.valid) != 0 {
			t.Errorf("%s: dcmgate_config_valid is 1", bad.text)
		}
		if c.admits(t, "CT1") || !c.admits(t, "CT2") {
			t.Errorf("%s: changed something", bad.text)
		}
	}
	for _, nothing := range []string{"", "# dicom:\n"} {
		if err := os.WriteFile(c.file, []byte(nothing), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Reload("test"); err == nil || !strings.Contains(err.Error(), "dcmgate.yaml:1:1: holds no keys") {
			t.Errorf("%q: %v", nothing, err)
		}
	}
	done = c.take(t, "dicom: {listen: 127.0.0.1:0}\npeers: [{ae_title: CT2}]\n")
	if len(done.Changed) != 0 || c.Status().Reload.Error != "" || testutil.ToFloat64(c.reloads.valid) != 1 {
		t.Errorf("%+v, status %+v", done, c.Status().Reload)
	}
}

func TestReloadTellsWhatNeedsARestart(t *testing.T) {
	c := runFile(t, "")
	before := c.Status().DataDir
	done := c.take(t, "spool: {min_free: 64MiB, segment_size: 32MiB}\nlog: {level: warn}\n")
	if want := []string{"spool.segment_size"}; !slices.Equal(done.NeedsRestart, want) || !slices.Equal(done.Changed, []string{"log.level"}) {
		t.Errorf("%+v", done)
	}
	c.head = strings.Replace(c.head, "data_dir: \"", "data_dir: \"/elsewhere", 1)
	if done = c.take(t, ""); !slices.Equal(done.NeedsRestart, []string{"data_dir"}) || c.Status().DataDir != before {
		t.Errorf("%+v, data directory %s", done, c.Status().DataDir)
	}
	if s := c.Status().Reload; !slices.Equal(s.NeedsRestart, []string{"data_dir"}) {
		t.Errorf("status %+v", s)
	}
	c.head = strings.Replace(c.head, "/elsewhere", "", 1)
	if done = c.take(t, ""); len(done.NeedsRestart) != 0 {
		t.Errorf("%+v", done)
	}
}

func TestSecretsOfEverybodyAreRefused(t *testing.T) {
	cert, key, _ := peertest.Certificate(t)
	text := fmt.Sprintf("peers: [{ae_title: A, address: '127.0.0.1:1', tls: {enabled: true, ca: %q, cert: %q, key: %q}}]\n", cert, cert, key)
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o644: false, 0o602: false} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		cfg, err := Parse("f.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(cfg, Options{})
		if good != (err == nil) || err != nil && !(strings.HasPrefix(err.Error(), "f.yaml:1:") && strings.Contains(err.Error(), "chmod o-rwx "+key)) {
			t.Errorf("%v: %v", mode, err)
		}
		if notes, err := cfg.CheckFiles(); good != (err == nil) || len(notes) > 0 {
			t.Errorf("%v: check %v, %v", mode, notes, err)
		}
	}
}

// The files are watched: the configuration's own, and those that it names.
func TestChangedFilesAreNoticed(t *testing.T) {
	cert, key, _ := peertest.Certificate(t)
	text := fmt.Sprintf("peers: [{ae_title: CT1, address: '127.0.0.1:1', tls: {enabled: true, cert: %q, key: %q}}]\ndicom: {listen: 127.0.0.1:0}\n", cert, key)
	c := runFile(t, text)
	result := func(of string) func() bool {
		before := testutil.ToFloat64(c.reloads.results[of])
		return func() bool { return testutil.ToFloat64(c.reloads.results[of]) > before }
	}
	taken := result(reloadTaken)
	c.write(t, text+"ae_title: OTHER\n")
	eventually(t, "a reload after the file was replaced", taken)
	failed := result(reloadFailed)
	if err := os.WriteFile(key, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a failed reload after the key was damaged", failed)
	if s := c.Status().Reload; !strings.Contains(s.Error, "peers[0].tls.cert") {
		t.Errorf("status %+v", s)
	}
	taken = result(reloadTaken)
	newCert, newKey, _ := peertest.Certificate(t)
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a reload after certificate and key were renewed", taken)
}

// storing stores test instances over an association: its function takes their numbers.
func storing(t *testing.T, association *dimse.Association) func(i int) {
	return func(i int) {
		t.Helper()
		uid, data := image(i)
		r, err := association.Store(t.Context(), dimse.StoreRequest{ContextID: 1, SOPClassUID: ctImageStorage, SOPInstanceUID: uid, Data: bytes.NewReader(data), Size: int64(len(data))})
		if err != nil || r.Status != dimse.StatusSuccess {
			t.Fatalf("instance %d: %v, %v", i, r.Status, err)
		}
	}
}

// An open association delivers to whoever is a destination when an instance is
// committed.
func TestDestinationsAreAddedAndTakenAway(t *testing.T) {
	a, b := newSink(t), newSink(t)
	to := func(name string, s *sink, more string) string {
		return fmt.Sprintf("  - {name: %s, ae_title: SINK, address: %q, linger: 0, %s}\n", name, s.address, more)
	}
	c := runFile(t, "destinations:\n"+to("a", a, ""))
	association, err := dialReceiver(t, c.Listeners().DICOM, ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	send := storing(t, association)
	held := func(s *sink, n int) func() bool {
		return func() bool { got, _ := s.received(); return got == n }
	}
	send(0)
	eventually(t, "delivery to a", held(a, 1))
	done := c.take(t, "destinations:\n"+to("a", a, "window: 3")+to("b", b, ""))
	if want := []string{"destinations[a].window", "destinations[b] added"}; !slices.Equal(done.Changed, want) {
		t.Errorf("changed %q", done.Changed)
	}
	send(1)
	eventually(t, "delivery to a", held(a, 2))
	eventually(t, "delivery to b", held(b, 1))
	c.take(t, "destinations:\n"+to("b", b, "rate: paused"))
	send(2)
	if s := c.Status().Destinations; len(s) != 1 && (len(s) != 2 || s[1].Name != "a" || s[1].Configured) || s[0].Name != "b" {
		t.Errorf("status %+v", s)
	}
	c.take(t, "destinations:\n"+to("a", a, "")+to("b", b, ""))
	eventually(t, "delivery to b", held(b, 2))
	if !held(a, 2)() {
		t.Error("delivered to a destination that was none")
	}
	if err := association.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// What awaits commitment is held back, or not, as the setting in force says.
func TestEvictAfterFollowsTheConfiguration(t *testing.T) {
	k := newKeeper(t)
	rule := func(after string) string {
		return fmt.Sprintf("spool: {min_free: 64MiB, segment_size: 16MiB, evict_after: %s}\n", after) +
			fmt.Sprintf("destinations: [{name: cloud, ae_title: CLOUD, address: %q, linger: 0, commitment: {enabled: true}}]\n", k.address)
	}
	c := runFile(t, rule("committed"))
	sendImages(t, c.Listeners().DICOM, 0, 2)
	eventually(t, "delivery", func() bool { return c.parts().spool.Counts()["cloud"].Awaiting == 2 })
	evictable := func() bool { return c.parts().spool.Stats().EvictableBytes > 0 }
	if evictable() {
		t.Error("what awaits commitment may be evicted")
	}
	done := c.take(t, rule("delivered"))
	if !slices.Equal(done.Changed, []string{"spool.evict_after"}) || len(done.NeedsRestart) > 0 {
		t.Errorf("%+v", done)
	}
	eventually(t, "what was delivered may be evicted", evictable)
	c.take(t, rule("committed"))
	eventually(t, "what awaits commitment is held back", func() bool { return !evictable() })
}

// The trail goes on in another folder, ends and begins again while an association stays on.
func TestAuditFollowsTheConfiguration(t *testing.T) {
	c := runFile(t, "audit: {patient_id: none}\n")
	first, other := c.settings().AuditDirectory(), filepath.Join(t.TempDir(), "other")
	association, err := dialReceiver(t, c.Listeners().DICOM, ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	send := func() {
		t.Helper()
		uid, data := image(sent)
		sent++
		r, err := association.Store(t.Context(), dimse.StoreRequest{ContextID: 1, SOPClassUID: ctImageStorage, SOPInstanceUID: uid, Data: bytes.NewReader(data), Size: int64(len(data))})
		if err != nil || r.Status != dimse.StatusSuccess {
			t.Fatalf("%v, %v", r.Status, err)
		}
	}
	send()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.write(t, fmt.Sprintf("ae_title: OTHER\naudit: {directory: %q}\n", file))
	if _, err := c.Reload("test"); err == nil || !strings.Contains(err.Error(), "dcmgate.yaml:5:9: audit.directory: ") || c.Status().AETitle != "DCMGATE" {
		t.Errorf("%v, %s", err, c.Status().AETitle)
	}
	for _, more := range []string{
		fmt.Sprintf("audit: {directory: %q, patient_id: plain, keep: 7d}\nae_title: OTHER\n", other),
		"audit: {enabled: false}\n",
		"audit: {enabled: true}\n",
		"audit: {enabled: true, file_size: 1MiB, max_size: 8MiB, sync: 0}\n",
	} {
		if done := c.take(t, more); len(done.NeedsRestart) > 0 {
			t.Errorf("%s: %+v", more, done)
		}
		send()
	}
	if err := association.Release(t.Context()); err != nil {
		t.Error(err)
	}
	c.stop(t)
	trail := auditTrail(t, first)
	for _, want := range []string{
		"Software Configuration: configuration not taken (test): ",
		"Audit Recording Stopped: the audit trail goes on in " + other,
		"Audit Recording Started: audit.enabled is true from now on",
		"Software Configuration: configuration taken (test): audit.file_size, audit.max_size, audit.sync",
		"Detach: association ",
	} {
		if !strings.Contains(trail, want) {
			t.Errorf("%q is not in\n%s", want, trail)
		}
	}
	trail = auditTrail(t, other)
	for _, want := range []string{
		"Audit Recording Started: the audit trail was in " + first + " before",
		"Software Configuration: configuration taken (test): ae_title, audit.directory, audit.patient_id, audit.keep",
		"Audit Recording Stopped: audit.enabled is false from now on",
	} {
		if !strings.Contains(trail, want) {
			t.Errorf("%q is not in\n%s", want, trail)
		}
	}
}

// TestStopWhileAReloadIsAskedFor: the process is told to stop while a reload is under way, and to reload again before that is
// over. It stops.
func TestStopWhileAReloadIsAskedFor(t *testing.T) {
	file := runFile(t, "")
	file.stop(t)
	cfg, err := Load(file.file)
	if err != nil {
		t.Fatal(err)
	}
	hangups := make(chan os.Signal)
	g := runWith(t, cfg, Options{Version: "test", Notifier: systemd.NewNotifier(), Hangups: hangups})
	g.reloading.Lock()
	g.cancel()
	time.Sleep(50 * time.Millisecond) // for the stop to be the first to wait; if it is not, there is nothing to see
	hangups <- syscall.SIGHUP
	g.reloading.Unlock()
	select {
	case err := <-g.ended:
		if g.ended = nil; err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		g.ended = nil
		t.Fatal("a stop waits for a reload that waits for the stop")
	}
}
