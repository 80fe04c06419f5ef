package cluster

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"homing/balancer/affinity"
)

// GossipSockets are the two sockets of gossip, bound to one address.
type GossipSockets struct {
	TCP *net.TCPListener
	UDP *net.UDPConn
}

func (s *GossipSockets) close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.TCP.Close(), s.UDP.Close())
}

// MemberLegacy is what a member knows and the process that replaces it must. The others notice nothing of that: name,
// address and sockets are the same, and the incarnation is raised when the first of them tells the older one.
type MemberLegacy struct {
	// Members are those that it knew. They count as vanished until they are met: dialled at once, and what agents had
	// announced stands.
	Members []Member `json:"members,omitempty"`

	// Commands are the nonces of the commands that were obeyed lately, in hex, and until when they must be remembered.
	Commands map[string]time.Time `json:"commands,omitempty"`

	// Orders are the drains, and their ends, that were ordered of late.
	Orders []order `json:"orders,omitempty"`
}

// Sockets are those that gossip uses, nil with Config.Transport. They stay the member's own.
func (m *Membership) Sockets() *GossipSockets {
	if m.transport == nil {
		return nil
	}
	return &GossipSockets{m.transport.tcp, m.transport.udp}
}

// Bequeath says what an heir must know. Once the heir has it, Shutdown without Leave ends this member.
func (m *Membership) Bequeath() MemberLegacy {
	legacy := MemberLegacy{Members: m.Members()}
	m.applying.Lock()
	defer m.applying.Unlock()
	if len(m.replays.seen) > 0 {
		legacy.Commands = make(map[string]time.Time)
	}
	for _, o := range m.orders.sorted() {
		legacy.Orders = append(legacy.Orders, *o)
	}
	for nonce, until := range m.replays.seen {
		legacy.Commands[hex.EncodeToString(nonce[:])] = until
	}
	return legacy
}

// Inherit takes over what the process before knew. Call it before Run.
func (m *Membership) Inherit(legacy MemberLegacy) {
	m.mu.Lock()
	for _, one := range legacy.Members {
		if one.ID != m.cfg.ID && one.Addr.IsValid() {
			m.roll.inherit(one, time.Now())
		}
	}
	m.mu.Unlock()
	m.inquireSoon()
	for _, one := range legacy.Members {
		if one.Meta.Role == RoleNode && one.ID != m.cfg.ID && one.Addr.IsValid() {
			m.rejoin.change(func(r *rejoin) {
				r.met(one.ID, hostPort(one.Addr))
				r.lost(one.ID)
			})
		}
	}
	m.applying.Lock()
	defer m.applying.Unlock()
	for _, o := range legacy.Orders {
		m.orders.keep(o)
	}
	for text, until := range legacy.Commands {
		nonce, err := hex.DecodeString(text)
		if err != nil || len(nonce) != nonceBytes || len(m.replays.seen) >= maxReplays {
			continue
		}
		if m.replays.seen == nil {
			m.replays.seen = make(map[[nonceBytes]byte]time.Time)
		}
		m.replays.seen[[nonceBytes]byte(nonce)] = until
	}
}

// maxTail bounds the facts that a replicator hands over because peers have not acknowledged them yet; who misses more
// gets the whole table.
const maxTail = 4096

// ReplicatorLegacy is how far replication is, so that the process that replaces this one goes on from there, without a
// resync: the same life of the node to its peers.
type ReplicatorLegacy struct {
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

// Bequeath says how far replication is. Run must have returned: no peer knows more of this node.
func (r *Replicator) Bequeath() ReplicatorLegacy {
	if r.store == nil {
		return ReplicatorLegacy{} // it has never run
	}
	legacy := ReplicatorLegacy{Instance: r.instance.Load(), Last: r.ring.head.Load(), Member: r.member.Load()}
	seed := r.store.Seed().Value
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := legacy.Last
	for id, p := range r.peers {
		p.mu.Lock()
		if p.whole && p.seed == seed {
			legacy.Peers = append(legacy.Peers, PeerProgress{ID: id, Instance: p.instance, Last: p.last, Acked: p.acked.Load()})
		}
		p.mu.Unlock()
		if acked := p.acked.Load(); legacy.Last-acked <= maxTail {
			missing = min(missing, acked)
		}
	}
	slices.SortFunc(legacy.Peers, func(a, b PeerProgress) int { return compareStrings(a.ID, b.ID) })
	tail, _ := r.ring.read(missing, make([]affinity.Fact, 0, maxTail))
	if missing+uint64(len(tail)) != legacy.Last {
		tail = nil // one was overwritten, or is being written still: the peers get the whole table
	}
	legacy.Tail = appendFacts(nil, tail)
	return legacy
}

// Inherit goes on where the process before was. Call it before Run, and before the first fact is learned; what this
// process has learned until then comes by Take.
func (r *Replicator) Inherit(legacy ReplicatorLegacy, seed affinity.Seed) error {
	if legacy.Instance == 0 {
		return nil // there was none
	}
	tail, err := parseFacts(legacy.Tail, nil)
	if err != nil || uint64(len(tail)) > legacy.Last {
		return fmt.Errorf("cluster: %d facts up to %d to go on with: %w", len(tail), legacy.Last, err)
	}
	r.instance.Store(legacy.Instance)
	r.member.Store(legacy.Member)
	r.ring.resume(legacy.Last, tail, r.ticks())
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range legacy.Peers {
		if one.ID == "" || len(one.ID) > maxNodeID || len(r.peers) >= maxPeers {
			continue
		}
		p := r.peerLocked(one.ID)
		p.mu.Lock()
		p.instance, p.last, p.whole, p.seed = one.Instance, one.Last, true, seed.Value
		p.mu.Unlock()
		p.acked.Store(min(one.Acked, legacy.Last))
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
