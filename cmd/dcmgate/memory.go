package main

import (
	"os"
	"runtime/debug"
)

// The gateway streams, so what lives in memory is small, except for the index's write buffers: some 100 MiB that the
// collector counts though most of their pages are never touched. A limit close to them would have it run without pause
// (126 collections a second were seen, a third of all processor time), and the usual growth by 100 % would let as much
// garbage pile up.
const (
	memoryLimit    = 256 << 20
	garbagePercent = 30
)

// limitMemory sets the defaults unless $GOMEMLIMIT and $GOGC set others.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}
