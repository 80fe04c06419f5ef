package replica

import (
	"cmp"
	"net/netip"
	"slices"
)

// SetPeers says which other nodes there are, as far as gossip knows. It replaces the list of the last call, but for
// those that have shown the node key: they stay for a time. Of too many those stay that were there before.
func (r *Replicator) SetPeers(peers []Peer) {
	r.mu.Lock()
	r.wanted = r.chooseLocked(peers)
	for _, p := range r.wanted {
		if one := r.peerLocked(p.ID); one.good == "" || one.good == p.Addr || one.addr == "" {
			one.addr = p.Addr
		}
	}
	r.mu.Unlock()
	r.changed.Up()
}

// chooseLocked leaves out what is too much of the peers that gossip knows.
func (r *Replicator) chooseLocked(peers []Peer) []Peer {
	rank := func(p Peer) int {
		one := r.peers[p.ID]
		switch {
		case one != nil && one.good == p.Addr:
			return 0
		case slices.Contains(r.wanted, p):
			return 1
		}
		return 2
	}
	peers = slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.ID == r.cfg.Node })
	slices.SortStableFunc(peers, func(a, b Peer) int { return cmp.Compare(rank(a), rank(b)) })
	addrs := make(map[string]int)
	peers = slices.DeleteFunc(peers, func(p Peer) bool {
		addrs[p.ID]++
		return addrs[p.ID] > maxAddrs
	})
	return peers[:min(len(peers), maxPeers)]
}

// knows says that a node is at an address: one that gossip knows, or that has shown the node key.
func (r *Replicator) knows(addr netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		for _, known := range []string{p.addr, p.good} {
			if at, err := netip.ParseAddrPort(known); err == nil && at.Addr().Unmap() == addr {
				return true
			}
		}
	}
	return false
}

func (r *Replicator) wants(p Peer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.wanted, p)
}

// peerLocked is the peer with that ID.
func (r *Replicator) peerLocked(id string) *peer {
	p := r.peers[id]
	if p == nil {
		p = &peer{id: id}
		r.peers[id] = p
	}
	return p
}

// peer is peerLocked for a peer that dialled us, nil if there are too many.
func (r *Replicator) peer(id string) *peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked()
	if r.peers[id] == nil && len(r.peers) >= maxPeers {
		return nil
	}
	return r.peerLocked(id)
}

// forgetLocked makes room: what is neither wanted nor served goes, and what has never shown the node key. Until then it
// is kept, for a node that was away comes back and resumes.
func (r *Replicator) forgetLocked() {
	if len(r.peers) < maxPeers {
		return
	}
	for id, p := range r.peers {
		if p.stream.Load() == nil && (!r.wantedLocked(id) || p.good == "" && p.streams.Load() == 0) {
			delete(r.peers, id)
		}
	}
}

func (r *Replicator) wantedLocked(id string) bool {
	return slices.ContainsFunc(r.wanted, func(p Peer) bool { return p.ID == id })
}

// Trusts says that a node has shown the node key to this one.
func (r *Replicator) Trusts(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[id]
	return p != nil && p.streams.Load() > 0
}
