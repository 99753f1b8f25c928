package gateway

import (
	"cmp"
	"slices"
	"time"

	"dcmgate/dropfolder"
	"dcmgate/forwarder"
	"dcmgate/spool"
	"dcmgate/views"
)

// Status is what a gateway knows of itself. Without a running gateway only
// the spool's part and the counts of jobs are known.
type Status struct {
	Running      bool                `json:"running"`
	Version      string              `json:"version,omitempty"`
	AETitle      string              `json:"ae_title"`
	Config       string              `json:"config,omitempty"` // file, "" for the defaults
	Reload       ReloadStatus        `json:"reload,omitzero"`  // of a running gateway
	DataDir      string              `json:"data_dir"`
	Started      time.Time           `json:"started,omitzero"`
	Listeners    Listeners           `json:"listeners"`
	Associations AssociationStatus   `json:"associations"`
	Spool        SpoolStatus         `json:"spool"`
	Recovery     RecoveryStatus      `json:"recovery"`
	Received     ReceivedStatus      `json:"received"`
	Destinations []DestinationStatus `json:"destinations"`
	Commitments  []CommitmentStatus  `json:"commitments,omitempty"` // reports that wait
	Views        []views.Status      `json:"views"`
	Upstreams    []UpstreamStatus    `json:"upstreams,omitempty"`
	Drop         []dropfolder.Status `json:"drop,omitempty"`
	Certificates []CertificateStatus `json:"certificates,omitempty"`
	Activity     ActivityStatus      `json:"activity"`
	Incidents    []Incident          `json:"incidents,omitempty"` // those that wait for a person, then the last of others
	Notes        []string            `json:"notes,omitempty"`
}

// Listeners are the addresses in use, "" for none.
type Listeners struct {
	DICOM    string `json:"dicom,omitempty"`
	DICOMTLS string `json:"dicom_tls,omitempty"`
	HTTP     string `json:"http,omitempty"`
	Public   string `json:"public,omitempty"`
}

// CertificateStatus says how long a certificate is good that the gateway presents or trusts.
type CertificateStatus struct {
	Use     string    `json:"use"`
	Expires time.Time `json:"expires"`
	Remark  string    `json:"remark,omitempty"` // what is wrong with its validity, or soon will be
}

func certificateStatus(list []ownCertificate) (status []CertificateStatus) {
	for i := range list {
		remark, _ := list[i].remark(time.Now())
		status = append(status, CertificateStatus{list[i].use, list[i].leaf.NotAfter, remark})
	}
	return status
}

// AssociationStatus counts open associations by who asked for them.
type AssociationStatus struct {
	In  int `json:"in"`
	Out int `json:"out"`
}

// SpoolStatus says what is kept and how much room there is.
type SpoolStatus struct {
	Healthy        bool      `json:"healthy"`
	Error          string    `json:"error,omitempty"` // why not
	Pressure       string    `json:"pressure"`
	Instances      int64     `json:"instances"`
	Evicted        int64     `json:"evicted"`
	Bytes          int64     `json:"bytes"`
	EvictableBytes int64     `json:"evictable_bytes"`
	AllocatedBytes int64     `json:"allocated_bytes"`
	IndexBytes     int64     `json:"index_bytes"`
	FreeBytes      int64     `json:"free_bytes"`
	TotalBytes     int64     `json:"total_bytes"`
	Quota          int64     `json:"quota"` // 0: none
	Oldest         time.Time `json:"oldest,omitzero"`
	LastSequence   uint64    `json:"last_sequence"`
}

// RecoveryStatus says what the last start found.
type RecoveryStatus struct {
	Replayed    int           `json:"replayed"` // acknowledged but not indexed, indexed now
	Torn        int           `json:"torn"`     // never acknowledged, set aside
	Damaged     int           `json:"damaged"`
	Unreadable  int           `json:"unreadable"`
	Quarantined []string      `json:"quarantined,omitempty"`
	Duration    time.Duration `json:"duration"` // nanoseconds
}

// ReceivedStatus counts since the start, and over the last ten seconds.
type ReceivedStatus struct {
	Instances          int64   `json:"instances"` // answered with success, duplicates included
	Refused            int64   `json:"refused"`
	InstancesPerSecond float64 `json:"instances_per_second"`
}

// DestinationStatus says how delivery to one destination goes.
type DestinationStatus struct {
	Name           string    `json:"name"`
	Configured     bool      `json:"configured"` // false: only jobs are left of it
	AETitle        string    `json:"ae_title,omitempty"`
	Address        string    `json:"address,omitempty"`
	State          string    `json:"state"`
	Breaker        string    `json:"breaker,omitempty"`
	NextProbe      time.Time `json:"next_probe,omitzero"` // of an open breaker
	Pending        int64     `json:"pending"`
	Active         int64     `json:"active"`
	Parked         int64     `json:"parked"`
	Oldest         time.Time `json:"oldest,omitzero"` // receipt of the oldest instance that is pending
	Delivered      int64     `json:"delivered"`       // whatever became of its commitment
	Dropped        int64     `json:"dropped"`
	Associations   int       `json:"associations"`
	Window         int       `json:"window,omitempty"` // as negotiated last
	BytesPerSecond float64   `json:"bytes_per_second"`
	Rate           string    `json:"rate,omitempty"`       // limit at present
	LastError      string    `json:"last_error,omitempty"` // and what to do
	LastErrorCode  string    `json:"last_error_code,omitempty"`
	LastErrorAt    time.Time `json:"last_error_at,omitzero"`
	LastErrorCount int       `json:"last_error_count,omitempty"` // in a row
	// Custody is nil where storage commitment is not asked for.
	Custody *CustodyStatus `json:"commitment,omitempty"`
}

// States of destinations that no forwarder serves.
const (
	stateNotRunning    = "gateway not running"
	stateNotConfigured = "not configured"
)

// spoolStatus describes a spool that is open.
func spoolStatus(s *spool.Spool, quota int64) SpoolStatus {
	st := s.Stats()
	status := SpoolStatus{
		Healthy:        st.Healthy,
		Pressure:       st.Pressure.String(),
		Instances:      st.Instances,
		Evicted:        st.Evicted,
		Bytes:          st.Bytes,
		EvictableBytes: st.EvictableBytes,
		AllocatedBytes: st.AllocatedBytes,
		IndexBytes:     st.IndexBytes,
		FreeBytes:      st.FreeBytes,
		TotalBytes:     st.TotalBytes,
		Quota:          quota,
		Oldest:         st.Oldest,
		LastSequence:   st.Sequence,
	}
	if err := s.Health(); err != nil {
		status.Healthy, status.Error = false, err.Error()
	}
	return status
}

func recoveryStatus(r spool.Recovery) RecoveryStatus {
	return RecoveryStatus{
		Replayed: r.Replayed, Torn: r.Torn, Damaged: r.Damaged, Unreadable: r.Unreadable,
		Quarantined: r.Quarantined, Duration: r.Duration,
	}
}

// destinationStatus joins what the configuration, the forwarder (nil if none
// runs) and the queue know of each destination: the configured ones in their
// order, then those of which only jobs are left.
func destinationStatus(configured []Destination, live []forwarder.Status, counts map[string]spool.JobCounts, oldest map[string]spool.OldestJobs) []DestinationStatus {
	list := []DestinationStatus{}
	for _, c := range configured {
		d := DestinationStatus{Name: c.Name, Configured: true, AETitle: c.AETitle, Address: c.Address, State: stateNotRunning}
		for i := range live {
			if live[i].Name == c.Name {
				d.describe(&live[i])
			}
		}
		list = append(list, d)
	}
	left := len(list)
	for name := range counts {
		if !slices.ContainsFunc(list[:left], func(d DestinationStatus) bool { return d.Name == name }) {
			list = append(list, DestinationStatus{Name: name, State: stateNotConfigured})
		}
	}
	slices.SortFunc(list[left:], func(a, b DestinationStatus) int { return cmp.Compare(a.Name, b.Name) })
	for i := range list {
		n := counts[list[i].Name]
		list[i].Pending, list[i].Active, list[i].Parked = n.Pending, n.Active, n.Parked
		list[i].Oldest = oldest[list[i].Name].Pending
		list[i].Delivered, list[i].Dropped = n.Delivered+n.Awaiting+n.Committed, n.Dropped
		j := slices.IndexFunc(live, func(s forwarder.Status) bool { return s.Name == list[i].Name })
		var commitments *forwarder.CommitmentStatus
		if j >= 0 {
			commitments = live[j].Commitment
		}
		list[i].Custody = custodyStatus(commitments, n)
	}
	return list
}

// describe fills in what a running forwarder knows.
func (d *DestinationStatus) describe(s *forwarder.Status) {
	d.State = s.State
	d.Breaker = s.Breaker.String()
	d.NextProbe = s.NextProbe
	d.Associations = s.Associations
	d.Window = s.Window
	d.BytesPerSecond = s.Goodput
	d.Rate = s.Rate.String()
	if t := s.Trouble; t != nil {
		d.LastError, d.LastErrorCode, d.LastErrorAt, d.LastErrorCount = t.Text, t.Code, t.At, t.Count
	}
}

// offlineStatus describes a spool without a gateway.
func offlineStatus(cfg Config, s *spool.Spool) Status {
	return Status{
		AETitle:      cfg.AETitle,
		Config:       cfg.Source,
		DataDir:      cfg.DataDir,
		Incidents:    parkedIncidents(s),
		Spool:        spoolStatus(s, cfg.Spool.Quota),
		Recovery:     recoveryStatus(s.Recovery()),
		Destinations: destinationStatus(cfg.Destinations, nil, s.Counts(), s.OldestJobs()),
		Views:        []views.Status{},
		Notes:        cfg.Notes,
	}
}
