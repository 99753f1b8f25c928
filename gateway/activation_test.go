package gateway

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"dcmgate/systemd"
)

// passed makes sockets as systemd would pass them.
func passed(t *testing.T, names ...string) (*systemd.Sockets, map[string]string) {
	t.Helper()
	byName, addresses := make(map[string]net.Listener), make(map[string]string)
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		byName[name], addresses[name] = l, l.Addr().String()
	}
	return systemd.NewSockets(byName), addresses
}

// passedConfig takes three of its listeners from systemd.
const passedConfig = "dicom: {listen: systemd, accept: any}\nhttp: {listen: systemd}\npublic: {listen: systemd}\nretrieve: {signature: none}\n"

func TestListensOnPassedSockets(t *testing.T) {
	cfg := configure(t, passedConfig)
	sockets, addresses := passed(t, "dicom", "http", "public")
	g := runWith(t, cfg, Options{Sockets: sockets})
	want := Listeners{DICOM: addresses["dicom"], HTTP: addresses["http"], Public: addresses["public"]}
	if got := g.Listeners(); got != want {
		t.Errorf("listens on %+v, want %+v", got, want)
	}
	resp, err := http.Get("http://" + addresses["http"] + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if left := sockets.Left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPassedSocketsHaveToFitTheConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		config, want string
		sockets      []string
	}{
		"missing":  {"dicom: {listen: systemd}\nhttp: {listen: \"off\"}\n", "dicom.listen: systemd has passed no socket named dicom; enable", nil},
		"not used": {"dicom: {listen: 127.0.0.1:0}\nhttp: {listen: \"off\"}\n", "a socket named dicom-tls, which is not used; set dicom.tls.listen: systemd, or disable", []string{"dicom-tls"}},
		"unknown":  {"dicom: {listen: systemd}\nhttp: {listen: \"off\"}\n", "a socket named dcmgate.socket; sockets named", []string{"dcmgate.socket", "dicom"}},
	} {
		t.Run(name, func(t *testing.T) {
			sockets, _ := passed(t, c.sockets...)
			g, err := New(configure(t, c.config), Options{Sockets: sockets})
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
