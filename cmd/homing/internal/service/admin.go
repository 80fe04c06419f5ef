//go:build linux

package service

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/admin"
	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/member"
)

// takeAdmin makes the server for operators, where there is an address for it, and listens. Everything else has been
// made.
func (s *service) takeAdmin(c *config.Config) (err error) {
	if c.Admin.Address == "" {
		return nil
	}
	access := c.Admin.Access()
	if s.operators, err = admin.New(access, s.adminSource(), s.log); err != nil {
		return err
	}
	if s.admin, err = admin.Listen(access.Address,
		s.estate.File(giveAdmin, access.Address.Network, access.Address.Addr)); err != nil {
		return explainListen("--admin", access.Address.Addr, err)
	}
	return nil
}

// adminSource is what operators see, and what they can do.
func (s *service) adminSource() admin.Source {
	source := admin.Source{
		Version: s.version, Name: nodeName(s.running.Load().config), Node: nodeID(s.cluster), Started: time.Now(),
		Stats: s.balancer.Stats, Affinity: s.store.Stats, Store: s.store, Probe: s.findings, Sync: s.balancer.Sync,
		Pools:     func() []*pool.Pool { return s.running.Load().plain() },
		Listeners: s.viewListeners,
		Unready:   s.unready,
		Shortages: s.shortages.Standing,
		Config:    func() admin.ConfigState { return *s.reloads.Load() },
		LogLost:   s.logs.Dropped,
		Reload:    func(context.Context) error { return s.reload("the admin API") },
		Upgrade:   s.requestUpgrade,
		Elder:     s.viewElder,
		LogLevel:  s.level,
		Events:    s.events,
	}
	if s.state != nil {
		source.State = s.state.Stats
	}
	if s.cluster != nil {
		source.Cluster, source.Members = s.cluster.stats, s.cluster.viewMembers
		source.Command = s.cluster.membership.Command
		if s.cluster.replicator != nil { // there is a node key
			source.Order = s.cluster.membership.Order
		}
	}
	return source
}

// unready says why conns should go elsewhere, "" when they are welcome.
func (s *service) unready() string {
	if s.draining.Load() {
		return "draining"
	}
	return s.readiness.unready()
}

// settleTimeout bounds the wait for the loops, for it holds up gossip. A turn of one takes less than a millisecond.
const settleTimeout = time.Second

// settle returns once no loop acts on what was true before.
func (s *service) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	if err := s.balancer.Sync(ctx); err != nil && !s.draining.Load() {
		s.log.Warn("a loop does not answer", slog.Any("error", err))
	}
}

// nodeID is the node's ID in its cluster, "" without one.
func nodeID(c *clusterNode) string {
	if c == nil {
		return ""
	}
	return c.member.ID
}

// nodeName is what the node is called.
func nodeName(c *config.Config) string { return cmp.Or(c.NodeName, member.HostName()) }

// viewListeners is the listeners of the configuration of now. Those of port 0 show the port that they got.
func (s *service) viewListeners() []api.Listener {
	c := s.running.Load().config
	bound := s.balancer.Addrs()
	out := []api.Listener{} // this and all lists in it are written as [] when they are empty
	for i := range c.Listeners {
		l := &c.Listeners[i]
		view := api.Listener{Name: l.Name, Address: l.Address, TLS: l.TLS.String(), Default: l.Default, Routes: []api.Route{}}
		if i < len(bound) {
			view.Address = bound[i].String()
		}
		view.Name = cmp.Or(view.Name, view.Address)
		for _, r := range l.Routes {
			names, alpn := append([]string{}, r.Names...), append([]string{}, r.ALPN...)
			view.Routes = append(view.Routes, api.Route{Names: names, ALPN: alpn, Pool: r.Pool})
		}
		out = append(out, view)
	}
	return out
}

// serveAdmin serves operators until ctx is done.
func (s *service) serveAdmin(ctx context.Context) {
	if s.admin == nil {
		return
	}
	s.background.Go(func() { s.operators.Run(ctx, s.admin) })
}
