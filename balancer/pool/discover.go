package pool

import (
	"fmt"
	"net/netip"
	"slices"

	"homing/balancer/netaddr"
)

// Discovered is one backend that announced itself.
type Discovered struct {
	// Addr is where the backend accepts. A unix socket is of one machine, and is not announced.
	Addr netip.AddrPort

	// Weight is as in Spec; it does not count for an address that a spec gives too.
	Weight int

	// Drain is how far the backend asks to be emptied.
	Drain Drain

	// Known says that it was in use before, by the process that this one takes over from: it needs no first check.
	Known bool
}

// SetDiscovered replaces the backends that announced themselves. They stand beside those of the specs; an address that
// a spec gives too is one backend, with the settings of the spec. Backends that stay keep their state and conns. What a
// backend asks for by Drain is done when it changes, so that an operator's SetDraining stays until then. Where active
// checks run, a backend that is new gets no conns before one of them has called it up. Of more than the pool has room
// for the first given stay.
//
// It needs Options.Discover. An error says which backend is wrong; nothing has changed then.
func (p *Pool) SetDiscovered(backends []Discovered) error {
	if !p.Snapshot().opt.Discover {
		return fmt.Errorf("pool %q takes no backends that announce themselves", p.name)
	}
	backends = slices.Clone(backends)
	for i := range backends {
		d := &backends[i]
		d.Addr = netaddr.Of(d.Addr).IP()
		t, err := parseSpec(Spec{Addr: d.Addr.String(), Weight: d.Weight})
		if err != nil {
			return err
		}
		d.Weight = t.Weight
	}
	p.resolving.Lock()
	defer p.resolving.Unlock()
	backends = backends[:min(len(backends), max(0, MaxBackends-len(p.static)))]
	slices.SortFunc(backends, func(a, b Discovered) int { return a.Addr.Compare(b.Addr) })
	backends = slices.CompactFunc(backends, func(a, b Discovered) bool { return a.Addr == b.Addr })

	before := p.discovered
	if slices.Equal(before, backends) {
		return nil
	}
	for _, d := range before { // while it is still here, so that it comes back without
		if d.Drain != DrainOff && !slices.ContainsFunc(backends, func(now Discovered) bool { return now.Addr == d.Addr }) {
			p.drainAt(d.Addr, DrainOff)
		}
	}
	p.discovered = backends
	want, warnings := p.withDiscovered(p.static)
	p.warn(slices.Concat(p.resolved, warnings))
	p.apply(want)
	for _, d := range backends {
		was := DrainOff
		if i := slices.IndexFunc(before, func(b Discovered) bool { return b.Addr == d.Addr }); i >= 0 {
			was = before[i].Drain
		}
		if d.Drain != was {
			p.drainAt(d.Addr, d.Drain)
		}
	}
	return nil
}

// withDiscovered adds the announced backends to those of the specs, and leaves out what is refused. p.resolving is
// held.
func (p *Pool) withDiscovered(static []wanted) (want []wanted, warnings []string) {
	want = slices.Clone(static)
	for _, d := range p.discovered {
		addr := netaddr.Of(d.Addr)
		if len(want) < MaxBackends && !slices.ContainsFunc(static, func(w wanted) bool { return w.addr == addr }) {
			want = append(want, wanted{addr: addr, name: addr.String(), weight: d.Weight, unchecked: !d.Known})
		}
	}
	return p.distinct(p.admitted(want))
}

// admitted is what Options.Refuse leaves. p.resolving is held.
func (p *Pool) admitted(want []wanted) (kept []wanted) {
	refuse := p.Snapshot().opt.Refuse
	if refuse == nil {
		p.refused.Store(nil)
		return want
	}
	var refused []string
	for _, w := range want {
		if refuse(w.addr) {
			refused = append(refused, w.addr.String())
		} else {
			kept = append(kept, w)
		}
	}
	slices.Sort(refused)
	p.refused.Store(&refused)
	return kept
}

func (p *Pool) drainAt(ip netip.AddrPort, mode Drain) {
	addr := netaddr.Of(ip)
	if b := p.Snapshot().ByID(p.id(addr)); b != nil && b.Addr == addr {
		p.SetDraining(b, mode)
	}
}
