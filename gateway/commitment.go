package gateway

import (
	"time"

	"dcmgate/commitment"
	"dcmgate/dimse"
)

// newKeeper builds what answers requests for storage commitment.
func (g *Gateway) newKeeper(s *settings, p *parts) *commitment.Keeper {
	return commitment.NewKeeper(commitment.KeeperOptions{
		Store:      p.spool,
		AETitle:    s.AETitle,
		Dial:       p.callees.reportee,
		MaxAge:     s.Commitment.MaxAge,
		Requested:  p.audit.committing,
		Reported:   p.audit.committed,
		Logger:     g.log,
		Registerer: g.registry,
	})
}

// serveCommitment adds N-ACTION to the services of a peer that may ask for
// storage commitment.
func (r *receiver) serveCommitment(services dimse.Mux, p Peer, rq *dimse.AssociationRequest) {
	if r.keeper != nil && p.Allows(RightCommit) {
		services[dimse.NActionRQ] = r.keeper.Service(rq.CallingAETitle())
	}
}

// CommitmentStatus says how reporting to a peer goes that has asked for
// storage commitment and not taken every result yet.
type CommitmentStatus struct {
	Peer       string    `json:"peer"`
	Waiting    int       `json:"waiting"` // results
	Oldest     time.Time `json:"oldest"`  // request
	LastError  string    `json:"last_error,omitempty"`
	NextReport time.Time `json:"next_report,omitzero"`
}

func commitmentStatus(k *commitment.Keeper) []CommitmentStatus {
	var list []CommitmentStatus
	for _, s := range k.Status() {
		list = append(list, CommitmentStatus{Peer: s.Peer, Waiting: s.Waiting, Oldest: s.Oldest, LastError: s.Problem, NextReport: s.Next})
	}
	return list
}
