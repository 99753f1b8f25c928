package e2e

import (
	"bufio"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
)

// changing203 is a gateway whose configuration of interface 203 is changed while it runs.
type changing203 struct {
	*gate
	curl string
	base []byte // what does not change
}

// take writes a configuration and has it taken.
func (c *changing203) take(t *testing.T, more string) {
	t.Helper()
	if err := os.WriteFile(c.config, append(c.base[:len(c.base):len(c.base)], more...), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := c.run(t, "reload"); status != 0 || strings.Contains(out, "restart") {
		t.Fatalf("%s: status %d: %s", more, status, out)
	}
}

// ask is what a client gets from curl for a study; "" if nobody listens.
func (c *changing203) ask(t *testing.T, base, key, study string) string {
	t.Helper()
	q := "HospitalCode=1&StudyInstanceUID=" + study
	out, status := peertest.Run(t, nil, c.curl, "-sk", "-H", "accessKey: "+key, fmt.Sprintf("%s/Viewer/DICOMStudyRetrieve?%s&Signature=%X", base, q, md5.Sum([]byte(key+q+"s3cret"))))
	if status == 7 { // could not connect
		return ""
	}
	if status != 0 {
		t.Errorf("curl: status %d: %s", status, out)
	}
	return out
}

// Interface 203 is switched on, gets and loses clients, moves to another address and to TLS and is switched off, by the
// configuration alone, while a large object is downloaded that nothing of it disturbs.
func TestInterface203Changes(t *testing.T) {
	const size = 300 << 20
	one, two := peertest.Address(t), peertest.Address(t)
	cert, key, _ := peertest.Certificate(t)
	c := &changing203{gate: newGate(t, "views: []\n"), curl: peertest.Require(t, "curl")}
	var err error
	if c.base, err = os.ReadFile(c.config); err != nil {
		t.Fatal(err)
	}
	p := c.start(t)
	o, want, _ := storeStream(t, c.address, size)
	study := o.StudyInstanceUID
	at := func(address, more string, clients ...string) string {
		for i, name := range clients {
			clients[i] = fmt.Sprintf("{access_key: %s, access_secret: s3cret}", name)
		}
		return fmt.Sprintf("public: {listen: %q, write_timeout: 5m%s}\nretrieve: {clients: [%s]}\n", address, more, strings.Join(clients, ", "))
	}
	if out := c.ask(t, "http://"+one, "pacs", study); out != "" {
		t.Fatalf("served before there is a client: %s", out)
	}
	c.take(t, at(one, "", "pacs"))
	listed := c.ask(t, "http://"+one, "pacs", study)
	_, address, ok := strings.Cut(listed, `"dcmDownloadUrl":"`)
	address, _, _ = strings.Cut(address, `"`)
	if !ok {
		t.Fatalf("not served: %s", listed)
	}
	if out := c.ask(t, "http://"+one, "ris", study); !strings.Contains(out, "E0002") {
		t.Errorf("a client that is none: %s", out)
	}

	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body := bufio.NewReader(answer.Body)
	if _, _, err := dicom.ReadFileMeta(body); err != nil {
		t.Fatal(err)
	}
	file := sha256.New() // of the data set
	read := func() {     // some more of the download
		t.Helper()
		if n, err := io.CopyN(file, body, 20<<20); err != nil {
			t.Fatalf("the download ends after another %d bytes: %v", n, err)
		}
	}
	refused := func(what string) {
		t.Helper()
		if out, _ := peertest.Run(t, nil, c.curl, "-s", "-o", "/dev/null", "-r", "0-0", "-w", "%{http_code}", address); out != "404" && out != "000" {
			t.Errorf("%s, and the address of before is answered with %s", what, out)
		}
	}
	read()
	c.take(t, at(one, "", "pacs", "ris"))
	if out := c.ask(t, "http://"+one, "ris", study); !strings.Contains(out, "N0000") {
		t.Errorf("a client that was added: %s", out)
	}
	if out, _ := peertest.Run(t, nil, c.curl, "-s", "-o", "/dev/null", "-r", "0-0", "-w", "%{http_code}", address); out != "206" {
		t.Errorf("an address of a client that stays is answered with %s", out)
	}
	read()
	c.take(t, at(one, "", "ris"))
	refused("a client was taken away")
	read()
	c.take(t, at(one, ", connections: 1, connections_per_address: 1, requests_per_second: 1, requests_per_client: 1, url: 'https://h.example'", "ris"))
	read()
	c.take(t, at(two, "", "ris"))
	if out := c.ask(t, "http://"+two, "ris", study); !strings.Contains(out, "N0000") || c.ask(t, "http://"+one, "ris", study) != "" {
		t.Errorf("moved: %s", out)
	}
	read()
	c.take(t, at(two, fmt.Sprintf(", tls: {cert: %q, key: %q}", cert, key), "ris"))
	if out := c.ask(t, "https://"+two, "ris", study); !strings.Contains(out, "N0000") {
		t.Errorf("by TLS: %s", out)
	}
	read()
	c.take(t, "")
	if out := c.ask(t, "http://"+two, "ris", study); out != "" {
		t.Errorf("served although it is off: %s", out)
	}
	read()
	c.take(t, at(one, "", "pacs"))
	if out := c.ask(t, "http://"+one, "pacs", study); !strings.Contains(out, "N0000") {
		t.Errorf("on again: %s", out)
	}
	if _, err := io.Copy(file, body); err != nil {
		t.Errorf("the download does not end well: %v", err)
	}
	if got := [32]byte(file.Sum(nil)); got != want {
		t.Error("other bytes were downloaded")
	}
	peak := residentPeak(t, p.PID())
	t.Logf("resident peak %d MiB", peak>>20)
	if peak > residentLimit {
		t.Errorf("resident memory peaked at %d MiB, the limit is %d MiB", peak>>20, residentLimit>>20)
	}
	c.stop(t)
	os.RemoveAll(c.data)
}
