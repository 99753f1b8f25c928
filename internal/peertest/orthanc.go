package peertest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Orthanc starts Debian's Orthanc with a folder of its own, without authentication, on loopback. settings are added to its
// configuration. modalities are AE titles and addresses that it may send to.
func Orthanc(t testing.TB, env []string, settings map[string]any, modalities map[string]string) *Peer {
	t.Helper()
	program := Require(t, "Orthanc")
	peer := &Peer{AETitle: "ORTHANC", Address: Address(t), HTTP: Address(t), Dir: t.TempDir()}
	known := map[string]any{}
	for ae, address := range modalities {
		host, port := split(address)
		known[ae] = []any{ae, host, port}
	}
	_, dicomPort := split(peer.Address)
	_, httpPort := split(peer.HTTP)
	config := map[string]any{
		"StorageDirectory": peer.Dir, "IndexDirectory": peer.Dir, "StorageCompression": false,
		"HttpPort": httpPort, "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
		"DicomAet": peer.AETitle, "DicomPort": dicomPort, "DicomCheckCalledAet": false,
		"DicomAlwaysAllowStore": true, "DicomAlwaysAllowFind": true, "DicomAlwaysAllowMove": true,
		"UnknownSopClassAccepted": true, "Plugins": []string{}, "DicomModalities": known,
	}
	maps.Copy(config, settings)
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "orthanc.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Process = Start(t, env, program, file)
	peer.Listening(t, peer.Address)
	peer.Listening(t, peer.HTTP)
	return peer
}

func split(address string) (string, int) {
	host, port, _ := strings.Cut(address, ":")
	n, _ := strconv.Atoi(port)
	return host, n
}

// REST calls Orthanc's interface; body may be empty for GET. It returns the answer's body.
func (p *Peer) REST(t testing.TB, method, path, body string) []byte {
	t.Helper()
	rq, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.HTTP+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v %s", method, path, answer.Status, err, text)
	}
	return text
}

// Instances returns Orthanc's identifiers of the instances it holds.
func (p *Peer) Instances(t testing.TB) []string {
	t.Helper()
	var ids []string
	if err := json.Unmarshal(p.REST(t, "GET", "/instances", ""), &ids); err != nil {
		t.Fatal(fmt.Errorf("list of instances: %w", err))
	}
	return ids
}
