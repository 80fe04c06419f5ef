package cluster

import (
	"bytes"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/balancer/pool"
	"homing/cluster/internal/bound"
)

// Membership is one member's view of the cluster, and its part in it. Its methods may be called by any goroutine.
//
// A member is alive, or vanished (it does not answer, and its last word was not that it leaves), or it is not known at all.
// Who is one, and what it says, is heard from itself (ask.go, roll.go): what gossip says has it asked. A vanished node is
// dialled forever; a vanished agent is kept until Forget, since its backend may well be up.
type Membership struct {
	// Static after construction.
	cfg       Config
	log       *slog.Logger
	transport *transport // nil with Config.Transport
	list      *memberlist.Memberlist
	addr      netip.AddrPort // that others reach it by
	rejoin    *rejoiner
	wire      memberlist.Transport
	update    bound.Wake  // our metadata changed
	hearing   bound.Wake  // somebody is to be asked
	commands  chan []byte // sealed commands, behind who asks; never closed
	quiet     *bound.Quiet

	// Atomic.
	nodeKeys atomic.Pointer[[][]byte]
	pools    atomic.Pointer[[]*pool.Pool]

	// Owned by whoever applies commands, under applying.
	applying sync.Mutex
	replays  replays
	standing standing

	// Guarded by mu, which is never held while memberlist is called.
	mu        sync.Mutex
	meta      Meta   // our own
	encoded   []byte // meta, as memberlist hands it out
	spoken    []byte // the last encoded that memberlist has taken as ours; its own entry is written without our locks
	roll      *roll
	askers    map[string]bool                // while leaving: who has asked since, by ID; else nil
	questions map[[nonceBytes]byte]*question // commands of ours that wait for answers, by nonce
	refusals  map[string]string              // agents: what nodes said last of what is announced, by ID; "": nothing against it
}

// NotifyJoin implements memberlist.EventDelegate. memberlist holds its lock meanwhile: nothing here may call it.
func (m *Membership) NotifyJoin(node *memberlist.Node) { m.see(node) }

// NotifyUpdate implements memberlist.EventDelegate.
func (m *Membership) NotifyUpdate(node *memberlist.Node) { m.see(node) }

// see notes what memberlist has taken as ours. What it has of others, NotifyAlive has heard before.
func (m *Membership) see(node *memberlist.Node) {
	if node.Name != m.cfg.ID {
		return
	}
	m.mu.Lock()
	m.spoken = node.Meta
	m.mu.Unlock()
}

// NotifyAlive implements memberlist.AliveDelegate: somebody says where a member is, and what it says of itself. An error
// keeps memberlist from believing it. It is called with memberlist's lock held.
func (m *Membership) NotifyAlive(node *memberlist.Node) error {
	if node.Name == m.cfg.ID {
		return nil
	}
	addr := addrOf(node.Addr, node.Port)
	if addr == m.addr {
		return errUnproven // nobody else is here
	}
	near := m.transport == nil || m.transport.met(addr.Addr())
	m.mu.Lock()
	err := m.roll.hearsay(node.Name, addr, node.Meta, near, time.Now())
	m.mu.Unlock()
	m.hearing.Up()
	return err
}

// NotifyLeave implements memberlist.EventDelegate: a member is said to have left or died. It is asked.
func (m *Membership) NotifyLeave(node *memberlist.Node) {
	m.mu.Lock()
	m.roll.doubt(addrOf(node.Addr, node.Port), time.Now())
	m.mu.Unlock()
	m.hearing.Up()
}

// NotifyConflict implements memberlist.ConflictDelegate: two members have one name, or one came back from elsewhere
// before the others took it for dead.
func (m *Membership) NotifyConflict(existing, other *memberlist.Node) {
	m.quiet.Say(slog.LevelWarn, "conflict", "cluster: a member is refused: another has its name; each needs a state directory of its own",
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

// knows says that a member is at an address.
func (m *Membership) knows(addr netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roll.knows(addr)
}

// LocalState implements memberlist.Delegate: every exchange of all state carries this member's word (ask.go).
func (m *Membership) LocalState(bool) []byte {
	own := m.ownWord()
	return own.wire()
}

// MergeRemoteState implements memberlist.Delegate: whoever asks gives its word too.
func (m *Membership) MergeRemoteState(b []byte, _ bool) {
	w, err := parseWord(b)
	if err != nil {
		return // of another release
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.askers != nil && len(m.askers) < maxMembers {
		m.askers[w.ID] = true
	}
	m.hearRefusal(&w)
}

func about(one *Member) slog.Attr {
	attrs := []slog.Attr{
		slog.String("member", one.ID), slog.String("role", one.Meta.Role.String()), slog.String("addr", one.Addr.String()),
		slog.String("state", one.Meta.State.String()),
	}
	if one.Meta.Name != "" {
		attrs = append(attrs, slog.String("name", one.Meta.Name))
	}
	if one.Meta.Role == RoleAgent {
		attrs = append(attrs, slog.String("pool", one.Meta.Announced.Pool), slog.String("backend", one.Meta.Announced.Backend.String()))
	}
	return slog.GroupAttrs("", attrs...)
}
