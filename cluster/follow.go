package cluster

import (
	"errors"
	"fmt"
	"log/slog"

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
	m.log.Info("cluster: key "+o.Op.String(), slog.String("key", o.Print.String()),
		slog.Int("keys", len(keys.Prints())))
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
