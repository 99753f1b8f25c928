package gateway

import (
	"context"
	"fmt"
	"time"
)

// tellEvery is how often what the service manager shows is compared with what is.
const tellEvery = 5 * time.Second

// oneLine is what the service manager shows: where the gateway receives, and what keeps it from it.
func (g *Gateway) oneLine(p *parts) string {
	line := fmt.Sprintf("%s receives on %s", g.settings().AETitle, g.Listeners().DICOM)
	if err := p.canStore(); err != nil {
		line = fmt.Sprintf("%s does not receive: %v", g.settings().AETitle, err)
	}
	if p.spool.IndexDamage() != nil {
		line += "; its index is damaged, see dcmgate status"
	}
	if s := g.reloads.status(); s.Error != "" {
		line += fmt.Sprintf("; configuration of %s not taken", s.At.Format(time.TimeOnly))
	}
	return line
}

// alive is nil as long as the watchdog is to be fed. Whoever reads the log after its end finds the reason there.
func (g *Gateway) alive(p *parts) error {
	err := p.spool.Alive()
	if err != nil {
		g.log.Error("the watchdog is not fed: the spool no longer does its work", "error", err)
	}
	return err
}

// tellManager keeps the service manager's line true until ctx ends.
func (g *Gateway) tellManager(ctx context.Context, p *parts, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.ready:
		}
		if line := g.oneLine(p); line != told {
			g.notifier.Status(line)
			told = line
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
