package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"dcmgate/internal/machine"
)

// describe fills in what no case depends on.
func (r *run) describe(ctx context.Context) (m Machine, err error) {
	disk, err := machine.FileSystemOf(r.o.Dir)
	if err != nil {
		return m, err
	}
	m = Machine{Platform: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(), MemoryBytes: machine.Memory(),
		Dir: r.o.Dir, FileSystem: disk.Name, InMemory: disk.InMemory}
	m.DigestMBPerSecond = digestRate(r.o.Duration / 4)
	m.LoopbackMBPerSecond, err = loopbackRate(ctx, r.o.Duration/4)
	return m, err
}

// chunk is how much is hashed or written at once.
const chunk = 1 << 20

func digestRate(d time.Duration) float64 {
	block, hash := make([]byte, chunk), sha256.New()
	_, _ = rand.Read(block) // it never fails
	n, began := 0, time.Now()
	for ; n == 0 || time.Since(began) < d; n++ {
		hash.Write(block)
	}
	return float64(n) * chunk / 1e6 / time.Since(began).Seconds()
}

// loopbackRate is that of one connection, without any protocol on it.
func loopbackRate(ctx context.Context, d time.Duration) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	var group errgroup.Group
	var read int64
	began := time.Now()
	group.Go(func() error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		read, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, chunk))
		return err
	})
	group.Go(func() error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			l.Close() // nobody else will come
			return err
		}
		defer c.Close()
		block := make([]byte, chunk)
		for n := 0; n == 0 || time.Since(began) < d && ctx.Err() == nil; n++ {
			if _, err := c.Write(block); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("loopback: %w", err)
	}
	return float64(read) / 1e6 / time.Since(began).Seconds(), ctx.Err()
}

// disk appends data sets to a file for each writer, and syncs after each.
func (r *run) disk(ctx context.Context, size int64, writers int) (Rate, error) {
	dir := filepath.Join(r.folder.path, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return Rate{}, err
	}
	defer os.RemoveAll(dir)
	block := make([]byte, min(size, chunk))
	_, _ = rand.Read(block)
	var written atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	more := r.budget(size)
	for k := range writers {
		group.Go(func() error {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(k)))
			if err != nil {
				return err
			}
			defer f.Close()
			for ctx.Err() == nil && more() {
				for left := size; left > 0; left -= min(left, chunk) {
					if _, err := f.Write(block[:min(left, chunk)]); err != nil {
						return err
					}
				}
				if err := unix.Fdatasync(int(f.Fd())); err != nil {
					return fmt.Errorf("sync %s: %w", f.Name(), err)
				}
				written.Add(1)
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return Rate{}, err
	}
	return rate(int(written.Load()), size, time.Since(began)), nil
}

// budget returns a function that says whether one more data set of a size is to be begun: one, and more for the time of a
// measurement and up to its bytes.
func (r *run) budget(size int64) func() bool {
	var begun atomic.Int64
	end := time.Now().Add(r.o.Duration)
	return func() bool {
		n := begun.Add(1)
		return n == 1 || n*size <= maxBytes && time.Now().Before(end)
	}
}
