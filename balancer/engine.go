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

// ParseEngine reads what Engine.String writes.
func ParseEngine(text string) (Engine, error) { return netio.ParseKind(text) }

// chooseEngine settles the engine of all loops.
func (b *Balancer) chooseEngine() error {
	cfg := &b.set.cfg
	choice, err := netio.Choose(cfg.Engine)
	if err != nil {
		return err
	}
	b.engine = choice
	return nil
}

// announceEngine says in the log which engine it is and why.
func (b *Balancer) announceEngine() {
	cfg := &b.settings().cfg
	cfg.Log.Info("engine", "engine", b.engine.Kind.String(), "why", b.engine.Why, "loops", cfg.Loops)
}

// openEngine makes a loop's engine. What auto has chosen may still be refused, for
// want of memory or descriptors that a ring takes: then it is epoll.
func (b *Balancer) openEngine() (netio.Engine, error) {
	cfg := &b.set.cfg
	limit := cfg.BufferMemory / int64(cfg.Loops)
	e, err := b.engine.Open(limit)
	if err != nil && cfg.Engine == EngineAuto && b.engine.Kind == EngineUring {
		cfg.Log.Warn("engine refused, using epoll for a loop", "engine", b.engine.Kind, "error", err)
		return netio.NewEpoll(limit)
	}
	return e, err
}
