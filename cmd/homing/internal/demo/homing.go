package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// tableEntries is plenty for the sessions of a demo, and small enough to be made at once.
const tableEntries = 1 << 14

// stopTimeout bounds the wait for conns that are still open when a step has ended: none, or a demo
// that was interrupted.
const stopTimeout = 2 * time.Second

// homing is a balancer in the process, as `homing run` would start it.
type homing struct {
	store    *affinity.Store
	balancer *balancer.Balancer
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	err      error // of Balancer.Run; read after wg
}

func startHoming(ctx context.Context, backends []string) (*homing, error) {
	var specs []pool.Spec
	for _, addr := range backends {
		specs = append(specs, pool.Spec{Addr: addr})
	}
	p, err := pool.New("demo", specs, pool.Options{NoChecks: true})
	if err != nil {
		return nil, fmt.Errorf("demo: make pool: %w", err)
	}
	store, err := affinity.NewStore(affinity.Config{TableEntries: tableEntries, ClientEntries: tableEntries})
	if err != nil {
		return nil, fmt.Errorf("demo: make table: %w", err)
	}
	b, err := balancer.New(balancer.Config{Listeners: []balancer.Listener{{Addr: "127.0.0.1:0", Default: p}}, Store: store})
	if err != nil {
		_ = store.Close() // the first error is the one to tell
		return nil, fmt.Errorf("demo: make balancer: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	h := &homing{store: store, balancer: b, cancel: cancel}
	h.wg.Go(func() { store.Run(ctx) })
	h.wg.Go(func() { p.Run(ctx) })
	h.wg.Go(func() { h.err = b.Run(ctx) })
	return h, nil
}

func (h *homing) addr() string { return h.balancer.Addrs()[0].String() }

func (h *homing) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = h.balancer.Shutdown(ctx) // conns that had to be cut are no loss here
	h.cancel()
	h.wg.Wait()
	if err := h.store.Close(); err != nil {
		return fmt.Errorf("demo: close table: %w", err)
	}
	return h.err
}
