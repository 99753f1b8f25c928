package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// TestConfigurationChanges changes the configuration 200 times, every third time to one that must not be taken, while eight
// associations send and a destination takes: no association ends but by its release, and every instance arrives once. The
// address that the associations came by is left and comes again, and goes over to TLS and back.
func TestConfigurationChanges(t *testing.T) {
	const changes = 200
	cloud, address := startArchive(t, archive.Options{Window: 8})
	cert, key, _ := peertest.Certificate(t)
	g := newGate(t, "")
	secure, second := peertest.Address(t), peertest.Address(t)
	file, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	// Where it listens, plain and with TLS.
	listens := func(i int) [2]string {
		return [][2]string{{g.address, secure}, {second, secure}, {second, g.address}, {second, "off"}, {secure, g.address}}[i%10/2]
	}
	valid := func(i int) string {
		at := listens(i)
		base := strings.Replace(string(file), fmt.Sprintf("dicom: {listen: %q, accept: any}", g.address), fmt.Sprintf(
			"dicom: {listen: %q, accept: any, tls: {listen: %q, cert: %q, key: %q}}", at[0], at[1], cert, key), 1)
		return fmt.Sprintf("%sdestinations:\n  - {name: cloud, ae_title: CLOUD, address: %q, associations: %d, window: %d, batch: %d, linger: %dms, rate: %s}\n"+
			"peers: [{ae_title: CT%d}]\nlog: {level: %s}\nspool: {min_free: %dMiB}\nshutdown_timeout: %ds\nviews: []\n",
			base, address, 1+i%4, 1+i%8, 50+i, i%3*100, []string{"unlimited", "100MB/s"}[i%2], i, []string{"warn", "error"}[i/2%2], 64+i%2, 20+i%5)
	}
	invalid := func(i int) string {
		text := valid(i)
		return []string{
			"", "# nothing\n",
			text[:len(text)/2+10] + ": [", // half written
			strings.Replace(text, "window:", "windows:", 1),
			strings.Replace(text, fmt.Sprintf("listen: %q", listens(i)[0]), fmt.Sprintf("listen: %q", address), 1), // which is in use
			text + "retrieve: {clients: [{access_key: k, access_secret: 'file:/nonexistent'}]}\n",
		}[i/3%6]
	}
	write := func(i int, text string) {
		err := os.WriteFile(g.config, []byte(text), 0o600) // in place
		if i%2 == 0 {
			aside := g.config + "~"
			err = errors.Join(os.WriteFile(aside, []byte(text), 0o600), os.Rename(aside, g.config))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(0, valid(0))
	g.start(t)

	var over atomic.Bool
	s := newSender(g.address, 30<<10, 1_000_000)
	s.Once, s.More = true, func() bool { return !over.Load() }
	sent := make(chan error, 1)
	go func() { sent <- s.Run(t.Context(), 8) }()
	peertest.Eventually(t, time.Minute, "eight associations", func() bool { return g.metric(t, "dcmgate_associations", `direction="in"`) == 8 })
	control := []string{"--data-dir", g.data}
	last := listens(0)
	for i := 1; i <= changes; i++ {
		good := i%3 != 0
		if good {
			write(i, valid(i))
		} else {
			write(i, invalid(i))
		}
		out, status := peertest.Run(t, nil, binary, append([]string{"reload"}, control...)...)
		if good != (status == 0) || !good && !strings.Contains(out, "nothing has changed") {
			t.Fatalf("change %d: exit status %d\n%s", i, status, out)
		}
		if good {
			last = listens(i)
		}
		if i%20 < 4 {
			listening(t, last, g.address, secure, second)
		}
		if i%50 == 0 {
			take := func() {
				write(i, valid(i))
				if out, status := peertest.Run(t, nil, binary, append([]string{"reload"}, control...)...); status != 0 {
					t.Errorf("certificate: exit status %d\n%s", status, out)
				}
			}
			take()
			last = listens(i)
			rotate(t, last[1], cert, key, take)
		}
	}
	over.Store(true)
	if err := <-sent; err != nil {
		t.Fatalf("an association did not end in order: %v", err)
	}
	if n := s.Associations(); n != 8 {
		t.Errorf("%d associations were needed; 8 were begun", n)
	}
	peertest.Eventually(t, 2*time.Minute, "everything at the destination", func() bool { return missing(t, s, cloud) == 0 })
	arrived := 0
	cloud.Walk(func(uid dicom.UID, e archive.Entry) {
		if arrived++; e.Answered+e.Unsure != 1 {
			t.Errorf("%s was delivered %d times", uid, e.Answered+e.Unsure)
		}
	})
	if arrived != s.Acked() {
		t.Errorf("%d instances arrived, %d were acknowledged", arrived, s.Acked())
	}
	if n := g.metric(t, "dcmgate_config_reloads_total", `result="failed"`); n < changes/3 {
		t.Errorf("%v reloads failed", n)
	}
	if n := g.metric(t, "dcmgate_jobs", `state="parked"`); n != 0 {
		t.Errorf("%v jobs are parked", n)
	}
	t.Logf("%d instances over 8 associations through %d changes, delivered over %d associations", s.Acked(), changes, cloud.Counts().Associations)
}

// listening wants connections accepted at the addresses in force, and at no other of those that were or will be.
func listening(t *testing.T, now [2]string, all ...string) {
	t.Helper()
	for _, address := range all {
		if err := echo(t, "127.0.0.1", address); (err == nil) != (address == now[0]) {
			t.Errorf("%s without TLS, while it listens at %v: %v", address, now, err)
		}
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if (err == nil) != (address == now[1]) {
			t.Errorf("%s over TLS, while it listens at %v: %v", address, now, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// rotate replaces a certificate and its key, and wants it to be shown once it is taken.
func rotate(t *testing.T, address, cert, key string, take func()) {
	t.Helper()
	shown := func() []byte {
		c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	before := shown()
	newCert, newKey, _ := peertest.Certificate(t)
	for from, to := range map[string]string{newCert: cert, newKey: key} {
		data, err := os.ReadFile(from)
		aside := filepath.Join(filepath.Dir(to), "aside")
		if err = errors.Join(err, os.WriteFile(aside, data, 0o600), os.Rename(aside, to)); err != nil {
			t.Fatal(err)
		}
	}
	take()
	if bytes.Equal(shown(), before) {
		t.Error("the certificate is the one of before")
	}
}
