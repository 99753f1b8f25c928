package gateway

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/cloud"
	"dcmgate/internal/peertest"
)

const publicClients = "institution: {platform_code: '05871212', name: 内江}\nretrieve: {clients: [{access_key: k, access_secret: s}]}\n"

// retrieveList asks a gateway's public listener for the images of sendImages.
func retrieveList(t *testing.T, client *http.Client, base string) cloud.Answer {
	t.Helper()
	signer, err := cloud.NewSigner(cloud.RuleMD5, cloud.Key{AccessKey: "k", AccessSecret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	signature := signer.Sign([]cloud.Parameter{{Name: "HospitalCode", Value: "05871212"}, {Name: "StudyInstanceUID", Value: "1.2.3.4"}})
	resp, err := client.Get(base + cloud.RetrievePath + "?HospitalCode=05871212&StudyInstanceUID=1.2.3.4&Signature=" + signature)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a cloud.Answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

// download gets the first image of a list.
func download(t *testing.T, client *http.Client, a cloud.Answer) {
	t.Helper()
	if a.Code != cloud.CodeOK || len(a.Result) != 3 || a.Result[0].HospitalName != "内江" {
		t.Fatalf("%+v", a)
	}
	resp, err := client.Get(a.Result[0].DownloadURL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || len(data) < 128 || string(data[128:132]) != "DICM" {
		t.Errorf("%v, %d bytes, %v", resp.Status, len(data), err)
	}
}

func TestPublicListener(t *testing.T) {
	g := run(t, configure(t, "public: {listen: 127.0.0.1:0}\n"+publicClients))
	sendImages(t, g.Listeners().DICOM, 0, 3)
	base := "http://" + g.Listeners().Public
	download(t, http.DefaultClient, retrieveList(t, http.DefaultClient, base))
	if resp, err := http.Get(base + "/metrics"); err != nil || resp.StatusCode != 404 {
		t.Errorf("metrics in public: %v, %v", resp, err)
	}
}

func TestPublicListenerIsOffWithoutClients(t *testing.T) {
	g := run(t, configure(t, "public: {listen: 127.0.0.1:0}\n"))
	if l := g.Listeners().Public; l != "" {
		t.Errorf("listens on %s", l)
	}
	if notes := strings.Join(g.Status().Notes, "\n"); !strings.Contains(notes, "no clients") {
		t.Errorf("notes %q", notes)
	}
}

func TestPublicAndAdminOnOneAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cfg := configure(t, fmt.Sprintf("public: {listen: %q}\n", address)+publicClients)
	cfg.HTTP.Listen = address
	g := run(t, cfg)
	sendImages(t, g.Listeners().DICOM, 0, 3)
	download(t, http.DefaultClient, retrieveList(t, http.DefaultClient, "http://"+address))
	resp, err := http.Get("http://" + g.Listeners().HTTP + "/healthz")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestPublicTLS(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	g := run(t, configure(t, fmt.Sprintf("public: {listen: 127.0.0.1:0, tls: {cert: %q, key: %q, client_ca: %q}}\n", cert, key, cert)+publicClients))
	sendImages(t, g.Listeners().DICOM, 0, 3)
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}}}
	base := "https://" + g.Listeners().Public
	a := retrieveList(t, client, base)
	download(t, client, a)
	if !strings.HasPrefix(a.Result[0].DownloadURL, base) {
		t.Errorf("address %s", a.Result[0].DownloadURL)
	}
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	if resp, err := stranger.Get(base); err == nil {
		t.Errorf("a client without a certificate got %v", resp.Status)
	}
}

func TestKeysThatCannotBeUsed(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("2rthacazxph2qtk\n"), 0o600); err != nil { // as 6.2.5 prints it
		t.Fatal(err)
	}
	for more, want := range map[string]string{
		"retrieve: {clients: [{access_key: k, access_secret: 'file:/nonexistent'}]}\n":                                                 "nonexistent",
		fmt.Sprintf("retrieve: {signature: aes, clients: [{access_key: k, access_secret: qkzdcsilusqgph37, iv: 'file:%s'}]}\n", short): "takes 16",
		"public: {tls: {cert: /nonexistent.pem, key: /nonexistent.key}}\n":                                                             "public.tls",
	} {
		if _, err := New(configure(t, more), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
}
