package cluster

import (
	"bytes"
	"cmp"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/memberlist"

	"homing/balancer/pool"
)

// maxVanished bounds the members that are remembered without being there.
const maxVanished = 4096

// Membership is one member's view of the cluster, and its part in it. Its methods may be called by any goroutine.
//
// A member is alive, or vanished (memberlist took it for dead, and its last word was not that it leaves), or it is not
// known at all. A vanished node is dialled forever; a vanished agent is kept until Forget, since its backend may well
// be up.
type Membership struct {
	// Static after construction.
	cfg       Config
	log       *slog.Logger
	transport *transport // nil with Config.Transport
	list      *memberlist.Memberlist
	addr      netip.AddrPort // that others reach it by
	rejoin    *rejoiner
	update    chan struct{} // our metadata changed; never closed
	commands  chan []byte   // sealed commands, behind who asks; never closed

	// Atomic.
	nodeKeys atomic.Pointer[[][]byte]
	pools    atomic.Pointer[[]*pool.Pool]

	// Owned by whoever applies commands, under applying.
	applying sync.Mutex
	replays  replayGuard

	// Guarded by mu, which is never held while memberlist is called.
	mu        sync.Mutex
	meta      Meta   // our own
	encoded   []byte // meta, as memberlist hands it out
	spoken    []byte // the last encoded that memberlist has taken as ours; its own entry is written without our locks
	members   map[string]*Member
	questions map[[nonceBytes]byte]*question // commands of ours that wait for answers, by nonce
}

// NotifyJoin implements memberlist.EventDelegate. memberlist holds its lock meanwhile: nothing here may call it.
func (m *Membership) NotifyJoin(node *memberlist.Node) { m.see(node) }

// NotifyUpdate implements memberlist.EventDelegate.
func (m *Membership) NotifyUpdate(node *memberlist.Node) { m.see(node) }

// see takes in a live member.
func (m *Membership) see(node *memberlist.Node) {
	if node.Name == m.cfg.ID {
		m.mu.Lock()
		m.spoken = node.Meta
		m.mu.Unlock()
		return
	}
	next := &Member{ID: node.Name, Addr: addrOf(node.Addr, node.Port), Alive: true}
	if err := next.Meta.UnmarshalBinary(node.Meta); err != nil {
		m.log.Warn("cluster: a member is passed over: its metadata cannot be read", slog.String("member", node.Name),
			slog.String("addr", next.Addr.String()), slog.Any("error", err))
		m.drop(node.Name)
		return
	}
	m.mu.Lock()
	before := m.members[node.Name]
	m.members[node.Name] = next
	m.succeed(next)
	m.mu.Unlock()
	switch {
	case before == nil || !before.Alive:
		m.log.Info("cluster: member joined", about(next), slog.String("version", next.Meta.Version))
	case before.Meta.State != next.Meta.State:
		m.log.Info("cluster: member changed", about(next), slog.String("was", before.Meta.State.String()))
	}
	if next.Meta.Role == RoleNode {
		m.rejoin.change(func(r *rejoin) { r.met(next.ID, hostPort(next.Addr)) })
	}
	m.cfg.Changed()
}

// succeed drops a vanished node at whose address another is now: it came back with a new name. m.mu is held.
func (m *Membership) succeed(next *Member) {
	for id, one := range m.members {
		if one != next && !one.Alive && one.Addr == next.Addr && one.Meta.Role == next.Meta.Role {
			m.log.Info("cluster: a member that vanished is back with a new name", about(one), slog.String("name", next.ID))
			delete(m.members, id)
		}
	}
}

// NotifyLeave implements memberlist.EventDelegate: a member left or died.
func (m *Membership) NotifyLeave(node *memberlist.Node) {
	m.mu.Lock()
	before := m.members[node.Name]
	m.mu.Unlock()
	if before == nil {
		return
	}
	if before.Meta.State == StateLeaving {
		m.log.Info("cluster: member left", about(before))
		m.drop(node.Name)
		return
	}
	m.log.Warn("cluster: member vanished", about(before))
	vanished := *before
	vanished.Alive = false
	m.mu.Lock()
	m.makeRoom()
	m.members[node.Name] = &vanished
	m.mu.Unlock()
	if vanished.Meta.Role == RoleNode {
		m.rejoin.change(func(r *rejoin) { r.lost(vanished.ID) })
	}
	m.cfg.Changed()
}

// makeRoom drops any vanished member when there are too many. m.mu is held.
func (m *Membership) makeRoom() {
	vanished := 0
	for _, one := range m.members {
		if !one.Alive {
			vanished++
		}
	}
	for id, one := range m.members {
		if vanished < maxVanished {
			return
		}
		if !one.Alive {
			delete(m.members, id)
			vanished--
		}
	}
}

func (m *Membership) drop(id string) {
	m.mu.Lock()
	_, known := m.members[id]
	delete(m.members, id)
	m.mu.Unlock()
	if !known {
		return
	}
	m.rejoin.change(func(r *rejoin) { r.left(id) })
	m.cfg.Changed()
}

// NotifyConflict implements memberlist.ConflictDelegate: two members have one name, or one came back from elsewhere
// before the others took it for dead.
func (m *Membership) NotifyConflict(existing, other *memberlist.Node) {
	m.log.Warn("cluster: a member is refused: another has its name; each needs a state directory of its own",
		slog.String("member", existing.Name), slog.String("addr", other.Address()), slog.String("other", existing.Address()))
}

// NodeMeta implements memberlist.Delegate.
func (m *Membership) NodeMeta(int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.encoded
}

// The first byte of a user message.
const (
	messageCommand = 1 // then who asks, and a sealed command
	messageAnswer  = 2 // then a sealed answer
)

// NotifyMsg implements memberlist.Delegate. It may not block, and the bytes are not ours.
func (m *Membership) NotifyMsg(b []byte) {
	if len(b) < 2 || len(b) > maxMessage {
		return
	}
	switch b[0] {
	case messageCommand:
		select {
		case m.commands <- bytes.Clone(b[1:]):
		default: // a flood; whoever gave the command gets no answer
		}
	case messageAnswer:
		m.receiveAnswer(b[1:])
	}
}

// GetBroadcasts implements memberlist.Delegate: nothing of ours is gossiped but metadata.
func (m *Membership) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (m *Membership) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (m *Membership) MergeRemoteState([]byte, bool) {}

func about(one *Member) slog.Attr {
	attrs := []slog.Attr{
		slog.String("member", one.ID), slog.String("role", one.Meta.Role.String()), slog.String("addr", one.Addr.String()),
		slog.String("state", one.Meta.State.String()),
	}
	if one.Meta.Role == RoleAgent {
		attrs = append(attrs, slog.String("pool", one.Meta.Announced.Pool), slog.String("backend", one.Meta.Announced.Backend.String()))
	}
	return slog.GroupAttrs("", attrs...)
}

func compareStrings(a, b string) int { return cmp.Compare(a, b) }
