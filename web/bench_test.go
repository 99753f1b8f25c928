package web

import (
	"io"
	"net/http"
	"testing"

	"dcmgate/internal/synth"
)

// BenchmarkDownload downloads one CT image of 0.5 MB again and again over one connection.
func BenchmarkDownload(b *testing.B) {
	s := newSite(b, nil)
	o := synth.NewTemplate(526000, 1).Object(1, 1, 1)
	in, file := s.store(&o)
	address := s.list(in.StudyInstanceUID)[0].DownloadURL
	b.SetBytes(int64(len(file)))
	buf := make([]byte, 256<<10)
	for b.Loop() {
		resp, err := http.Get(address)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, buf)
		resp.Body.Close()
		if err != nil || n != int64(len(file)) {
			b.Fatal(n, err)
		}
	}
}
