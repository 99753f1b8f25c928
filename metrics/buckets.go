package metrics

import "github.com/prometheus/client_golang/prometheus"

// LatencyBuckets returns bounds in seconds for durations between a fast
// fdatasync and a slow network: 100 microseconds to about 50 seconds, doubling.
func LatencyBuckets() []float64 { return prometheus.ExponentialBuckets(100e-6, 2, 20) }

// SizeBuckets returns bounds in bytes for instances from a small structured
// report to a whole-slide image: 1 KiB to 4 GiB, in steps of four.
func SizeBuckets() []float64 { return prometheus.ExponentialBuckets(1<<10, 4, 12) }
