package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"dcmgate/audit"
	"dcmgate/spool"
	"dcmgate/views"
)

// Incident is something that a person may want to look into. It holds no patient data.
type Incident struct {
	Kind    IncidentKind `json:"kind"`
	Subject string       `json:"subject,omitempty"` // caller, destination, database
	What    string       `json:"what"`              // and what to do
	Count   int64        `json:"count"`             // how often, or how many instances or rows
	At      time.Time    `json:"at,omitzero"`       // the last time
}

// IncidentKind says what an incident is about.
type IncidentKind string

// The kinds.
const (
	IncidentRejected IncidentKind = "rejected"   // an association
	IncidentRights   IncidentKind = "rights"     // a peer may not do what it asks for
	IncidentStorage  IncidentKind = "not stored" // an instance
	IncidentDelivery IncidentKind = "delivery"   // jobs are parked or refused
	IncidentDamage   IncidentKind = "damaged"    // stored instances
	IncidentRows     IncidentKind = "rows"       // held back, or lost
	IncidentDrop     IncidentKind = "drop folder"
	IncidentExpiry   IncidentKind = "certificate"
	IncidentClock    IncidentKind = "clock" // it was set
	IncidentAudit    IncidentKind = "audit" // messages of the audit trail are not where they are to be
)

// Limits of what is remembered and shown.
const (
	maxIncidents  = 50
	parkedLooked  = 200 // parked jobs that are looked at for their reasons
	incidentStays = 24 * time.Hour
)

// incidents remembers the last things that went wrong on the way in; what can be asked of the spool is not in it.
type incidents struct {
	now func() time.Time

	mu   sync.Mutex
	list []Incident // the last one at the end
}

func newIncidents() *incidents { return &incidents{now: time.Now} }

// note remembers an incident. One of the same kind, subject and text only counts. A nil receiver remembers nothing.
func (n *incidents) note(kind IncidentKind, subject, what string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	i := Incident{Kind: kind, Subject: subject, What: what, Count: 1, At: n.now()}
	if at := slices.IndexFunc(n.list, func(old Incident) bool {
		return old.Kind == kind && old.Subject == subject && old.What == what
	}); at >= 0 {
		i.Count += n.list[at].Count
		n.list = slices.Delete(n.list, at, at+1)
	} else if len(n.list) == maxIncidents {
		n.list = slices.Delete(n.list, 0, 1)
	}
	n.list = append(n.list, i)
}

// recent returns what was noted within a day, the last first.
func (n *incidents) recent() []Incident {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []Incident
	for _, i := range slices.Backward(n.list) {
		if n.now().Sub(i.At) < incidentStays {
			list = append(list, i)
		}
	}
	return list
}

// incidentStatus joins what was noted with what waits for a person: that first.
func incidentStatus(n *incidents, s *spool.Spool, trail []audit.Trouble, status *Status) []Incident {
	list := append(parkedIncidents(s), rowIncidents(status.Views)...)
	for _, c := range status.Certificates {
		if c.Remark != "" {
			list = append(list, Incident{Kind: IncidentExpiry, Subject: c.Use, What: c.Remark, Count: 1})
		}
	}
	for _, d := range status.Drop {
		if d.Trouble != "" {
			list = append(list, Incident{Kind: IncidentDrop, Subject: d.Name, What: d.Trouble, Count: 1, At: d.Since})
		}
	}
	if by := s.ClockAhead(); by > 0 {
		list = append(list, Incident{Kind: IncidentClock, Count: 1, What: fmt.Sprintf(
			"the machine's clock jumped ahead by %v; nothing is removed by its age for a day; if the clock is wrong, set it right, which needs no restart", by.Round(time.Second))})
	}
	for _, t := range trail {
		list = append(list, Incident{Kind: IncidentAudit, What: t.What, Count: 1, At: t.Since})
	}
	if err := s.IndexDamage(); err != nil {
		list = append(list, Incident{Kind: IncidentDamage, Subject: "index", Count: 1, What: fmt.Sprintf(
			"%v; nothing is lost, the instances are in the segments, but the gateway will not start again so: see to the disk (the kernel's log), then stop the gateway and run dcmgate verify --rebuild", err)})
	}
	if d := status.Activity.Damaged; d > 0 {
		list = append(list, Incident{Kind: IncidentDamage, Count: d, What: "stored instances were found to be damaged since the start; run dcmgate verify, which names them, and have them sent again"})
	}
	list = append(list, n.recent()...)
	return list[:min(len(list), maxIncidents)]
}

// parkedIncidents says for each destination why jobs wait for a person, as far as the first of them tell.
func parkedIncidents(s *spool.Spool) []Incident {
	type reason struct{ destination, code string }
	found := make(map[reason]*Incident)
	for _, q := range []struct {
		state spool.JobState
		any   func(spool.JobCounts) bool
	}{
		{spool.JobParked, func(c spool.JobCounts) bool { return c.Parked > 0 }},
		{spool.JobRefused, func(c spool.JobCounts) bool { return c.Refused > 0 }},
	} {
		for name, counts := range s.Counts() {
			if !q.any(counts) {
				continue
			}
			jobs, _, err := s.Jobs(spool.JobFilter{Destination: name, State: q.state}, "", parkedLooked)
			if err != nil {
				continue // an index that cannot be read is said elsewhere
			}
			for i := range jobs {
				key := reason{name, jobs[i].Code}
				in := found[key]
				if in == nil {
					in = &Incident{Kind: IncidentDelivery, Subject: name, What: jobs[i].LastError}
					if jobs[i].Code != "" {
						in.What = jobs[i].Code + ": " + in.What
					}
					found[key] = in
				}
				in.Count++
				if jobs[i].Updated.After(in.At) {
					in.At = jobs[i].Updated
				}
			}
		}
	}
	list := make([]Incident, 0, len(found))
	for _, in := range found {
		list = append(list, *in)
	}
	slices.SortFunc(list, func(a, b Incident) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.What, b.What))
	})
	return list
}

func rowIncidents(databases []views.Status) (list []Incident) {
	for i := range databases {
		for _, l := range databases[i].Lacking {
			if l.Held {
				list = append(list, Incident{Kind: IncidentRows, Subject: databases[i].Name, Count: l.Rows, What: fmt.Sprintf("rows of %s are held back: %s", l.View, l.Reason)})
			}
		}
	}
	return list
}
