package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// An agent announces to all nodes and hears of none what became of that, for nodes only ever judge. So a node that asks
// it (ask.go) says in the question why it does not take the announcement. Whoever has the gossip key can say so too: it
// is for the agent's log, and changes nothing that the agent does.

// wordTo is what this member says of itself to the one that it asks at an address.
func (m *Membership) wordTo(addr netip.AddrPort) word {
	m.mu.Lock()
	own, asked := word{m.cfg.ID, m.encoded}, m.roll.members[addr]
	if asked == nil || asked.Meta.Role != RoleAgent {
		m.mu.Unlock()
		return own
	}
	id, meta := asked.ID, m.metaNow()
	m.mu.Unlock()
	why := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, m.cfg.Refusal(id))
	meta.Refusal = why[:min(len(why), maxRefusal)]
	encoded, err := meta.AppendBinary(nil)
	if err != nil {
		return own // there is no room: the node's log has it
	}
	return word{own.ID, encoded}
}

// hearRefusal notes what a node that asks says of what this agent announces. m.mu is held.
func (m *Membership) hearRefusal(w *word) {
	if m.meta.Role != RoleAgent {
		return
	}
	for _, one := range m.roll.members {
		if one.ID != w.ID || one.Meta.Role != RoleNode {
			continue
		}
		var meta Meta
		if meta.UnmarshalBinary(w.Meta) == nil && meta.Role == RoleNode {
			m.refusals[w.ID] = meta.Refusal
		}
		return
	}
}

// Refused is a node that does not take what this agent announces.
type Refused struct {
	Node string // its name, or its ID
	Why  string
}

// Refusals is the live nodes that refuse what this agent announces, by name, and how many live nodes there are.
func (m *Membership) Refusals() (refused []Refused, nodes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	live := make(map[string]bool)
	for _, one := range m.roll.members {
		if !one.Alive || one.Meta.Role != RoleNode || live[one.ID] {
			continue
		}
		live[one.ID] = true
		if why := m.refusals[one.ID]; why != "" {
			refused = append(refused, Refused{cmp.Or(one.Meta.Name, one.ID), why})
		}
	}
	for id := range m.refusals {
		if !live[id] {
			delete(m.refusals, id)
		}
	}
	slices.SortFunc(refused, func(a, b Refused) int { return cmp.Compare(a.Node, b.Node) })
	return refused, len(live)
}
