package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// EvictAfter says what has to have become of an instance before it may be
// evicted.
type EvictAfter string

// The policies.
const (
	EvictAfterDelivered EvictAfter = "delivered"
	EvictAfterCommitted EvictAfter = "committed" // by the destinations that are asked for it
)

// DestinationCommitment says whether and how a destination is asked to commit
// itself to keep what it was sent.
type DestinationCommitment struct {
	Enabled  bool
	Wait     time.Duration // from a delivery to the request
	Batch    int           // instances named by one request
	Linger   time.Duration // the association is kept for the report
	Timeout  time.Duration // of a report
	Attempts int           // sendings again of what is not committed
}

func (v *validator) destinationCommitment(raw *rawCustody) DestinationCommitment {
	return DestinationCommitment{
		Enabled:  v.truth(raw.Enabled),
		Wait:     v.duration(raw.Wait, 100*time.Millisecond, 24*time.Hour),
		Batch:    v.whole(raw.Batch, 1, spool.MaxTransaction),
		Linger:   v.duration(raw.Linger, 0, 10*time.Minute),
		Timeout:  v.duration(raw.Timeout, time.Second, 7*24*time.Hour),
		Attempts: v.whole(raw.Attempts, 0, 1000),
	}
}

// forwarderCommitment leaves no field to its default.
func forwarderCommitment(c DestinationCommitment) forwarder.Commitment {
	o := forwarder.Commitment(c)
	if o.Linger == 0 {
		o.Linger = -1
	}
	if o.Attempts == 0 {
		o.Attempts = -1
	}
	return o
}

// spool is the spool's word for the policy.
func (p EvictAfter) spool() spool.EvictAfter {
	if p == EvictAfterCommitted {
		return spool.EvictCommitted
	}
	return spool.EvictDelivered
}

// checkEvictAfter remarks on a policy without anything that it could concern.
func (v *validator) checkEvictAfter(cfg *Config) {
	asked := func(d Destination) bool { return d.Commitment.Enabled }
	if cfg.Spool.EvictAfter == EvictAfterCommitted && !slices.ContainsFunc(cfg.Destinations, asked) {
		v.note("spool.evict_after: committed is the same as delivered, since no destination has commitment.enabled")
	}
}

// abandonAwaiting ends the waiting for commitments of destinations that are not
// asked for them any more; else nothing ever would.
func (g *Gateway) abandonAwaiting(ctx context.Context, cfg *settings, s *spool.Spool) {
	counts := s.Counts()
	for _, d := range cfg.Destinations {
		if d.Commitment.Enabled || counts[d.Name].Awaiting == 0 {
			continue
		}
		n, err := s.Drop(ctx, spool.JobFilter{Destination: d.Name, State: spool.JobAwaiting}, "commitment is not asked for any more")
		switch {
		case err == nil:
			g.log.Warn("storage commitment is not asked for any more; what awaited it counts as delivered", "destination", d.Name, "instances", n)
		case ctx.Err() == nil:
			g.log.Error("what awaits storage commitment could not be changed", "destination", d.Name, "error", err)
		}
	}
}

// reporters are the destinations that may call to report on storage commitment.
type reporters struct {
	destinations []Destination // that are asked for it
	peers        []Peer
	resolve      func(ctx context.Context, host string) ([]netip.Addr, error)
}

// resolveWait bounds the look-up of a destination's address.
const resolveWait = 2 * time.Second

func newReporters(cfg *Config) reporters {
	r := reporters{peers: cfg.Peers, resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}}
	for _, d := range cfg.Destinations {
		if d.Commitment.Enabled {
			r.destinations = append(r.destinations, d)
		}
	}
	return r
}

// admits reports whether a request for an association proposes storage
// commitment and is from a destination that is asked for it: by its AE title,
// and either as one of the peers, or from an address that the destination's own
// stands for. Where that cannot be resolved the AE title has to do: a report is
// taken for a transaction whose UID only the destination knows.
func (r *reporters) admits(ctx context.Context, rq *dimse.AssociationRequest) bool {
	if !proposesCommitment(rq.RQ) {
		return false
	}
	from := rq.Remote.Addr().Unmap()
	for _, d := range r.destinations {
		if d.AETitle == rq.CallingAETitle() && r.mayBe(d.AETitle, rq.TLS) && (r.isPeer(d.AETitle, from) || r.standsFor(ctx, d.Address, from)) {
			return true
		}
	}
	return false
}

func proposesCommitment(rq *pdu.AssociateRQ) bool {
	return slices.ContainsFunc(rq.PresentationContexts, func(pc pdu.PresentationContext) bool {
		return dicom.UID(pc.AbstractSyntax) == commitment.SOPClass
	})
}

// mayBe reports whether nothing speaks against an AE title: where it is known by certificates, one of them has to be shown.
func (r *reporters) mayBe(aeTitle string, state *tls.ConnectionState) bool {
	bound := false
	for _, p := range r.peers {
		if p.AETitle == aeTitle && len(p.Certificate) > 0 {
			if bound = true; p.AdmitsCertificate(state) {
				return true
			}
		}
	}
	return !bound
}

func (r *reporters) isPeer(aeTitle string, from netip.Addr) bool {
	return slices.ContainsFunc(r.peers, func(p Peer) bool { return p.AETitle == aeTitle && p.AdmitsAddress(from) })
}

func (r *reporters) standsFor(ctx context.Context, address string, from netip.Addr) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap() == from
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWait)
	defer cancel()
	addrs, err := r.resolve(ctx, host)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Unmap() == from })
}

// acceptReports is a policy that accepts storage commitment, too.
func (c *contexts) acceptReports(others dimse.ContextPolicy) dimse.ContextPolicy {
	return func(abstract dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
		if abstract != commitment.SOPClass {
			return others(abstract, offered)
		}
		return c.dataSetSyntax(offered)
	}
}

// CustodyStatus says how far a destination commits itself to what it was sent.
type CustodyStatus struct {
	Awaiting       int64     `json:"awaiting"`           // instances delivered, commitment not reported yet
	Committed      int64     `json:"committed"`          // of those on record
	Refused        int64     `json:"refused"`            // sent again in vain; they wait for a person
	Requests       int       `json:"requests,omitempty"` // taken by the destination and not reported on
	NextRequest    time.Time `json:"next_request,omitzero"`
	LastError      string    `json:"last_error,omitempty"` // while requests or reports fail; and what to do
	LastErrorCode  string    `json:"last_error_code,omitempty"`
	LastErrorSince time.Time `json:"last_error_since,omitzero"`
}

// custodyStatus is nil where there is nothing to tell.
func custodyStatus(live *forwarder.CommitmentStatus, n spool.JobCounts) *CustodyStatus {
	if live == nil && n.Awaiting+n.Committed+n.Refused == 0 {
		return nil
	}
	s := &CustodyStatus{Awaiting: n.Awaiting, Committed: n.Committed, Refused: n.Refused}
	if live == nil {
		return s
	}
	s.Requests = live.Requests
	if live.Next.After(time.Now()) {
		s.NextRequest = live.Next
	}
	if t := live.Trouble; t != nil {
		s.LastError, s.LastErrorCode, s.LastErrorSince = t.Text, t.Code, t.Since
	}
	return s
}

// Text is the status in a few words.
func (s *CustodyStatus) Text() string {
	if s == nil {
		return "-"
	}
	text := fmt.Sprintf("%d awaited, %d committed, %d refused", s.Awaiting, s.Committed, s.Refused)
	if s.LastError != "" {
		text += ", degraded"
	}
	return text
}
