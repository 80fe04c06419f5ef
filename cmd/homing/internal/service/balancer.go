//go:build linux

package service

import (
	"cmp"
	"runtime"

	"homing/balancer"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/logref"
)

func loopsOf(c *config.Config) int { return cmp.Or(c.Loops, runtime.NumCPU()) }

// maxConns is as many as the limit of open files allows, unless the configuration says otherwise.
func (s *service) maxConns(c *config.Config) int {
	if c.Limits.MaxConns == 0 {
		return connsFor(s.files.files)
	}
	return c.Limits.MaxConns
}

// balancerConfig is what the balancer is told.
func (s *service) balancerConfig(now *running) balancer.Config {
	c := now.config
	t := &c.Timeouts
	cfg := balancer.Config{
		Loops: loopsOf(c), Engine: c.Engine, Store: s.store,
		HelloTimeout: t.Hello, ConnectTimeout: t.Connect, IdleTimeout: t.Idle, HalfClosedTimeout: t.HalfClosed,
		HoldTimeout: t.Hold, HandshakeTimeout: t.Handshake, KeepAlive: t.KeepAlive, UserTimeout: t.User,
		HelloLimit: int(c.Limits.Hello), HoldLimit: int(c.Limits.Hold), Clients: c.Limits.Clients,
		MaxConns: s.maxConns(c), MaxPreHello: c.Limits.PreHello, BufferMemory: c.Limits.BufferMemory,
		MemoryLimit: c.ConnMemory(), Log: s.log,
	}
	byName := make(map[string]*pooled, len(now.pools)) // a site may have thousands of pools, and a route for each
	for _, p := range now.pools {
		byName[p.Name()] = p
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		ln := balancer.Listener{
			Name: l.Name, Addr: l.Address, TLS: l.TLS, AcceptProxy: l.AcceptProxy, Allow: l.Allow,
			Deny: l.Deny, MaxConns: l.MaxConns, Mode: l.Mode,
		}
		if p := byName[l.Default]; p != nil {
			ln.Default = p.Pool
		}
		for _, r := range l.Routes {
			ln.Routes = append(ln.Routes, balancer.Route{Names: r.Names, ALPN: r.ALPN, Pool: byName[r.Pool].Pool})
		}
		cfg.Listeners = append(cfg.Listeners, ln)
	}
	if c.Log.Conns {
		cfg.ConnLog = func(r *balancer.ConnRecord) { logref.LogConn(s.logs.Conns, r) }
	}
	return cfg
}
