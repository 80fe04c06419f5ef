//go:build linux

package balancer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"homing/balancer/internal/netio"
	"homing/balancer/netaddr"
)

// adoptions makes the command to each loop to follow set. b.mu is held, or nobody else knows b.
func (b *Balancer) adoptions(set *settings, endpoints []*endpoint) []command {
	all := make([]command, len(b.loops))
	counts := make([][]*ListenerCounts, len(endpoints))
	gates := make([][]*gate, len(b.loops))
	for i, l := range b.loops {
		gates[i] = set.gates(l.listeners, l.shares)
		for j, g := range gates[i] {
			counts[j] = append(counts[j], g.count)
		}
	}
	for i := range b.loops {
		all[i] = command{kind: commandAdopt, set: set, gates: map[*socket]*gate{}}
		for j, g := range gates[i] {
			g.counts = counts[j]
			for _, s := range endpoints[j].sockets[i] {
				all[i].gates[s] = g
			}
		}
	}
	return all
}

// Reload replaces the configuration, or changes nothing and says why. It waits until every loop follows the new one.
//
// A listener is the one of before if its address is the same, or the port 0 of the same host; new ones are bound first;
// removed ones take what waits in their queues before they close. Open conns stay in their pool, with the timeouts they
// have had; conns whose hello is still to come follow the new routes. Loops, Engine, Store, BufferMemory and
// MemoryLimit cannot change.
func (b *Balancer) Reload(cfg Config) error {
	found, err := newImported(cfg.Import)
	if err != nil {
		return err
	}
	b.reloading.Lock()
	defer b.reloading.Unlock()
	old := b.settings()
	set, err := newSettings(cfg)
	if err == nil {
		err = old.fixed(set)
	}
	if err == nil && !b.is(stageMade) && !b.is(stageRunning) {
		err = errors.New("balancer: it takes no connections any more and cannot be given others")
	}
	if err != nil {
		return errors.Join(err, found.close())
	}
	endpoints, made, err := b.findEndpoints(set, found)
	if err != nil {
		return errors.Join(err, closeEndpoints(made))
	}

	b.mu.Lock()
	stage, oldEndpoints := b.stage, b.endpoints
	before, after := b.adoptions(old, oldEndpoints), b.adoptions(set, endpoints)
	b.set, b.endpoints = set, endpoints
	b.mu.Unlock()
	b.countNetworks()
	b.followDowns(set)
	if stage == stageMade { // which it stays: whoever changes that waits for reloading
		for i, l := range b.loops {
			err = errors.Join(err, l.adopt(set, after[i].gates))
			l.closeUnnamed()
		}
		b.alignFiles(set, endpoints, oldEndpoints, made, true) // as adopted as it ever is
		return err
	}
	if err = b.orderAll(after); err != nil {
		b.mu.Lock()
		b.set, b.endpoints = old, oldEndpoints
		b.mu.Unlock()
		err = errors.Join(err, b.orderAll(before))
	}
	b.alignFiles(set, endpoints, oldEndpoints, made, err == nil)
	err = errors.Join(err, b.order(func(int) command { return command{kind: commandCloseUnnamed} }))
	if err != nil {
		return err
	}
	for _, p := range oldEndpoints {
		if !slices.Contains(endpoints, p) {
			b.leaving = append(b.leaving, p)
		}
	}
	return nil
}

// alignFiles brings the files of unix sockets in step with the endpoints that stand, the new ones if the reload is
// done.
func (b *Balancer) alignFiles(set *settings, endpoints, oldEndpoints, made []*endpoint, done bool) {
	if !done {
		for _, p := range made {
			p.removeFile(set.cfg.Log)
		}
		return
	}
	for _, p := range oldEndpoints {
		if !slices.Contains(endpoints, p) {
			p.removeFile(set.cfg.Log)
		}
	}
	for i, p := range endpoints {
		if file := p.file.Load(); file != nil {
			if err := file.SetMode(set.cfg.Listeners[i].Mode); err != nil {
				set.cfg.Log.Warn("the file of a unix socket keeps its mode", "addr", p.bound.String(), "error", err)
			}
		}
	}
}

func (b *Balancer) orderAll(all []command) error {
	return b.order(func(loop int) command { return all[loop] })
}

// fixed refuses what cannot change while the loops run.
func (set *settings) fixed(next *settings) error {
	for what, same := range map[string]bool{
		"the number of loops": set.cfg.Loops == next.cfg.Loops,
		"the engine":          set.cfg.Engine == next.cfg.Engine,
		"the affinity store":  set.cfg.Store == next.cfg.Store,
		"the buffer memory":   set.cfg.BufferMemory == next.cfg.BufferMemory,
		"the memory limit":    set.cfg.MemoryLimit == next.cfg.MemoryLimit,
	} {
		if !same {
			return fmt.Errorf("balancer: %s cannot change while it runs: it needs a restart or an upgrade", what)
		}
	}
	return nil
}

// findEndpoints finds the endpoints of the listeners of set: those that there are, then inherited sockets, then new
// ones, which are in made too. Inherited sockets that nobody wants are closed with a line in the log. On an error made
// is the caller's to close. b.reloading is held, or nobody else knows b.
func (b *Balancer) findEndpoints(set *settings, found imported) (endpoints, made []*endpoint, err error) {
	defer func() {
		for _, s := range found {
			if err == nil {
				set.cfg.Log.Warn("an inherited socket is not wanted by any listener and is closed", "addr", s.Addr.String())
			}
		}
		err = errors.Join(err, found.close())
	}()
	b.forgetClosed()
	for _, ln := range set.cfg.Listeners {
		addr, err := ParseListenAddr(ln.Addr)
		if err != nil {
			return nil, made, &ListenError{Addr: ln.Addr, Err: err}
		}
		free := func(p *endpoint) bool { return p.takes(addr) && !slices.Contains(endpoints, p) }
		i := slices.IndexFunc(b.endpoints, free)
		if i >= 0 {
			endpoints = append(endpoints, b.endpoints[i])
			continue
		}
		var p *endpoint
		if s, ok := found.take(addr); ok {
			p, err = importEndpoint(addr, s, set.cfg.Loops)
			if err == nil && p.bound != addr {
				set.cfg.Log.Warn("a listener has an inherited socket of another address",
					"listener", ln.Name, "addr", p.bound.String())
			}
		} else {
			b.awaitLeaving(addr)
			p, err = bind(addr, ln.Mode, set.cfg.Loops)
		}
		ours := func(p *endpoint) bool { return !addr.IsUnix() && p.bound.IP().Port() == addr.IP().Port() }
		if errors.Is(err, netio.ErrInUse) && slices.ContainsFunc(b.endpoints, ours) {
			err = fmt.Errorf("%w, by a listener of the configuration before: remove that in one reload, "+
				"add this in the next", err)
		}
		if err != nil {
			return nil, made, &ListenError{Addr: ln.Addr, Err: err}
		}
		endpoints, made = append(endpoints, p), append(made, p)
	}
	return endpoints, made, nil
}

// leavingPatience bounds how long a reload waits for the port of a listener that an earlier one has removed: as a rule
// its queue is empty by then.
const leavingPatience = 5 * drainGrace

// awaitLeaving waits for removed listeners on a port that are still emptying their queues.
func (b *Balancer) awaitLeaving(addr netaddr.Addr) {
	if addr.IsUnix() {
		return // its file is gone already
	}
	timeout := time.NewTimer(leavingPatience)
	defer timeout.Stop()
	for _, p := range b.leaving {
		if p.bound.IP().Port() != addr.IP().Port() {
			continue
		}
		for _, s := range slices.Concat(p.sockets...) {
			select {
			case <-s.closed:
			case <-timeout.C:
				return
			}
		}
	}
}

// forgetClosed drops removed listeners that are closed by now.
func (b *Balancer) forgetClosed() {
	b.leaving = slices.DeleteFunc(b.leaving, func(p *endpoint) bool {
		return !slices.ContainsFunc(slices.Concat(p.sockets...), (*socket).open)
	})
}

func closeEndpoints(all []*endpoint) (err error) {
	for _, p := range all {
		err = errors.Join(err, p.close())
	}
	return err
}
