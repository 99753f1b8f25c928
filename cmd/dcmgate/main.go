// Dcmgate receives DICOM instances from modalities and archives, keeps them
// durably and delivers them to where they are to go.
//
// Every command of the command line has a file of its own; `dcmgate help`
// lists them. Exit status: 0 all well, 1 the operation failed, 2 wrong usage
// or configuration.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		// The first signal asks for a graceful stop. From then on signals do
		// what they do to any program, so that a second one ends it at once;
		// nothing acknowledged is lost by that.
		<-signals
		signal.Stop(signals) // before anybody sees that it stops
		stop()
		select {
		case second := <-signals: // it came between the two
			self, _ := os.FindProcess(os.Getpid()) // never fails
			_ = self.Signal(second)
		default:
		}
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
