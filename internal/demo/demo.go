// Package demo shows the gateway at work on one machine, with nothing to configure: it starts a gateway on its embedded
// defaults and two stand-in archives on loopback, one of which fails on purpose, sends real MR series over real
// associations, and accounts for every instance at the end.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"dcmgate/gateway"
	"dcmgate/internal/archive"
)

// Options are the choices of the demo command.
type Options struct {
	Once     bool      // end when everything has been accounted for, instead of serving on
	DataDir  string    // "" makes a temporary one, removed in the end unless something failed
	Out      io.Writer // report and progress
	Terminal bool      // Out is one: show live bars
	Version  string
}

// ErrIncomplete means that not everything arrived intact.
var ErrIncomplete = errors.New("not every instance arrived intact; the summary says where")

// Timing of the demonstration.
const (
	startLimit    = 20 * time.Second // for the gateway to listen
	deliveryLimit = 2 * time.Minute  // for everything to arrive
)

// stage is what a running demonstration consists of.
type stage struct {
	o        Options
	cfg      gateway.Config
	archives []*stand
	log      string
}

// stand is one stand-in archive.
type stand struct {
	name, words, address string
	archive              *archive.Archive
}

// Run performs the demonstration. It returns nil if everything arrived intact (and, without Once, was interrupted later),
// ErrIncomplete if not.
func Run(ctx context.Context, o Options) (err error) {
	dir, remove, err := dataDir(o.DataDir)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil && remove {
			os.RemoveAll(dir)
		}
	}()
	s := &stage{o: o, log: filepath.Join(dir, "dcmgate.log")}
	if err := s.startArchives(); err != nil {
		return err
	}
	defer s.closeArchives()
	if err := s.configure(filepath.Join(dir, "data")); err != nil {
		return err
	}
	return s.withGateway(ctx, func(ctx context.Context) error { return s.perform(ctx, remove) })
}

// dataDir returns the folder to use, and whether it is a temporary one.
func dataDir(wanted string) (dir string, temporary bool, err error) {
	if wanted != "" {
		return wanted, false, os.MkdirAll(wanted, 0o700)
	}
	dir, err = os.MkdirTemp("", "dcmgate-demo-")
	return dir, true, err
}

// startArchives starts the stand-ins: one that works and one that does not always.
func (s *stage) startArchives() error {
	for _, a := range []struct {
		name, words string
		faults      archive.Faults
	}{
		{"cloud", "works", archive.Faults{}},
		{"backup", "rejects, aborts, swallows answers", archive.Faults{Seed: 1, RejectRate: 0.25, AbortRate: 0.01, LoseAnswerRate: 0.01, StatusRate: 0.01, Status: 0xA700}},
	} {
		stood, address, err := archive.Listen("127.0.0.1:0", archive.Options{Window: 8, Faults: a.faults})
		if err != nil {
			s.closeArchives()
			return fmt.Errorf("start the stand-in archive %s: %w", a.name, err)
		}
		s.archives = append(s.archives, &stand{a.name, a.words, address, stood})
	}
	return nil
}

func (s *stage) closeArchives() {
	for _, a := range s.archives {
		a.archive.Close()
	}
}

// configure makes the configuration: the embedded defaults, the stand-ins as destinations, and free ports where the usual
// ones are taken.
func (s *stage) configure(dataDir string) error {
	text := fmt.Sprintf("data_dir: %q\ndicom: {listen: %q, accept: any}\nhttp: {listen: %q}\ndestinations:\n",
		dataDir, freeAddress("127.0.0.1:11112"), freeAddress("127.0.0.1:8080"))
	for _, a := range s.archives {
		text += fmt.Sprintf("  - {name: %s, ae_title: %s, address: %q, retry: {initial: 100ms, max: 1s}}\n", a.name, "DEMO", a.address)
	}
	cfg, err := gateway.Parse("demo", []byte(text))
	if err != nil {
		return fmt.Errorf("configure the demonstration: %w", err)
	}
	s.cfg = cfg
	return nil
}

// freeAddress returns the wanted address if nothing listens there, else one that is free.
func freeAddress(wanted string) string {
	l, err := net.Listen("tcp", wanted)
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return wanted // the gateway will say what is wrong with it
	}
	defer l.Close()
	return l.Addr().String()
}

// withGateway runs a gateway while scene is performed and stops it in order afterwards.
func (s *stage) withGateway(ctx context.Context, scene func(context.Context) error) error {
	logFile, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	gate, err := gateway.New(s.cfg, gateway.Options{Logger: slog.New(slog.NewTextHandler(logFile, nil)), Version: s.o.Version})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- gate.Run(running) }()
	// The scene ends if the gateway does.
	sceneCtx, cancel := context.WithCancelCause(ctx)
	go func() { err := <-ended; ended <- err; cancel(fmt.Errorf("the gateway ended: %w", err)) }()

	err = scene(sceneCtx)
	stop()
	if stopErr := <-ended; stopErr != nil {
		return errors.Join(fmt.Errorf("the gateway, see %s: %w", s.log, stopErr), err)
	}
	return err
}

// perform is the demonstration itself.
func (s *stage) perform(ctx context.Context, temporary bool) error {
	operator, closeOperator, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer closeOperator()
	s.introduce()
	ledger, err := s.send(ctx)
	if err != nil {
		return err
	}
	report, err := s.account(ctx, operator, ledger)
	if err != nil {
		return err
	}
	report.print(s.o.Out)
	s.whereToLook(temporary)
	if !s.o.Once {
		fmt.Fprintln(s.o.Out, "\nServing until interrupted (Ctrl-C) …")
		<-ctx.Done()
	}
	if !report.complete() {
		return ErrIncomplete
	}
	return nil
}

// connect waits for the gateway's control socket.
func (s *stage) connect(ctx context.Context) (gateway.Operator, func() error, error) {
	limit := time.Now().Add(startLimit)
	for {
		if c, err := net.DialTimeout("tcp", s.cfg.DICOM.Listen, time.Second); err == nil {
			c.Close()
			return gateway.Connect(ctx, s.cfg)
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(limit) {
			return nil, nil, fmt.Errorf("the gateway does not listen at %s; see %s", s.cfg.DICOM.Listen, s.log)
		}
	}
}

func (s *stage) introduce() {
	fmt.Fprintf(s.o.Out, "dcmgate %s, a gateway between modalities and the imaging cloud\n\n", s.o.Version)
	fmt.Fprintf(s.o.Out, "  gateway      AE %s at %s\n", s.cfg.AETitle, s.cfg.DICOM.Listen)
	for _, a := range s.archives {
		fmt.Fprintf(s.o.Out, "  destination  %-8s stand-in archive at %s (%s)\n", a.name, a.address, a.words)
	}
	fmt.Fprintln(s.o.Out)
}

func (s *stage) whereToLook(temporary bool) {
	kept := ""
	if temporary {
		kept = "  (temporary; removed at the end)"
	}
	fmt.Fprintf(s.o.Out, `
Where to look
  metrics      http://%[1]s/metrics
  health       http://%[1]s/healthz  and  /readyz
  log          %[2]s
  data folder  %[3]s%[4]s
  status       dcmgate status --data-dir %[3]s
  send more    dcmgate send --called %[5]s %[6]s YOUR-FOLDER
`, s.cfg.HTTP.Listen, s.log, s.cfg.DataDir, kept, s.cfg.AETitle, s.cfg.DICOM.Listen)
}
