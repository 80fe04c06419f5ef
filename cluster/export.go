package cluster

import (
	"encoding/hex"
	"time"
)

// Exported is what a member knows and the process that replaces it must. The others notice nothing of that: name,
// address and sockets are the same, and the incarnation is raised when the first of them tells the older one.
type Exported struct {
	// Members are those that it knew. They count as vanished until they are met: dialled at once, and what agents had
	// announced stands.
	Members []Member `json:"members,omitempty"`

	// Commands are the nonces of the commands that were obeyed lately, in hex, and until when they must be remembered.
	Commands map[string]time.Time `json:"commands,omitempty"`

	// Orders are the drains, and their ends, that were ordered of late.
	Orders []standingOrder `json:"orders,omitempty"`
}

// ExportSockets are those that gossip uses, nil with Config.Transport. They stay the member's own.
func (m *Membership) ExportSockets() *GossipSockets {
	if m.transport == nil {
		return nil
	}
	return &GossipSockets{m.transport.tcp, m.transport.udp}
}

// Export says what an heir must know. Once the heir has it, Shutdown without Leave ends this member.
func (m *Membership) Export() Exported {
	exported := Exported{Members: m.Members()}
	m.applying.Lock()
	defer m.applying.Unlock()
	exported.Orders = m.standing.sorted()
	if len(m.replays.All()) > 0 {
		exported.Commands = make(map[string]time.Time)
	}
	for nonce, until := range m.replays.All() {
		exported.Commands[hex.EncodeToString(nonce[:])] = until
	}
	return exported
}

// Import takes over what the process before knew. Call it before Run.
func (m *Membership) Import(from Exported) {
	m.mu.Lock()
	for _, one := range from.Members {
		if one.ID != m.cfg.ID && one.Addr.IsValid() {
			m.roll.importMember(one, time.Now())
		}
	}
	m.mu.Unlock()
	m.hearing.Up()
	for _, one := range from.Members {
		if one.Meta.Role == RoleNode && one.ID != m.cfg.ID && one.Addr.IsValid() {
			m.rejoin.change(func(r *rejoin) {
				r.met(one.ID, hostPort(one.Addr))
				r.lost(one.ID)
			})
		}
	}
	m.applying.Lock()
	defer m.applying.Unlock()
	for _, o := range from.Orders {
		m.standing.keep(o)
	}
	for text, until := range from.Commands {
		if nonce, err := hex.DecodeString(text); err == nil && len(nonce) == nonceBytes {
			m.replays.Note([nonceBytes]byte(nonce), until, time.Now())
		}
	}
}
