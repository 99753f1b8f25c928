package spool

import (
	"log/slog"
	"time"

	"dcmgate/internal/walltime"

	"github.com/prometheus/client_golang/prometheus"
)

// EvictAfter says what has to have become of an instance before it may be evicted.
type EvictAfter uint8

// What an instance waits for.
const (
	EvictUnchanged EvictAfter = iota // what the spool was opened with the last time; of a new one EvictDelivered
	EvictDelivered                   // every destination has confirmed it
	EvictCommitted                   // and has committed itself where it was to be asked (JobAwaiting)
)

// Limits are those of Options that [Spool.SetLimits] changes; the fields mean the same.
type Limits struct {
	Quota, MinFree int64
	Retention      time.Duration
	KeepUnrouted   bool
}

// Options are a spool's settings. The zero value of each field means its default.
type Options struct {
	// Quota bounds the bytes that the records of instances take, not counting what segments hold ready. 0: no bound
	// but the disk. Delivered instances are evicted, oldest first, to stay under it; undelivered ones never.
	Quota int64
	// MinFree is left free on the file system, in bytes; 1 GiB, or a tenth of a smaller file system. Negative: none.
	MinFree int64
	// Retention is the age at which delivered instances are evicted even if there is room. 0: only for room.
	Retention time.Duration
	// EvictAfter says whether instances may be evicted that destinations are still to commit themselves to.
	EvictAfter EvictAfter
	// KeepUnrouted protects instances that never had a job from eviction for room: they go by Retention alone.
	// Without it they count as delivered, since nobody waits for them.
	KeepUnrouted bool
	// Evicted is told of the instances whose bytes were given up, a batch at a time, for an audit trail. It returns soon. nil
	// tells nobody.
	Evicted func([]Instance)
	// CustodyRecords bounds how many records of evicted instances are kept; 1,000,000.
	CustodyRecords int64
	// CustodyAge bounds how long they are kept; 400 days.
	CustodyAge time.Duration
	// ChangesKept bounds the change sequence that can be read back; 10,000,000.
	ChangesKept int64

	SegmentSize  int64 // nominal size of a segment in bytes; 128 MiB
	AllocateStep int64 // reserved ahead in each lane in bytes; 32 MiB
	MaxWriters   int   // instances being received at once; 256
	PoolBytes    int64 // segments kept or prepared to be written again, in bytes; 2 GiB; at most a quarter of Quota; negative: none
	// PrepareRate is how fast segments for the pool are zeroed ahead, in bytes per second, once nobody has stored for two
	// seconds. 0: none are.
	PrepareRate  int64
	ReserveBytes int64 // a file given back when the disk is full, so that the index can still be written; 64 MiB; negative: none
	MaxPending   int   // instances committed but not indexed yet; beyond, Commit waits; 8192

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	Now        func() time.Time      // time.Now

	window     int           // windowSize
	probeEvery time.Duration // probeEvery

	readThroughEvery time.Duration        // readThroughEvery
	passed           func() time.Duration // see walltime.New; by Now if that is given
}

func (o Options) withDefaults() Options {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.CustodyRecords, 1_000_000)
	def(&o.ChangesKept, 10_000_000)
	def(&o.SegmentSize, 128<<20)
	def(&o.AllocateStep, 32<<20)
	def(&o.PoolBytes, 2<<30)
	if o.Quota > 0 {
		// A small spool is not to be dwarfed by what it keeps ready.
		o.PoolBytes = min(o.PoolBytes, max(o.Quota/4, 1))
	}
	def(&o.ReserveBytes, 64<<20)
	if o.CustodyAge == 0 {
		o.CustodyAge = 400 * 24 * time.Hour
	}
	if o.MaxWriters == 0 {
		o.MaxWriters = 256
	}
	if o.window == 0 {
		o.window = windowSize
	}
	if o.probeEvery == 0 {
		o.probeEvery = probeEvery
	}
	if o.readThroughEvery == 0 {
		o.readThroughEvery = readThroughEvery
	}
	if o.MaxPending == 0 {
		o.MaxPending = 8192
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now, o.passed = time.Now, walltime.SinceStart()
	}
	if o.passed == nil {
		start := o.Now()
		o.passed = func() time.Duration { return o.Now().Sub(start) }
	}
	return o
}
