//go:build linux

package balancer

import (
	"homing/balancer/internal/netio"
)

// Engine is the kernel's interface that the loops stand on.
type Engine = netio.Kind

// The engines.
const (
	// EngineAuto is io_uring where the kernel has it and lets it be used, epoll
	// elsewhere.
	EngineAuto  = netio.KindAuto
	EngineUring = netio.KindUring
	EngineEpoll = netio.KindEpoll
)

// chooseEngine settles the engine of all loops. What auto has chosen may still be refused to one, for want of memory or
// descriptors that a ring takes: then it is epoll.
func (b *Balancer) chooseEngine() error {
	cfg := &b.set.cfg
	choice, err := netio.Choose(cfg.Engine)
	if err != nil {
		return err
	}
	b.engine = choice
	b.newEngine = func(bufferMemory int64) (netio.Engine, error) {
		e, err := choice.Open(bufferMemory)
		if err != nil && cfg.Engine == EngineAuto && choice.Kind == EngineUring {
			cfg.Log.Warn("engine refused, using epoll for a loop", "engine", choice.Kind, "error", err)
			return netio.NewEpoll(bufferMemory)
		}
		return e, err
	}
	return nil
}

// announceEngine says in the log which engine it is and why.
func (b *Balancer) announceEngine() {
	cfg := &b.settings().cfg
	cfg.Log.Info("engine", "engine", b.engine.Kind.String(), "why", b.engine.Why, "loops", cfg.Loops)
}
