package gateway

import "slices"

func (v *validator) peers(raws []rawPeer, t ServerTLS) []Peer {
	var peers []Peer
	for i := range raws {
		p := v.peer(&raws[i])
		v.distinct(&raws[i], p, peers)
		peers = append(peers, p)
	}
	v.moveTo(raws, peers)
	v.certificates(raws, peers, t)
	return peers
}

func (v *validator) peer(raw *rawPeer) Peer {
	p := Peer{
		AETitle:     parsed(v, raw.AETitle, parseAETitle),
		From:        parsedList(v, raw.From, parsePrefix),
		Certificate: parsedList(v, raw.Certificate, parseCertificate),
		Allow:       []Right{RightStore},
		Query:       v.peerQuery(&raw.Query),
		MoveTo:      parsedList(v, raw.MoveTo, parseAETitle),
	}
	if raw.Address.Set {
		p.Address = parsed(v, raw.Address, parseAddress)
	}
	if p.TLS = v.clientTLS(&raw.TLS); p.TLS.Enabled && p.Address == "" {
		v.fail(raw.TLS.at, "is for calling the peer, which needs its address")
	}
	if raw.Allow != nil {
		p.Allow = nil
		for _, r := range raw.Allow {
			p.Allow = append(p.Allow, oneOf(v, r, allRights...))
		}
	}
	return p
}

// distinct checks that an entry can be told from those before it: a caller is
// the first that it fits, and a move destination is known by its AE title alone.
func (v *validator) distinct(raw *rawPeer, p Peer, before []Peer) {
	anybody := len(p.From)+len(p.Certificate) == 0
	if p.AETitle == anyTitle && anybody {
		v.fail(raw.AETitle.at, `"*" needs from or certificate; to admit everybody set dicom.accept to any`)
	}
	if p.AETitle == anyTitle && p.Address != "" {
		v.fail(raw.Address.at, `"*" is nobody whom instances could be moved to`)
	}
	if p.AETitle == "" {
		return
	}
	for i, q := range before {
		switch {
		case q.AETitle != p.AETitle:
		case len(q.From)+len(q.Certificate) == 0:
			v.fail(raw.AETitle.at, "AE title %s is already peers[%d], which takes calls from everywhere; give that one from or certificate, or one entry all addresses", p.AETitle, i)
			return
		case p.Address != "" && q.Address != "":
			v.fail(raw.Address.at, "peers[%d] is AE title %s with an address, too; a move destination is known by its AE title alone", i, p.AETitle)
			return
		}
	}
}

// Allows reports whether the peer has a right.
func (p Peer) Allows(r Right) bool {
	return slices.Contains(p.Allow, r) || r == RightCommit && slices.Contains(p.Allow, RightStore)
}
