package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"dcmgate/gateway"
)

// Where the output is no terminal, frames are as wide as one.
const frameColumns = 80

// leastInterval spares the gateway.
const leastInterval = 200 * time.Millisecond

// watch shows the gateway again and again until ctx ends or a person presses q or Ctrl-C. On a terminal that is one screen;
// elsewhere it is frame after frame, or one JSON document a line.
func (w *where) watch(ctx context.Context, in io.Reader, out io.Writer, interval time.Duration, asJSON bool) error {
	if interval < leastInterval {
		return usageError{fmt.Errorf("--watch %v is less than %v", interval, leastInterval)}
	}
	var show func(t *trends) error
	switch terminal, ok := out.(*os.File); {
	case asJSON:
		show = func(t *trends) error { return json.NewEncoder(out).Encode(t.last.status) }
	case ok && isTerminal(out):
		screen, err := openTerminal(terminal)
		if err != nil {
			return err
		}
		defer screen.close()
		var quit context.CancelFunc
		if ctx, quit = context.WithCancel(ctx); in != nil {
			stop, err := quitOnKey(ctx, in, quit)
			if err != nil {
				return err
			}
			defer stop()
		}
		defer quit()
		show = screen.show
	default:
		show = func(t *trends) error { return printFrame(out, t) }
	}
	return w.sampleEvery(ctx, interval, show)
}

// sampleEvery shows a sample at once and then one in each interval, until ctx ends. That is no failure.
func (w *where) sampleEvery(ctx context.Context, interval time.Duration, show func(*trends) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var t trends
	for {
		s, err := w.sample(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		t.add(s)
		if err := show(&t); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sample asks the running gateway. If none runs, its spool is left alone: a gateway that is to be started would have to wait.
func (w *where) sample(ctx context.Context) (sample, error) {
	cfg, err := w.find(ctx)
	if err != nil {
		return sample{}, err
	}
	absent := sample{time.Now(), gateway.Status{AETitle: cfg.AETitle, DataDir: cfg.DataDir}}
	if !gateway.IsRunning(ctx, cfg.DataDir) {
		return absent, nil
	}
	s := sample{at: absent.at}
	err = w.operate(ctx, func(op gateway.Operator) (err error) {
		s.status, err = op.Status(ctx)
		return err
	})
	if err != nil && !gateway.IsRunning(ctx, cfg.DataDir) { // it has just stopped
		return absent, nil
	}
	return s, err
}

func printFrame(out io.Writer, t *trends) error {
	var b bytes.Buffer
	for _, line := range screen(t, frameColumns, 0) {
		fmt.Fprintln(&b, line.text)
	}
	fmt.Fprintln(&b)
	_, err := out.Write(b.Bytes())
	return err
}

// terminal is one that shows the alternate screen.
type terminal struct {
	file  *os.File
	color bool
}

// Control sequences. Those that a terminal does not know it ignores.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"        // alternate screen, no cursor
	leaveScreen = "\x1b[0m\x1b[?25h\x1b[?1049l" // as it was
	beginFrame  = "\x1b[?2026h\x1b[H"           // all at once, from the top
	endOfLine   = "\x1b[0m\x1b[K"               // what was there before goes
	endFrame    = "\x1b[J\x1b[?2026l"           //
	newLine     = endOfLine + "\r\n"            // in raw mode a line feed does not return
	colorOff    = "NO_COLOR"                    // of the environment
	leastWidth  = 20                            // columns; a smaller terminal shows what fits
	usualWidth  = frameColumns                  // of a terminal that does not tell
	usualHeight = 24                            // likewise
)

func openTerminal(f *os.File) (*terminal, error) {
	_, err := f.WriteString(enterScreen)
	_, off := os.LookupEnv(colorOff)
	return &terminal{file: f, color: !off}, err
}

func (t *terminal) close() { _, _ = t.file.WriteString(leaveScreen) }

// show draws a frame over the one before, in one write.
func (t *terminal) show(tr *trends) error {
	columns, lines, err := term.GetSize(int(t.file.Fd()))
	if err != nil || columns <= 0 || lines <= 0 {
		columns, lines = usualWidth, usualHeight
	}
	var b bytes.Buffer
	b.WriteString(beginFrame)
	for i, line := range screen(tr, max(columns, leastWidth), lines) {
		if i > 0 {
			b.WriteString(newLine)
		}
		if t.color {
			b.WriteString(string(line.emphasis))
		}
		b.WriteString(line.text)
	}
	b.WriteString(endOfLine + endFrame)
	_, err = t.file.Write(b.Bytes())
	return err
}

// Keys that end the watch.
const (
	keyCtrlC = 3
	keyCtrlD = 4
)

// quitOnKey calls quit when q, Ctrl-C or Ctrl-D is pressed, where in is a terminal. stop gives the terminal back as it was.
func quitOnKey(ctx context.Context, in io.Reader, quit func()) (stop func(), err error) {
	keys, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(keys.Fd())) {
		return func() {}, nil
	}
	before, err := term.MakeRaw(int(keys.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read keys from the terminal: %w", err)
	}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		readKeys(ctx, int(keys.Fd()), quit)
	}()
	return func() {
		cancel()
		<-ended
		_ = term.Restore(int(keys.Fd()), before)
	}, nil
}

// keyPoll is how long readKeys waits for a key before it looks whether it is still wanted.
const keyPoll = 100 * time.Millisecond

func readKeys(ctx context.Context, fd int, quit func()) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	key := make([]byte, 16)
	for ctx.Err() == nil {
		n, err := unix.Poll(poll, int(keyPoll.Milliseconds()))
		if n == 0 || err == unix.EINTR {
			continue
		}
		if n, err = unix.Read(fd, key); err != nil || n <= 0 {
			quit() // the terminal has gone
			return
		}
		if bytes.ContainsAny(key[:n], "qQ"+string(rune(keyCtrlC))+string(rune(keyCtrlD))) {
			quit()
			return
		}
	}
}
