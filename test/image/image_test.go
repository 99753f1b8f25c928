// Package image builds the container image, looks into it and runs it.
package image

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// built is an image in a store of the test's own.
type built struct {
	buildah []string
	binary  string // the program that is in it
	file    string // that docker load takes
	config  config
	files   []tar.Header
	size    int64
}

// config is what the image says of itself, as far as the test looks at it.
type config struct {
	Architecture string
	Config       struct {
		User                   string
		Env, Entrypoint, Cmd   []string
		WorkingDir, StopSignal string
		ExposedPorts           map[string]any
		Volumes                map[string]any
		Labels                 map[string]string
		Healthcheck            struct{ Test []string }
	}
}

const name = "docker.io/library/dcmgate:1.2.3-test"

// build builds the image. Storage without overlays and isolation by chroot work inside containers, too.
func build(t *testing.T) *built {
	t.Helper()
	program := peertest.Require(t, "buildah")
	if os.Geteuid() != 0 {
		peertest.Missing(t, "storage of images by vfs and chroot need root")
	}
	dir := t.TempDir()
	b := &built{
		buildah: []string{program, "--storage-driver", "vfs", "--root", filepath.Join(dir, "storage"), "--runroot", filepath.Join(dir, "run")},
		binary:  filepath.Join(dir, "dcmgate"),
		file:    filepath.Join(dir, "image.tar"),
	}
	cmd := exec.Command("go", "build", "-o", b.binary, "dcmgate/cmd/dcmgate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build dcmgate: %v\n%s", err, out)
	}
	script := peertest.Start(t, []string{"BUILDAH=" + strings.Join(b.buildah, " "), "SOURCE_DATE_EPOCH=1700000000"},
		"../../scripts/image", b.binary, runtime.GOARCH, "1.2.3+test", b.file)
	if status, err := script.Wait(10 * time.Minute); err != nil || status != 0 {
		t.Fatalf("scripts/image: exit status %d, %v\n%s", status, err, script.Output())
	}
	b.read(t)
	return b
}

// read reads the archive: its list of contents, the configuration, and the files of every layer.
func (b *built) read(t *testing.T) {
	t.Helper()
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	b.member(t, "manifest.json", func(r io.Reader) error { return json.NewDecoder(r).Decode(&manifest) })
	if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{name}) {
		t.Fatalf("manifest: %+v", manifest)
	}
	b.member(t, manifest[0].Config, func(r io.Reader) error { return json.NewDecoder(r).Decode(&b.config) })
	for _, layer := range manifest[0].Layers {
		b.member(t, layer, func(r io.Reader) error {
			for files := tar.NewReader(r); ; {
				h, err := files.Next()
				if errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				b.files = append(b.files, *h)
				b.size += h.Size
			}
		})
	}
}

// member calls use with a file of the archive, which may be a link to another.
func (b *built) member(t *testing.T, name string, use func(io.Reader) error) {
	t.Helper()
	f, err := os.Open(b.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch {
		case h.Name != name:
		case h.Typeflag == tar.TypeSymlink:
			b.member(t, filepath.Join(filepath.Dir(name), h.Linkname), use)
			return
		default:
			if err := use(r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return
		}
	}
}

func TestImage(t *testing.T) {
	b := build(t)
	t.Run("configuration", b.testConfig)
	t.Run("files", b.testFiles)
	t.Run("runs", b.testRuns)
}

func (b *built) testConfig(t *testing.T) {
	c := b.config.Config
	for what, row := range map[string]struct{ got, want any }{
		"architecture": {b.config.Architecture, runtime.GOARCH},
		"user":         {c.User, "10001:10001"}, // a number, so that runAsNonRoot can be checked
		"entry point":  {c.Entrypoint, []string{"/usr/bin/dcmgate"}},
		"command":      {c.Cmd, []string{"serve", "--config", "/etc/dcmgate/dcmgate.yaml"}},
		"health":       {c.Healthcheck.Test, []string{"CMD", "/usr/bin/dcmgate", "healthcheck"}},
		"folder":       {c.WorkingDir, "/var/lib/dcmgate"},
		"volumes":      {c.Volumes, map[string]any{"/var/lib/dcmgate": map[string]any{}}},
		"ports":        {c.ExposedPorts, map[string]any{"11112/tcp": map[string]any{}, "8080/tcp": map[string]any{}, "8081/tcp": map[string]any{}}},
		"signal":       {c.StopSignal, "SIGTERM"},
		"title":        {c.Labels["org.opencontainers.image.title"], "dcmgate"},
		"version":      {c.Labels["org.opencontainers.image.version"], "1.2.3+test"},
	} {
		if fmt.Sprint(row.got) != fmt.Sprint(row.want) {
			t.Errorf("%s: %v, want %v", what, row.got, row.want)
		}
	}
}

// testFiles holds the image to what belongs in it: nothing else, and nothing that the gateway could change but its data.
func (b *built) testFiles(t *testing.T) {
	want := map[string]string{ // mode, owner
		"etc/": "755 0", "etc/dcmgate/": "755 0", "etc/ssl/": "755 0", "etc/ssl/certs/": "755 0", "usr/": "755 0", "usr/bin/": "755 0",
		"etc/dcmgate/dcmgate.yaml": "644 0", "etc/group": "644 0", "etc/passwd": "644 0", "etc/ssl/certs/ca-certificates.crt": "644 0",
		"usr/share/": "755 0", "usr/share/doc/": "755 0", "usr/share/doc/dcmgate/": "755 0", "usr/share/doc/dcmgate/licences": "644 0",
		"usr/bin/dcmgate": "755 0", "tmp/": "1777 0", "var/": "755 0", "var/lib/": "755 0", "var/lib/dcmgate/": "700 10001",
	}
	var list strings.Builder
	for _, h := range b.files {
		got := fmt.Sprintf("%o %d", h.Mode&0o7777, h.Uid)
		fmt.Fprintf(&list, "%-10s %9d %s\n", got, h.Size, h.Name)
		if want[h.Name] != got {
			t.Errorf("%s: %s, want %q", h.Name, got, want[h.Name])
		}
		delete(want, h.Name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
	t.Logf("%d bytes\n%s", b.size, list.String())
	if b.size > 64<<20 {
		t.Errorf("%d bytes", b.size)
	}
}

// testRuns runs what the image says, as whom it says, and asks for its health as the image says.
func (b *built) testRuns(t *testing.T) {
	out, status := peertest.Run(t, nil, b.buildah[0], append(b.buildah[1:], "from", "--pull-never", name)...)
	if status != 0 {
		t.Fatal(out)
	}
	container, address := strings.TrimSpace(out), peertest.Address(t)
	settings := filepath.Join(t.TempDir(), "dcmgate.yaml")
	text := fmt.Sprintf("data_dir: /var/lib/dcmgate\ndicom: {listen: %q, accept: any}\nhttp: {listen: \"off\"}\nspool: {min_free: 64MiB, segment_size: 16MiB}\n", address)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := b.config.Config
	in := func(command ...string) []string {
		args := slices.Concat(b.buildah[1:], []string{"run", "--isolation", "chroot", "-v", settings + ":/etc/dcmgate/dcmgate.yaml:ro", container, "--"})
		return append(args, command...)
	}
	if out, status := peertest.Run(t, nil, b.binary, "config", "check", "../../packaging/image.yaml"); status != 0 {
		t.Errorf("the image's own configuration: %s", out)
	}
	if out, status := peertest.Run(t, nil, b.buildah[0], in(c.Healthcheck.Test[1:]...)...); status == 0 {
		t.Errorf("healthy before it runs: %s", out)
	}
	gateway := peertest.Start(t, nil, b.buildah[0], in(append(c.Entrypoint, c.Cmd...)...)...)
	gateway.Listening(t, address)
	pid := descendant(t, gateway.PID(), "dcmgate")
	statusText, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(statusText), "\nUid:\t10001\t10001\t10001\t10001\n") || !strings.Contains(string(statusText), "\nCapEff:\t0000000000000000\n") {
		t.Errorf("runs as\n%s %v", statusText, err)
	}
	if out, status := peertest.Run(t, nil, b.buildah[0], in(c.Healthcheck.Test[1:]...)...); status != 0 {
		t.Errorf("not healthy: exit status %d: %s", status, out)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status, err := gateway.Wait(2 * time.Minute); err != nil || status != 0 {
		t.Errorf("stop: exit status %d, %v", status, err)
	}
}

// descendant finds a process by name below another.
func descendant(t *testing.T, root int, name string) int {
	t.Helper()
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", queue[0])); strings.TrimSpace(string(comm)) == name {
			return queue[0]
		}
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", queue[0]))
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for _, child := range strings.Fields(string(text)) {
				pid, err := strconv.Atoi(child)
				if err != nil {
					t.Fatal(err)
				}
				queue = append(queue, pid)
			}
		}
	}
	t.Fatalf("no process %s runs", name)
	return 0
}
