package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"homing/balancer/netaddr"
)

// Plan is another configuration of a pool that was found to be possible, and not done yet.
type Plan struct {
	pool     *Pool
	opt      *Options
	targets  []target
	want     []wanted
	warnings []string
}

// Changes is what a reconfiguration did to the backends of a pool, each list sorted by address.
type Changes struct {
	Added, Removed []netaddr.Addr
	Changed        []netaddr.Addr // another weight or another bound of conns
}

// None says that all backends are as they were.
func (c *Changes) None() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// Set is Reconfigure with the options that the pool has.
func (p *Pool) Set(specs []Spec) error {
	_, err := p.Reconfigure(specs, *p.Snapshot().opt)
	return err
}

// Reconfigure gives the pool other specs and options: Plan and Apply in one.
func (p *Pool) Reconfigure(specs []Spec, opt Options) (Changes, error) {
	plan, err := p.Plan(specs, opt)
	if err != nil {
		return Changes{}, err
	}
	return plan.Apply(), nil
}

// Plan does all of a reconfiguration that can fail, and changes nothing: it checks specs and options and resolves
// names, for at most Options.ResolveTimeout. Errors are as New's. The log stays the one that New was given.
func (p *Pool) Plan(specs []Spec, opt Options) (*Plan, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	if len(specs) == 0 && !opt.Discover {
		return nil, fmt.Errorf("pool %q has no backend; give at least one HOST:PORT or unix:PATH", p.name)
	}
	plan := &Plan{pool: p, opt: &opt, targets: make([]target, len(specs))}
	for i, spec := range specs {
		t, err := parseSpec(spec)
		if err != nil {
			return nil, err
		}
		if t.addr.IsUnix() && (opt.Transparent || len(opt.Sources) > 0) {
			return nil, &SpecError{spec.Addr, errors.New("a unix socket is connected to from no address: " +
				"leave out the pool's sources and transparent, or give HOST:PORT")}
		}
		plan.targets[i] = t
	}
	p.resolving.Lock()
	defer p.resolving.Unlock()
	var err error
	plan.want, plan.warnings, err = p.resolve(context.Background(), plan.targets, plan.opt, time.Time{})
	if err != nil {
		return nil, err
	}
	return plan, nil
}

// Apply does what was planned. Backends whose address stays keep their identity: whether they are up, their open conns,
// counters and draining. Conns of backends that go run on. Loops follow from their next decision on.
func (plan *Plan) Apply() Changes {
	p := plan.pool
	p.resolving.Lock()
	defer p.resolving.Unlock()
	if !plan.opt.Discover {
		for _, d := range p.discovered { // as if they were announced no longer
			if d.Drain != DrainOff {
				p.drainAt(d.Addr, DrainOff)
			}
		}
		p.discovered = nil
	}
	before := settingsOf(p.Snapshot())
	p.targets = plan.targets
	p.forgetWeights()
	p.swapOptions(plan.opt)
	p.applyStatic(plan.want, plan.warnings)
	kick(p.kick)
	kick(p.renamed)
	return changes(before, settingsOf(p.Snapshot()))
}

// swapOptions gives the loops other options with the same backends.
func (p *Pool) swapOptions(opt *Options) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publish(p.Snapshot().all, opt)
}

// setting is what a spec decides of a backend.
type setting struct {
	addr             netaddr.Addr
	weight, maxConns int
}

// settingsOf is the settings of all backends, sorted by address.
func settingsOf(s *Snapshot) []setting {
	all := make([]setting, len(s.all))
	for i, b := range s.all {
		all[i] = setting{b.Addr, b.Weight(), b.MaxConns()}
	}
	return all
}

// changes compares two lists that are sorted by address.
func changes(before, after []setting) (c Changes) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].addr.Compare(after[0].addr) < 0:
			c.Removed = append(c.Removed, before[0].addr)
			before = before[1:]
		case len(before) == 0 || before[0].addr != after[0].addr:
			c.Added = append(c.Added, after[0].addr)
			after = after[1:]
		default:
			if before[0] != after[0] {
				c.Changed = append(c.Changed, after[0].addr)
			}
			before, after = before[1:], after[1:]
		}
	}
	return c
}
