//go:build linux

package service

import (
	"context"
	"time"

	"homing/balancer/netaddr"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/shortage"
	"homing/cmd/homing/internal/task"
)

// watch looks whether conns are welcome, every second, and for what clients are short of, every shortage.Every. It ends with ctx.
func (s *service) watch(ctx context.Context) {
	const early = time.Second / 2 // no look is that late
	looked := time.Now()
	task.EverySecond(ctx, func(now time.Time) {
		s.readiness.unready()
		if now.Sub(looked) > shortage.Every-early {
			s.shortages.Look(s.viewForShortages(), now)
			looked = now
		}
	})
}

func (s *service) viewForShortages() *shortage.View {
	now := s.running.Load()
	view := &shortage.View{Stats: s.balancer.Stats(), LogLost: s.logs.Dropped()}
	for i, p := range now.pools {
		settings := &now.config.Pools[i]
		one := shortage.Pool{
			Name: p.Name(), Unable: p.nobody(), Queue: settings.Queue,
			QueueTimeout: settings.QueueTimeout, Itself: p.Refused(),
		}
		for _, addr := range settings.Sources {
			if !s.own.has(addr) && s.own.known() {
				one.Strangers = append(one.Strangers, addr)
			}
		}
		view.Pools = append(view.Pools, one)
	}
	return view
}

// refuses are the backends of c that conns would come back from.
func (s *service) refuses(c *config.Config) func(netaddr.Addr) bool {
	return func(addr netaddr.Addr) bool { return c.TakenBy(addr, s.own.has) != nil }
}
