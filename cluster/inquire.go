package cluster

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"homing/cluster/bound"
)

// restPer is how many entries of the roll one look at it may go through for each millisecond of rest: it costs less
// than a hundredth of a core however much is said.
const restPer = 256

// inquire asks whom the roll names, until ctx is done.
func (m *Membership) inquire(ctx context.Context) {
	bound.Attend(ctx, m.hearing, m.inquireAt, func() (addrs []netip.AddrPort, rest, next time.Duration) {
		m.mu.Lock()
		defer m.mu.Unlock()
		addrs, next = m.roll.due(time.Now())
		return addrs, time.Duration(1+(len(m.roll.members)+len(m.roll.claims))/restPer) * time.Millisecond, next
	})
}

// inquireAt asks whoever is at an address, and tells whoever depends on it what that changes.
func (m *Membership) inquireAt(addr netip.AddrPort) {
	m.mu.Lock()
	known := m.roll.idAt(addr)
	m.mu.Unlock()
	w, err := m.ask(addr, known)
	var meta Meta
	if err == nil {
		if err = meta.UnmarshalBinary(w.Meta); err != nil {
			m.quiet.Say(slog.LevelWarn, "passed over "+whose(addr),
				"cluster: a member is passed over: its metadata cannot be read",
				slog.String("member", w.ID), slog.String("addr", addr.String()), slog.Any("error", err))
		}
	}
	m.mu.Lock()
	var now outcome
	if err != nil || w.ID == m.cfg.ID {
		now = m.roll.silent(addr, time.Now())
	} else {
		now = m.roll.answered(addr, w.ID, meta, w.Meta, time.Now())
	}
	m.mu.Unlock()
	m.hearing.Up() // there is room for another question
	if err != nil {
		m.log.Debug("cluster: no answer", slog.String("addr", addr.String()), slog.Any("error", err))
	}
	if now.what == unheard {
		m.quiet.Say(slog.LevelWarn, "unheard",
			"cluster: a member is passed over: it does not answer where it gossips; let this node connect there by TCP",
			slog.String("addr", addr.String()), slog.Any("error", err))
		return
	}
	m.tell(&now)
}

// whose names whose doing it is what happens at an address. On loopback all is this machine's, and ports tell more.
func whose(addr netip.AddrPort) string {
	if addr.Addr().IsLoopback() {
		return addr.String()
	}
	return addr.Addr().String()
}

// tell says what has changed, and does what follows from it.
func (m *Membership) tell(now *outcome) {
	one := &now.member
	node := one.Meta.Role == RoleNode
	said := func(level slog.Level, text string, more ...slog.Attr) {
		m.quiet.Say(level, text+" "+whose(one.Addr), text, append([]slog.Attr{about(one)}, more...)...)
	}
	switch now.what {
	case nothing, unheard:
		return
	case refused:
		said(slog.LevelWarn, "cluster: a member is refused: there are too many at its address, or in all")
		return
	case joined:
		said(slog.LevelInfo, "cluster: member joined", slog.String("version", one.Meta.Version))
		if node {
			m.tellStanding(one, true)
			m.rejoin.change(func(r *rejoin) {
				r.met(one.ID, hostPort(one.Addr))
				for _, id := range now.replaced {
					r.left(id)
				}
			})
			for _, id := range now.replaced {
				said(slog.LevelInfo,
					"cluster: a node is forgotten: another has started at its address since it vanished",
					slog.String("was", id))
			}
		}
	case changed:
		if now.was.Meta.State != one.Meta.State {
			said(slog.LevelInfo, "cluster: member changed", slog.String("was", now.was.Meta.State.String()))
		}
	case left:
		said(slog.LevelInfo, "cluster: member left")
		m.rejoin.change(func(r *rejoin) { r.left(one.ID) })
	case vanished:
		said(slog.LevelWarn, "cluster: member vanished")
		if node {
			m.rejoin.change(func(r *rejoin) { r.lost(one.ID) })
		}
	}
	m.cfg.Changed()
}
