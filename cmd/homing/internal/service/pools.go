//go:build linux

package service

import (
	"context"
	"fmt"
	"slices"

	"homing/balancer"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/task"
)

// pooled is a pool and what looks at its backends. A reload that changes how they are looked at makes another for the
// same pool.
type pooled struct {
	// Static after newWatch.
	*pool.Pool
	checks *health.Checker // nil when they are disabled
	probe  *health.Prober  // nil when it is disabled, or nobody reads the hellos that come here

	// Owned by start, stop and reload, one at a time; nil before start.
	own   *task.Task // the pool's own: one for all pooled of a pool
	watch *task.Task // of checks and probe
}

// mayBeTransparent refuses transparent pools where this process may not have foreign addresses.
func mayBeTransparent(c *config.Config) error {
	if !slices.ContainsFunc(c.Pools, func(p config.Pool) bool { return p.Transparent }) {
		return nil
	}
	if err := balancer.CheckTransparent(); err != nil {
		return fmt.Errorf("--transparent: %w", err)
	}
	return nil
}

// newWatch gives a pool its checks and its probe.
func (s *service) newWatch(c *config.Config, settings *config.Pool, p *pooled) (err error) {
	if probed(c, settings) {
		p.probe, err = health.NewProber(p.Pool, health.ProbeConfig{
			Store: s.store, Interval: settings.Probe.Interval, Names: settings.Probe.Names,
			FromTraffic: settings.Probe.FromTraffic, Log: s.log,
		})
		if err != nil {
			return err
		}
	}
	if settings.Checks.Disabled {
		return nil
	}
	checks, err := settings.Checks.Config(s.log)
	if err != nil {
		return err
	}
	checks.Agent = settings.Agent
	p.checks, err = health.New(p.Pool, checks)
	return err
}

// probed says that a pool is to be probed: not one of which no hello is read.
func probed(c *config.Config, p *config.Pool) bool {
	return p.Probe.Enabled && slices.ContainsFunc(c.Listeners, func(l config.Listener) bool {
		return l.TLS != balancer.TLSOff && (l.Default == p.Name ||
			slices.ContainsFunc(l.Routes, func(r config.Route) bool { return r.Pool == p.Name }))
	})
}

// start sets going what belongs to the pool and is not running yet. It ends with ctx, or by stop.
func (p *pooled) start(ctx context.Context) {
	if p.own == nil {
		p.own = task.Start(ctx, p.Run)
	}
	if p.watch != nil {
		return
	}
	var watches []func(context.Context)
	if p.checks != nil {
		watches = append(watches, p.checks.Run)
	}
	if p.probe != nil {
		watches = append(watches, p.probe.Run)
	}
	p.watch = task.Start(ctx, watches...)
}

// stop ends what start has set going, and returns when it has ended.
func (p *pooled) stop() {
	p.watch.Stop()
	p.own.Stop()
}

// nodeOf tells this node from the others of its cluster, in the same way after a restart: by the address of its gossip.
// Two that share it are on one machine, where a path is one socket.
func nodeOf(c *config.Config) string {
	addr := c.Cluster.Advertise
	if !addr.IsValid() {
		addr = c.Cluster.Bind
	}
	if !addr.IsValid() {
		return ""
	}
	return addr.Addr().String()
}

func (s *service) poolOptions(c *config.Config, p *config.Pool) pool.Options {
	o := p.Options
	o.Fall, o.NoChecks, o.CheckFirst = p.Checks.Fall, p.Checks.Disabled, !p.Checks.Disabled
	o.Discover, o.Node, o.Refuse, o.Log = c.Discovers(p), nodeOf(c), s.refuses(c), s.log
	return o
}

// plain is the pools without what looks at them.
func (now *running) plain() []*pool.Pool {
	plain := make([]*pool.Pool, len(now.pools))
	for i, p := range now.pools {
		plain[i] = p.Pool
	}
	return plain
}

// suspect hands on to the probe what affinity says. Nothing runs before there is a probe, if there will be one.
func (s *service) suspect(hash, id uint32, doubtful bool) {
	for _, p := range s.running.Load().pools {
		if p.Hash() == hash && p.probe != nil {
			p.probe.Suspect(id, doubtful)
		}
	}
}

// findings is what the probes know.
func (s *service) findings() (all []health.Findings) {
	for _, p := range s.running.Load().pools {
		if p.probe != nil {
			all = append(all, p.probe.Findings()...)
		}
	}
	return all
}
