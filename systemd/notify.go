package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier sends state changes to the service manager. The zero value and a
// nil Notifier are usable and silent where no manager listens.
type Notifier struct {
	send func(state string) // replaced by tests
}

// NewNotifier returns a Notifier for the socket in $NOTIFY_SOCKET.
func NewNotifier() *Notifier {
	return &Notifier{send: func(state string) {
		// A lost notification is not worth stopping a gateway for: the
		// manager's own timeouts say what it makes of it.
		_, _ = daemon.SdNotify(false, state)
	}}
}

// Ready reports that start-up is complete, with a status line.
func (n *Notifier) Ready(status string) {
	n.notify(daemon.SdNotifyReady + "\nSTATUS=" + oneLine(status))
}

// Status sets the line that `systemctl status` shows.
func (n *Notifier) Status(status string) { n.notify("STATUS=" + oneLine(status)) }

// Reloading reports that the configuration is being taken again; Ready ends it.
func (n *Notifier) Reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return // there is no Linux without it
	}
	n.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
}

// Stopping reports that shutdown has begun.
func (n *Notifier) Stopping() { n.notify(daemon.SdNotifyStopping) }

// Watch feeds the watchdog at half the interval the unit asks for
// (WatchdogSec=), for as long as alive returns nil. It returns when ctx ends,
// or at once where no watchdog is set.
func (n *Notifier) Watch(ctx context.Context, alive func() error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return
	}
	n.watch(ctx, interval/2, alive)
}

func (n *Notifier) watch(ctx context.Context, every time.Duration, alive func() error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if alive() == nil {
			n.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Notifier) notify(state string) {
	if n != nil && n.send != nil {
		n.send(state)
	}
}

// oneLine keeps a status from smuggling another assignment into the datagram,
// whose fields are separated by newlines.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}
