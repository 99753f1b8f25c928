package main

import (
	"os"
	"runtime/debug"
)

// memoryLimit is where the garbage collector begins to work harder. The
// gateway streams, so what lives is small; without a limit the collector would
// let garbage of short bursts grow to many times that.
const memoryLimit = 128 << 20

// limitMemory sets the default limit unless $GOMEMLIMIT sets another.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
