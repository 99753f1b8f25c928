package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ErrNotRunning says that no gateway runs on a data directory.
var ErrNotRunning = errors.New("no gateway is running")

// CheckHealth asks the gateway that runs on the data directory of cfg whether
// its durable path works and, if ready is true, whether it receives. It is nil
// if so, ErrNotRunning if there is none, else the gateway's reason.
func CheckHealth(ctx context.Context, cfg Config, ready bool) error {
	conn, err := dialControl(ctx, cfg.DataDir)
	if err != nil {
		if isNotRunning(err) {
			return fmt.Errorf("%w on %s", ErrNotRunning, cfg.DataDir)
		}
		return fmt.Errorf("connect to the running gateway: %w", err)
	}
	conn.Close()
	c := newClient(cfg.DataDir)
	defer c.close()
	path := "/healthz"
	if ready {
		path = "/readyz"
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(rq)
	if err != nil {
		return fmt.Errorf("ask the running gateway: %w", err)
	}
	defer resp.Body.Close()
	reason, err := io.ReadAll(io.LimitReader(resp.Body, maxControlBody))
	if err != nil {
		return fmt.Errorf("ask the running gateway: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(reason)))
	}
	return nil
}
