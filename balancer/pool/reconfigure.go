package pool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Plan is another configuration of a pool that was found to be possible, and not done yet.
type Plan struct {
	pool     *Pool
	opt      *Options
	targets  []target
	want     []wanted
	warnings []string
}

// Set is Reconfigure with the options that the pool has.
func (p *Pool) Set(specs []Spec) error { return p.Reconfigure(specs, *p.Snapshot().opt) }

// Reconfigure gives the pool other specs and options: Plan and Apply in one.
func (p *Pool) Reconfigure(specs []Spec, opt Options) error {
	plan, err := p.Plan(specs, opt)
	if err == nil {
		plan.Apply()
	}
	return err
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
func (plan *Plan) Apply() {
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
	p.targets = plan.targets
	p.mu.Lock()
	for _, b := range p.Snapshot().all { // what was said by hand stands until now
		b.handWeight = 0
	}
	p.publish(p.Snapshot().all, plan.opt)
	p.mu.Unlock()
	p.applyStatic(plan.want, plan.warnings)
	kick(p.kick)
	kick(p.renamed)
}
