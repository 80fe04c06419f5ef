package cluster

import (
	"cmp"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"homing/balancer/pool"
)

// A drain command is a state that outlasts it: two nodes that meet give one another what was ordered before, sealed as a
// command (opStanding). One that starts again at once meets those that have not missed it, so who meets asks, too. Of two orders about one backend the later counts, by the
// clock of the node that was asked for it; so an old drain does not come back over the undrain that ended it.
const (
	// orderKept is for how long an order is remembered: longer than any ticket lives, and than who ordered it thinks of it.
	orderKept = 30 * 24 * time.Hour

	// maxOrders bounds the orders, the oldest give way: maxBatch of them travel in one command.
	maxOrders = 256
	maxBatch  = 32

	// ordersEvery is how often backends are looked for that an order is waiting for; discovery has it looked at once.
	ordersEvery = time.Second

	// standingBytes is an order but for the address and its length: mode (1 byte), pool (4), when it was given and when its
	// own resumptions end (8 each, seconds since 1970; 0: never).
	standingBytes = 1 + 4 + 8 + 8

	maxStanding = 1 + maxBatch*(standingBytes+1+16+2)
)

// target is what an order is about.
type target struct {
	pool    uint32 // 0: all that have one of the address
	backend netip.AddrPort
}

// order is the last that was ordered of a target.
type order struct {
	Pool    uint32         `json:"pool"`
	Backend netip.AddrPort `json:"backend"`
	Mode    pool.Drain     `json:"mode"`
	At      time.Time      `json:"at"`            // when it was given
	End     time.Time      `json:"end,omitzero"`  // when its own resumptions end; zero: never
	Done    bool           `json:"done,omitzero"` // it has been followed here
}

func (o *order) target() target { return target{o.Pool, o.Backend} }

// plan is what is left of it at now.
func (o *order) plan(now time.Time) pool.DrainPlan {
	left := o.End.Sub(now)
	switch {
	case o.End.IsZero() || o.Mode == pool.DrainOff:
		return pool.DrainPlan{Mode: o.Mode}
	case left <= 0:
		return pool.DrainPlan{Mode: pool.DrainHard} // as pool.Drain has it
	}
	return pool.DrainPlan{Mode: o.Mode, For: min(left, pool.MaxDrain)}
}

// orders is what was ordered of late. The zero value is ready.
type orders struct {
	all map[target]*order
}

// take notes an order that somebody has passed on, if it is later than what is known of its target.
func (r *orders) take(one order, now time.Time) {
	if now.Sub(one.At) > orderKept || one.At.Sub(now) > commandAge {
		return
	}
	old := r.of(one.Pool, one.Backend)
	if old == nil || one.At.After(old.At) {
		one.Done = one.Mode == pool.DrainOff && old == nil // there is nothing that it ends
		r.keep(one)
	}
	for key, o := range r.all {
		if now.Sub(o.At) > orderKept {
			delete(r.all, key)
		}
	}
}

// of is the last order about a pool's backend: one for all pools is about that too.
func (r *orders) of(hash uint32, backend netip.AddrPort) *order {
	own, all := r.all[target{hash, backend}], r.all[target{0, backend}]
	if own == nil || all != nil && all.At.After(own.At) {
		return all
	}
	return own
}

// keep notes an order that has been followed here, or is to be.
func (r *orders) keep(one order) {
	if r.all == nil {
		r.all = make(map[target]*order)
	}
	if one.Pool == 0 {
		for key, o := range r.all {
			if key.backend == one.Backend && !o.At.After(one.At) {
				delete(r.all, key) // it was about one of those that this is about
			}
		}
	}
	r.all[one.target()] = &one
	if len(r.all) > maxOrders {
		delete(r.all, r.sorted()[0].target())
	}
}

// sorted is the orders as they were given.
func (r *orders) sorted() []*order {
	var all []*order
	for _, o := range r.all {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b *order) int {
		return cmp.Or(a.At.Compare(b.At), a.Backend.Compare(b.Backend), cmp.Compare(a.Pool, b.Pool))
	})
	return all
}

// standingCommand gives a node what was ordered before, and may ask for what it knows. It travels as whether it asks (1
// byte), then the orders.
type standingCommand struct {
	asks   bool
	orders []order
}

func (c *standingCommand) seal(nodeKey []byte, now time.Time) ([]byte, error) {
	rest := []byte{0}
	if c.asks {
		rest[0] = 1
	}
	for i := range c.orders {
		o := &c.orders[i]
		addr, err := o.Backend.MarshalBinary()
		if err != nil {
			return nil, err
		}
		rest = append(rest, byte(o.Mode))
		rest = binary.BigEndian.AppendUint32(rest, o.Pool)
		rest = binary.BigEndian.AppendUint64(rest, uint64(o.At.Unix()))
		var end int64
		if !o.End.IsZero() {
			end = o.End.Unix()
		}
		rest = binary.BigEndian.AppendUint64(rest, uint64(end))
		rest = append(append(rest, byte(len(addr))), addr...)
	}
	return seal(nodeKey, opStanding, false, rest, now)
}

var errStanding = errors.New("the orders of before cannot be read")

func parseStanding(rest []byte) (*standingCommand, error) {
	if len(rest) == 0 {
		return nil, errStanding
	}
	c := &standingCommand{asks: rest[0] == 1}
	for rest = rest[1:]; len(rest) > 0; {
		if len(rest) < standingBytes+1 || len(rest) < standingBytes+1+int(rest[standingBytes]) || len(c.orders) >= maxBatch {
			return nil, errStanding
		}
		o := order{Mode: pool.Drain(rest[0]), Pool: binary.BigEndian.Uint32(rest[1:]), At: time.Unix(int64(binary.BigEndian.Uint64(rest[5:])), 0)}
		if end := int64(binary.BigEndian.Uint64(rest[13:])); end != 0 {
			o.End = time.Unix(end, 0)
		}
		n := standingBytes + 1 + int(rest[standingBytes])
		var err error
		if o.Backend, err = parseAddress(rest[standingBytes+1 : n]); err != nil || o.Mode > pool.DrainHard {
			return nil, errStanding
		}
		c.orders = append(c.orders, o)
		rest = rest[n:]
	}
	return c, nil
}

func (c *standingCommand) judge([]Member) error {
	return errors.New("orders of before are for the node that joins") // nobody gives them to be passed on
}

// apply takes what is news here. A backend that this node does not have yet is drained when it has: see followOrders.
func (c *standingCommand) apply(m *Membership) error {
	now := time.Now()
	for _, one := range c.orders {
		m.orders.take(one, now)
	}
	m.followOrders(now)
	return nil
}

// followOrders does what was ordered of backends that are here by now. m.applying is held.
func (m *Membership) followOrders(now time.Time) {
	followed := false
	for _, o := range m.orders.all {
		if o.Done {
			continue
		}
		plan := o.plan(now)
		if err := m.eachBackend(o.Pool, o.Backend, func(p *pool.Pool, b *pool.Backend) error {
			if m.orders.of(p.Hash(), o.Backend) != o {
				return nil // another order is about this pool alone, and later
			}
			return p.Drain(b, plan)
		}); err != nil {
			continue // it is not here, or leaves just now
		}
		o.Done, followed = true, true
		m.log.Info("cluster: a drain is followed that was ordered while this node was away", slog.String("backend", o.Backend.String()), slog.String("mode", plan.Mode.String()))
	}
	if followed && m.cfg.Settle != nil {
		m.cfg.Settle()
	}
}

// FollowOrders does what was ordered of backends that have come since. It may wait for a moment.
func (m *Membership) FollowOrders() {
	m.applying.Lock()
	defer m.applying.Unlock()
	m.followOrders(time.Now())
}

// tellOrders gives a node what was ordered before, and asks for what it knows. It returns at once.
func (m *Membership) tellOrders(node *Member, ask bool) {
	nodeKeys := *m.nodeKeys.Load()
	if len(nodeKeys) == 0 || !node.Meta.Standing {
		return
	}
	to := reach(node)
	go func() { // ends within streamTimeout for each of the few batches
		m.applying.Lock()
		var all []order
		for _, o := range m.orders.sorted() {
			all = append(all, *o)
		}
		m.applying.Unlock()
		batches := slices.Collect(slices.Chunk(all, maxBatch))
		if ask && len(batches) == 0 {
			batches = append(batches, nil)
		}
		for i, batch := range batches {
			sealed, err := (&standingCommand{ask && i == 0, batch}).seal(nodeKeys[0], time.Now())
			if err == nil {
				message := append([]byte{messageCommand, byte(len(m.cfg.ID))}, m.cfg.ID...)
				err = m.list.SendReliable(to, append(message, sealed...))
			}
			if err != nil {
				m.log.Debug("cluster: a node is not told what was ordered before", slog.String("member", to.Name), slog.Any("error", err))
				return
			}
		}
	}()
}

// answerOrders gives the node that asks what was ordered before.
func (m *Membership) answerOrders(c command, asker string) {
	if told, ok := c.(*standingCommand); !ok || !told.asks {
		return
	}
	members := m.Members()
	i := slices.IndexFunc(members, func(one Member) bool { return one.ID == asker && one.Alive && one.Meta.Role == RoleNode })
	if i >= 0 { // else it is yet to be met, and told then
		m.tellOrders(&members[i], false)
	}
}
