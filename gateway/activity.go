package gateway

import "dcmgate/metrics"

// ActivityStatus counts since the start what has been done, as /metrics has it.
type ActivityStatus struct {
	ReceivedBytes  int64 `json:"received_bytes"` // data sets stored
	Duplicates     int64 `json:"duplicates"`
	NewVersions    int64 `json:"new_versions"`
	Damaged        int64 `json:"damaged"` // stored instances found to be damaged
	Delivered      int64 `json:"delivered"`
	DeliveredBytes int64 `json:"delivered_bytes"`
	Rejected       int64 `json:"rejected_associations"`
	Queries        int64 `json:"queries"`
	Retrievals     int64 `json:"retrievals"` // C-MOVE and C-GET
	Requests       int64 `json:"http_requests"`
	RequestsFailed int64 `json:"http_requests_failed"` // for want of an instance or its index, not for the client's fault
	RequestBytes   int64 `json:"http_bytes"`
}

func activityStatus(s metrics.Snapshot) ActivityStatus {
	sum := func(name string, labels ...string) int64 { return int64(s.Sum(name, labels...)) }
	const requests = "dcmgate_association_requests_total"
	return ActivityStatus{
		ReceivedBytes:  sum("dcmgate_received_bytes_total"),
		Duplicates:     sum("dcmgate_duplicates_total"),
		NewVersions:    sum("dcmgate_new_versions_total"),
		Damaged:        sum("dcmgate_instances_damaged_total"),
		Delivered:      sum("dcmgate_instances_delivered_total"),
		DeliveredBytes: sum("dcmgate_delivered_bytes_total"),
		Rejected:       sum(requests, "direction", "in", "outcome", "rejected-permanent") + sum(requests, "direction", "in", "outcome", "rejected-transient"),
		Queries:        sum("dcmgate_queries_total"),
		Retrievals:     sum("dcmgate_moves_total") + sum("dcmgate_gets_total"),
		Requests:       sum("dcmgate_public_requests_total"),
		RequestsFailed: sum("dcmgate_public_requests_total", "outcome", "damaged") + sum("dcmgate_public_requests_total", "outcome", "failed"),
		RequestBytes:   sum("dcmgate_public_bytes_total"),
	}
}
