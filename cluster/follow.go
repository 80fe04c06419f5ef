package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"homing/balancer/pool"
)

// follow does at this node what an order says. m.applying is held.
func (m *Membership) follow(o *Order) error {
	switch o.Op {
	case OpKeyAdd:
		return m.changeKeys(o, func(keys *Keyring) error { return keys.Add(o.Key) })
	case OpKeyUse:
		return m.changeKeys(o, func(keys *Keyring) error { return keys.Use(o.Print) })
	case OpKeyRemove:
		return m.changeKeys(o, func(keys *Keyring) error { return keys.Remove(o.Print) })
	case OpDrain:
		return m.drain(o)
	case OpWeight:
		return m.eachBackend(o, func(p *pool.Pool, b *pool.Backend) error { return p.SetWeight(b, o.Weight) })
	case OpIdle:
		return m.eachBackend(o, idle)
	case opStanding:
		m.takeStanding(o)
	case opAnswer: // parseCommand knows no such order
	}
	return nil
}

func (m *Membership) changeKeys(o *Order, change func(*Keyring) error) error {
	keys := m.cfg.Keys
	if keys == nil {
		return errors.New("this node gossips without a key")
	}
	if err := change(keys); err != nil {
		return err
	}
	m.log.Info("cluster: key "+o.Op.String(), slog.String("key", o.Print.String()), slog.Int("keys", len(keys.Prints())))
	m.cfg.KeysChanged(keys.Keys())
	return m.Update(func(*Meta) {}) // the prints are new
}

func (m *Membership) drain(o *Order) error {
	if err := m.eachBackend(o, func(p *pool.Pool, b *pool.Backend) error { return p.Drain(b, o.Plan) }); err != nil {
		return err
	}
	one := standingOrder{Pool: o.Pool, Backend: o.Backend, Mode: o.Plan.Mode, At: o.at, Done: true}
	if o.Plan.For > 0 {
		one.End = o.at.Add(o.Plan.For)
	}
	m.standing.keep(one)
	m.cfg.Settle()
	return nil
}

func idle(_ *pool.Pool, b *pool.Backend) error {
	if open := b.Open(); open > 0 {
		return fmt.Errorf("%w: %d conns are open", ErrBusy, open)
	}
	if b.Draining() == pool.DrainOff {
		return fmt.Errorf("%w: it is in service", ErrBusy)
	}
	return nil
}

// SetPools replaces the pools whose backends orders are about.
func (m *Membership) SetPools(pools []*pool.Pool) { m.pools.Store(&pools) }

// eachBackend does something to the backend that an order is about, in its pool or in every one.
func (m *Membership) eachBackend(o *Order, do func(*pool.Pool, *pool.Backend) error) error {
	var errs []error
	found := false
	for _, p := range *m.pools.Load() {
		backends := p.Snapshot().All()
		i := slices.IndexFunc(backends, func(b *pool.Backend) bool { return b.Addr.IP() == o.Backend })
		if i >= 0 && (o.Pool == 0 || o.Pool == p.Hash()) {
			errs = append(errs, do(p, backends[i]))
			found = true
		}
	}
	if !found && o.Pool == 0 {
		return fmt.Errorf("no pool of this node has a backend %s", o.Backend)
	} else if !found {
		return fmt.Errorf("the pool of this node has no backend %s", o.Backend)
	}
	return errors.Join(errs...)
}
