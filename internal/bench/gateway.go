package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"dcmgate/gateway"
	"dcmgate/internal/machine"
)

const (
	segmentSize = 64 << 20
	startLimit  = 30 * time.Second // for a gateway to listen
	startPoll   = 20 * time.Millisecond
	// settle is how long a gateway that has just been started is left alone, so that it can prepare segments as one in a
	// hospital has done long ago.
	settle = time.Second
)

// gate is a gateway in a process of its own.
type gate struct {
	address string // for DICOM
	process *exec.Cmd
	said    bytes.Buffer // on standard error; warnings and errors alone
	ended   chan error
}

// startGateway starts one on a data folder. It delivers to sink with so many associations at most; with none it keeps what it
// receives for later.
func (r *run) startGateway(ctx context.Context, data, sink string, associations int) (*gate, error) {
	pace := "unlimited"
	if sink == "" {
		sink, pace = "127.0.0.1:104", "paused"
	}
	text := fmt.Sprintf(`data_dir: %q
dicom: {listen: "127.0.0.1:0", accept: any, max_associations: 200, max_per_address: 0}
http: {listen: "off"}
spool: {min_free: 64MiB, segment_size: %d}
destinations: [{name: sink, ae_title: SINK, address: %q, associations: %d, rate: %s}]
log: {level: warn}
`, data, segmentSize, sink, associations, pace)
	file := data + ".yaml"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cfg, err := gateway.Parse(file, []byte(text))
	if err != nil {
		return nil, err
	}
	g := &gate{ended: make(chan error, 1)}
	g.process = exec.CommandContext(ctx, r.o.Command[0], append(r.o.Command[1:len(r.o.Command):len(r.o.Command)], "serve", "--config", file)...)
	g.process.Env, g.process.Stderr = append(os.Environ(), r.o.Env...), &g.said
	g.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // neither outlives this process nor hears its Ctrl-C
	if err := g.process.Start(); err != nil {
		return nil, fmt.Errorf("start the gateway: %w", err)
	}
	go func() { g.ended <- g.process.Wait() }()
	if err := g.await(ctx, cfg); err != nil {
		return nil, errors.Join(err, g.kill())
	}
	return g, pause(ctx, settle)
}

// await waits until the gateway listens.
func (g *gate) await(ctx context.Context, cfg gateway.Config) error {
	for limit := time.Now().Add(startLimit); time.Now().Before(limit); {
		if _, err := os.Stat(filepath.Join(cfg.DataDir, "control.sock")); err == nil {
			op, done, err := gateway.Connect(ctx, cfg)
			if err == nil {
				s, err := op.Status(ctx)
				done()
				if g.address = s.Listeners.DICOM; err == nil && s.Running && g.address != "" {
					return nil
				}
			}
		}
		select {
		case err := <-g.ended:
			g.ended <- err
			return fmt.Errorf("the gateway ended: %w\n%s", err, g.said.Bytes())
		case <-time.After(startPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("the gateway does not listen after %v", startLimit)
}

// stop ends the gateway as a service manager would.
func (g *gate) stop() error {
	if err := g.process.Process.Signal(syscall.SIGTERM); err != nil {
		return errors.Join(err, g.kill())
	}
	select {
	case err := <-g.ended:
		g.ended <- err
		if err != nil {
			return fmt.Errorf("the gateway: %w\n%s", err, g.said.Bytes())
		}
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the gateway does not stop within a minute"), g.kill())
	}
}

// kill ends it at once, if it has not ended.
func (g *gate) kill() error {
	if err := g.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	g.ended <- <-g.ended
	return nil
}

func (g *gate) processorTime() (time.Duration, error) {
	return machine.ProcessorTime(g.process.Process.Pid)
}

// usage is what the gateway has used, of processor time since that was before, while so many bytes passed.
func (g *gate) usage(before time.Duration, n int64) (*Usage, error) {
	after, err := g.processorTime()
	if err != nil {
		return nil, err
	}
	peak, err := machine.PeakMemory(g.process.Process.Pid)
	if err != nil {
		return nil, err
	}
	u := &Usage{PeakMB: float64(peak) / 1e6}
	if n > 0 {
		u.CPUSecondsPerGB = (after - before).Seconds() / (float64(n) / 1e9)
	}
	return u, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
