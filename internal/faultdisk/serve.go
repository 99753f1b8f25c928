package faultdisk

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The variables of the environment that make a test binary the server of a disk.
const (
	serveBelow = "DCMGATE_FAULTDISK_BELOW" // the folder that holds its files
	serveAt    = "DCMGATE_FAULTDISK_AT"    // where it is mounted

	serveCaching = "DCMGATE_FAULTDISK_CACHING" // not empty: see MountCaching
)

func init() {
	at := os.Getenv(serveAt)
	if at == "" {
		return
	}
	if err := serve(os.Getenv(serveBelow), at); err != nil {
		fmt.Fprintln(os.Stderr, "faultdisk:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve mounts a disk and takes rules until there are no more.
func serve(below, at string) error {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP) // of a terminal, to all that the test is: it still has to unmount
	p := &plan{}
	if err := mount(below, at, os.Getenv(serveCaching) != "", p.check); err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }() // also where a test that failed still has a file open
	orders, counts := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var rules []Rule
		if err := orders.Decode(&rules); err != nil {
			return nil // the test is over
		}
		if err := counts.Encode(p.replace(rules)); err != nil {
			return err
		}
	}
}

// plan is what fails.
type plan struct {
	mu     sync.Mutex
	rules  []Rule
	failed int
}

func (p *plan) replace(rules []Rule) (failed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	failed = p.failed
	p.rules, p.failed = rules, 0
	return failed
}

// check is a disk's fault.
func (p *plan) check(op Op, path string) syscall.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.rules {
		r := &p.rules[i]
		switch {
		case !r.concerns(op, path):
		case r.Skip > 0:
			r.Skip--
		default:
			p.failed++
			errno := r.Errno
			if r.Times--; r.Times == 0 { // never, if it was 0
				p.rules = slices.Delete(p.rules, i, i+1)
			}
			return errno
		}
	}
	return 0
}

func (r *Rule) concerns(op Op, path string) bool {
	if len(r.Ops) == 0 && !op.Changes() || len(r.Ops) > 0 && !slices.Contains(r.Ops, op) {
		return false
	}
	return strings.HasPrefix(path, r.Path)
}
