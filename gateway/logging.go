package gateway

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Logging makes a logger whose level and format can change while it is in use.
type Logging struct {
	level  slog.LevelVar
	json   atomic.Bool
	logger *slog.Logger
}

// NewLogging logs to out as l says.
func NewLogging(out io.Writer, l Log) *Logging {
	o := new(Logging)
	options := &slog.HandlerOptions{Level: &o.level}
	o.set(l)
	out = &oneAtATime{out: out}
	o.logger = slog.New(&logHandler{o, slog.NewTextHandler(out, options), slog.NewJSONHandler(out, options)})
	return o
}

// oneAtATime keeps the lines of two handlers apart.
type oneAtATime struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *oneAtATime) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// Logger is the logger.
func (o *Logging) Logger() *slog.Logger { return o.logger }

func (o *Logging) set(l Log) {
	if o == nil {
		return
	}
	o.level.Set(l.Level)
	o.json.Store(l.Format == "json")
}

// logHandler has a handler for each format, and uses one.
type logHandler struct {
	*Logging
	inText, inJSON slog.Handler
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.json.Load() {
		return h.inJSON.Handle(ctx, r)
	}
	return h.inText.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.Logging, h.inText.WithAttrs(attrs), h.inJSON.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.Logging, h.inText.WithGroup(name), h.inJSON.WithGroup(name)}
}
