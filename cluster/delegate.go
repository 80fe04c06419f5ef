package cluster

import (
	"bytes"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"
)

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

// NotifyAlive implements memberlist.AliveDelegate: somebody says where a member is, and what it says of itself. An
// error keeps memberlist from believing it. It is called with memberlist's lock held.
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
	m.quiet.Say(slog.LevelWarn, "conflict",
		"cluster: a member is refused: another has its name; each needs a state directory of its own",
		slog.String("member", existing.Name), slog.String("addr", other.Address()),
		slog.String("other", existing.Address()))
}

// NodeMeta implements memberlist.Delegate.
func (m *Membership) NodeMeta(int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.encoded
}

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
