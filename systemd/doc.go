// Package systemd tells the service manager how the gateway is doing.
//
// The gateway runs as a Type=notify service: it reports READY once every
// listener is open, STOPPING when its shutdown begins, a one-line STATUS that
// `systemctl status` shows, and WATCHDOG while it is alive. All of
// it goes over the datagram socket named by $NOTIFY_SOCKET, see sd_notify(3).
//
// Where socket units belong to the service, [PassedSockets] has what they listen on.
//
// Outside systemd (a terminal, a container, a test) the variable is absent and
// every method does nothing, so callers never ask whether a manager is there:
//
//	n := systemd.NewNotifier()
//	n.Ready("listening on 127.0.0.1:11112")
//	defer n.Stopping()
//	go n.Watch(ctx, alive)
package systemd
