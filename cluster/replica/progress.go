package replica

import (
	"fmt"
	"slices"
	"strings"

	"homing/balancer/affinity"
	"homing/cluster/bound"
)

// maxTail bounds the facts that a replicator hands over because peers have not acknowledged them yet; who misses more
// gets the whole table.
const maxTail = 4096

// Progress is how far replication is, so that the process that replaces this one goes on from there, without a resync:
// the same life of the node to its peers.
type Progress struct {
	Instance uint64         `json:"instance"`
	Last     uint64         `json:"last"`           // sequence of the last fact learned
	Tail     []byte         `json:"tail,omitempty"` // the last facts, as far as a peer may miss them
	Member   bool           `json:"member"`         // it has met a node with the same seed
	Peers    []PeerProgress `json:"peers,omitempty"`
}

// PeerProgress is what has been received from a peer: all up to the sequence Last of its life.
type PeerProgress struct {
	ID       string `json:"id"`
	Instance uint64 `json:"instance"`
	Last     uint64 `json:"last"`
	Acked    uint64 `json:"acked"` // what it has of ours
}

// Export says how far replication is. Run must have returned: no peer knows more of this node.
func (r *Replicator) Export() Progress {
	if r.store == nil {
		return Progress{} // it has never run
	}
	progress := Progress{Instance: r.instance.Load(), Last: r.ring.head.Load(), Member: r.member.Load()}
	seed := r.store.Seed().Value
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := progress.Last
	for id, p := range r.peers {
		p.mu.Lock()
		if p.whole && p.seed == seed {
			progress.Peers = append(progress.Peers,
				PeerProgress{ID: id, Instance: p.instance, Last: p.last, Acked: p.acked.Load()})
		}
		p.mu.Unlock()
		if acked := p.acked.Load(); progress.Last-acked <= maxTail {
			missing = min(missing, acked)
		}
	}
	slices.SortFunc(progress.Peers, func(a, b PeerProgress) int { return strings.Compare(a.ID, b.ID) })
	tail, _ := r.ring.read(missing, make([]affinity.Fact, 0, maxTail))
	if missing+uint64(len(tail)) != progress.Last {
		tail = nil // one was overwritten, or is being written still: the peers get the whole table
	}
	progress.Tail = appendFacts(nil, tail)
	return progress
}

// Import goes on where the process before was. Call it before Run, and before the first fact is learned; what this
// process has learned until then comes by Take.
func (r *Replicator) Import(from Progress, seed affinity.Seed) error {
	if from.Instance == 0 {
		return nil // there was none
	}
	tail, err := parseFacts(from.Tail, nil)
	if err != nil || uint64(len(tail)) > from.Last {
		return fmt.Errorf("cluster: %d facts up to %d to go on with: %w", len(tail), from.Last, err)
	}
	r.instance.Store(from.Instance)
	r.member.Store(from.Member)
	r.ring.resume(from.Last, tail, r.ticks())
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range from.Peers {
		if one.ID == "" || len(one.ID) > bound.MaxID || len(r.peers) >= maxPeers {
			continue
		}
		p := r.peerLocked(one.ID)
		p.mu.Lock()
		p.instance, p.last, p.whole, p.seed = one.Instance, one.Last, true, seed.Value
		p.mu.Unlock()
		p.acked.Store(min(one.Acked, from.Last))
	}
	return nil
}

// Take learns what a Forwarder has held back, which nobody adds to any more.
func (r *Replicator) Take(held *Forwarder) {
	facts, lost := held.ring.read(0, make([]affinity.Fact, 0, len(held.ring.slots)))
	for i := range facts {
		r.Learned(facts[i])
	}
	if lost {
		r.newInstance() // the peers get the whole table
	}
}
