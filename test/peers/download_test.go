package peers

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/load"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// nginx serves a folder as Debian's nginx-light does with sendfile on, and writes its access log.
func nginx(b *testing.B, root string) *peertest.Peer {
	b.Helper()
	program := peertest.Require(b, "nginx")
	peer := &peertest.Peer{Address: peertest.Address(b), Dir: b.TempDir()}
	config := filepath.Join(peer.Dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
	access_log %[1]s/access.log; sendfile on; tcp_nopush on; keepalive_requests 1000000;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen %[2]s; root %[3]s; }
}
`, peer.Dir, peer.Address, root)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	peer.Process = peertest.Start(b, nil, program, "-c", config, "-e", filepath.Join(peer.Dir, "start.log"))
	peer.Listening(b, peer.Address)
	return peer
}

// downloads are the addresses of the same files at dcmgate and at nginx.
type downloads struct {
	gate, nginx *peertest.Peer
	at          map[string][]string // by server
	bytes       int64               // of all files together
}

// study203 asks a gateway for a study and returns the addresses of its images.
func study203(b *testing.B, public, study string) (list []string) {
	b.Helper()
	q := "HospitalCode=1&StudyInstanceUID=" + study
	answer, err := http.Get(fmt.Sprintf("http://%s/Viewer/DICOMStudyRetrieve?%s&Signature=%X", public, q, md5.Sum([]byte("k"+q+"s"))))
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	var a cloud.Answer
	if err := json.NewDecoder(answer.Body).Decode(&a); err != nil || a.Code != cloud.CodeOK {
		b.Fatalf("%+v, %v", a, err)
	}
	for _, image := range a.Result {
		list = append(list, image.DownloadURL)
	}
	return list
}

// fill stores n instances and copies them to nginx's folder.
func fill(b *testing.B, size, n int) *downloads {
	b.Helper()
	public := peertest.Address(b)
	d := &downloads{at: map[string][]string{}}
	d.gate = dcmgate(b, fmt.Sprintf("public: {listen: %q, requests_per_client: 100000, requests_per_second: 100000}\nretrieve: {clients: [{access_key: k, access_secret: s}]}\nlog: {level: warn}\n", public))
	o := synth.Object{}
	if n == 1 {
		o = storeLarge(b, d.gate, size)
	} else {
		s := &load.Sender{Address: d.gate.Address, CalledAETitle: d.gate.AETitle, Template: synth.NewTemplate(size, 9), Total: n, Once: true}
		if err := s.Run(b.Context(), 4); err != nil {
			b.Fatal(err)
		}
		o = s.Template.Object(0, 0, 0)
	}
	d.at["dcmgate"] = study203(b, public, o.StudyInstanceUID)
	root := b.TempDir()
	os.Chmod(filepath.Dir(root), 0o755)
	d.nginx = nginx(b, root)
	for i, address := range d.at["dcmgate"] {
		name := fmt.Sprintf("%d.dcm", i)
		d.bytes += copyFrom(b, address, filepath.Join(root, name))
		d.at["nginx"] = append(d.at["nginx"], "http://"+d.nginx.Address+"/"+name)
	}
	return d
}

func storeLarge(b *testing.B, peer *peertest.Peer, size int) synth.Object {
	b.Helper()
	r, length, o := synth.Stream(int64(size), 1)
	a, err := (&dimse.Dialer{}).Dial(b.Context(), peer.Address, dimse.Proposal{CalledAETitle: peer.AETitle, CallingAETitle: "CT1",
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{synth.ExplicitVRLittleEndian}}}})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	rsp, err := a.Store(b.Context(), dimse.StoreRequest{ContextID: 1, SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), Data: r, Size: length})
	if err != nil || rsp.Status != dimse.StatusSuccess {
		b.Fatal(rsp.Status, err)
	}
	_ = a.Release(b.Context())
	return o
}

func copyFrom(b *testing.B, address, path string) int64 {
	b.Helper()
	answer, err := http.Get(address)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	n, err := io.Copy(f, answer.Body)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// get downloads every address `rounds` times over so many connections. headers are sent with each request.
func get(b *testing.B, server *peertest.Peer, list []string, bytes int64, rounds, connections int, headers http.Header) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections, DisableCompression: true, ReadBufferSize: 128 << 10}}
	defer client.CloseIdleConnections()
	var next, read atomic.Int64
	var wait sync.WaitGroup
	before, began := cpu(b, server.PID()), time.Now()
	for range connections {
		wait.Go(func() {
			buf := make([]byte, 256<<10)
			for i := next.Add(1) - 1; i < int64(rounds*len(list)); i = next.Add(1) - 1 {
				rq, err := http.NewRequestWithContext(b.Context(), http.MethodGet, list[i%int64(len(list))], nil)
				if err != nil {
					b.Error(err)
					return
				}
				rq.Header = headers
				answer, err := client.Do(rq)
				if err != nil {
					b.Error(err)
					return
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{answer.Body}, buf)
				answer.Body.Close()
				if err != nil || answer.StatusCode/100 != 2 {
					b.Errorf("%s, %v", answer.Status, err)
					return
				}
				read.Add(n)
			}
		})
	}
	wait.Wait()
	seconds := time.Since(began).Seconds()
	if want := bytes * int64(rounds); headers == nil && read.Load() != want {
		b.Errorf("%d bytes, want %d", read.Load(), want)
	}
	b.ReportMetric(float64(read.Load())/1e6/seconds, "MB/s")
	b.ReportMetric(float64(rounds*len(list))/seconds, "files/s")
	b.ReportMetric((cpu(b, server.PID())-before).Seconds()/(float64(read.Load())/1e9), "CPU-s/GB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDownload downloads the same files from dcmgate, by addresses of interface 203, and from nginx. dcmgate compares
// what it sends with its checksum unless it has done so in the last minutes: "first" are files it has not looked at since its
// start, "again" those it has.
func BenchmarkDownload(b *testing.B) {
	for _, c := range []struct {
		name            string
		size, n, rounds int
	}{{"CT", 526000, 400, 10}, {"1GB", 1 << 30, 1, 4}} {
		d := fill(b, c.size, c.n)
		restart(b, d.gate)
		for _, connections := range []int{1, 4} {
			name := func(server string) string { return fmt.Sprintf("%s/%d/%s", c.name, connections, server) }
			if connections == 1 {
				b.Run(name("dcmgate first"), func(b *testing.B) { get(b, d.gate, d.at["dcmgate"], d.bytes, 1, connections, nil) })
			}
			for range 2 { // turn about, so that neither has the machine in a better moment
				b.Run(name("nginx"), func(b *testing.B) { get(b, d.nginx, d.at["nginx"], d.bytes, c.rounds, connections, nil) })
				b.Run(name("dcmgate again"), func(b *testing.B) { get(b, d.gate, d.at["dcmgate"], d.bytes, c.rounds, connections, nil) })
			}
		}
	}
}

// restart starts a gateway anew on its data.
func restart(b *testing.B, peer *peertest.Peer) {
	b.Helper()
	peer.Signal(os.Interrupt)
	if _, err := peer.Wait(2 * time.Minute); err != nil {
		b.Fatal(err)
	}
	peer.Process = peertest.Start(b, nil, binary, "serve", "--config", filepath.Join(peer.Dir, "dcmgate.yaml"))
	peer.Listening(b, peer.Address)
}
