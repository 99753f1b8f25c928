package bench

import "time"

// Report is what was measured. It is written as JSON.
type Report struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Machine Machine   `json:"machine"`
	Cases   []Case    `json:"cases"`
}

// Machine is what was measured on, with the limits that no case depends on.
type Machine struct {
	Platform    string `json:"platform"` // such as linux/amd64
	Processors  int    `json:"processors"`
	MemoryBytes int64  `json:"memory_bytes"`
	Dir         string `json:"dir"`
	// FileSystem is that of Dir, such as ext4; a hexadecimal number if its name is not known here.
	FileSystem string `json:"file_system"`
	// InMemory says that it keeps nothing on a disk, so that its figures say nothing about one.
	InMemory bool `json:"in_memory"`
	// DigestMBPerSecond is the rate of SHA-256 on one processor.
	DigestMBPerSecond float64 `json:"digest_mb_per_second"`
	// LoopbackMBPerSecond is the rate of one TCP connection over the loopback interface.
	LoopbackMBPerSecond float64 `json:"loopback_mb_per_second"`
}

// Case is one size and number of associations.
type Case struct {
	SizeBytes    int64 `json:"size_bytes"`
	Associations int   `json:"associations"`
	Disk         Rate  `json:"disk"`
	Network      Rate  `json:"network"`
	Ingest       Rate  `json:"ingest"`
	Forward      Rate  `json:"forward"`
	EndToEnd     Rate  `json:"end_to_end"`
}

// Rate is one measurement.
type Rate struct {
	Instances          int     `json:"instances"`
	Seconds            float64 `json:"seconds"`
	InstancesPerSecond float64 `json:"instances_per_second"`
	MBPerSecond        float64 `json:"mb_per_second"` // of 1,000,000 bytes
	// Answers says how long C-STORE-RQ to C-STORE-RSP took, where instances were sent by this process.
	Answers *Latency `json:"answers,omitempty"`
	// Gateway says what the gateway's process used, where there was one.
	Gateway *Usage `json:"gateway,omitempty"`
}

// Latency are percentiles in milliseconds.
type Latency struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// Usage is what a process used.
type Usage struct {
	// CPUSecondsPerGB is processor time per 1,000,000,000 bytes of data sets.
	CPUSecondsPerGB float64 `json:"cpu_seconds_per_gb"`
	// PeakMB is the largest resident memory since the process started, mapped files included.
	PeakMB float64 `json:"peak_mb"`
}

func rate(instances int, size int64, took time.Duration) Rate {
	r := Rate{Instances: instances, Seconds: took.Seconds()}
	if took > 0 {
		r.InstancesPerSecond = float64(instances) / r.Seconds
		r.MBPerSecond = r.InstancesPerSecond * float64(size) / 1e6
	}
	return r
}
