package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"homing/balancer/pool"
	"homing/cluster/internal/bound"
)

// Op is what an order does at every node.
type Op uint8

const (
	// OpKeyAdd trusts a gossip key.
	OpKeyAdd Op = 1
	// OpKeyUse encrypts with a gossip key that is trusted.
	OpKeyUse Op = 2
	// OpKeyRemove trusts a gossip key no more.
	OpKeyRemove Op = 3
	// OpDrain empties a backend, or ends that. Nodes that are there follow it, and give it to nodes that join, or start again,
	// later (standing.go).
	OpDrain Op = 4
	// OpWeight gives a backend another weight, for nodes choose alike only while they agree on it. It is not kept for nodes
	// that come later, whose configuration has the last word.
	OpWeight Op = 6
	// OpIdle asks whether a backend is drained: a node where it is not follows the order no further than to say so, by an
	// ErrBusy.
	OpIdle Op = 7

	opAnswer   Op = 5 // no order, but sealed as they are: answer.go
	opStanding Op = 8 // nodes tell one another: standing.go
)

// kind is what tells the orders of one Op from others.
type kind struct {
	word   string
	put    func(*Order) []byte           // the body of its form
	get    func(o *Order, b []byte) bool // reads what put wrote; false: it cannot
	follow func(*Membership, *Order) error
}

// kind is the table of them. A kind that is not known to this release has no get.
func (op Op) kind() kind {
	ofPrint := func(word string, change func(*Keyring, *Order) error) kind {
		return kind{
			word: word, follow: changeKeys(change),
			put: func(o *Order) []byte { return o.Print[:] },
			get: func(o *Order, b []byte) bool { return len(b) == copy(o.Print[:], b) && len(b) == len(o.Print) },
		}
	}
	switch op {
	case OpKeyAdd:
		return kind{
			word: "add", follow: changeKeys(func(keys *Keyring, o *Order) error { return keys.Add(o.Key) }),
			put: func(o *Order) []byte { return o.Key },
			get: func(o *Order, b []byte) bool { o.Key, o.Print = b, PrintOf(b); return len(b) == KeyBytes },
		}
	case OpKeyUse:
		return ofPrint("use", func(keys *Keyring, o *Order) error { return keys.Use(o.Print) })
	case OpKeyRemove:
		return ofPrint("remove", func(keys *Keyring, o *Order) error { return keys.Remove(o.Print) })
	case OpDrain: // mode (1 byte), seconds (4)
		return aboutBackend(1+4, kind{
			word: "drain", follow: (*Membership).drain,
			put: func(o *Order) []byte {
				seconds := (o.Plan.For + time.Second - 1) / time.Second // 0 would be for ever
				return binary.BigEndian.AppendUint32([]byte{byte(o.Plan.Mode)}, uint32(seconds))
			},
			get: func(o *Order, b []byte) bool {
				o.Plan = pool.DrainPlan{Mode: pool.Drain(b[0]), For: time.Duration(binary.BigEndian.Uint32(b[1:])) * time.Second}
				return true
			},
		})
	case OpWeight: // weight (2)
		return aboutBackend(2, kind{
			word: "weight", follow: (*Membership).weigh,
			put: func(o *Order) []byte { return binary.BigEndian.AppendUint16(nil, uint16(o.Weight)) },
			get: func(o *Order, b []byte) bool { o.Weight = int(binary.BigEndian.Uint16(b)); return true },
		})
	case OpIdle:
		return aboutBackend(0, kind{
			word: "idle", follow: (*Membership).idle,
			put: func(*Order) []byte { return nil },
			get: func(*Order, []byte) bool { return true },
		})
	case opStanding:
		return kind{word: "standing", put: (*Order).putStanding, get: (*Order).getStanding, follow: (*Membership).takeStanding}
	case opAnswer:
	}
	return kind{word: "invalid"}
}

// aboutBackend puts the pool (4 bytes) and the address (6 or 18) of a backend behind the first bytes of a body.
func aboutBackend(first int, k kind) kind {
	put, get := k.put, k.get
	k.put = func(o *Order) []byte {
		addr, _ := bound.Plain(o.Backend).MarshalBinary() // it knows no error
		return append(binary.BigEndian.AppendUint32(put(o), o.Pool), addr...)
	}
	k.get = func(o *Order, b []byte) (ok bool) {
		if len(b) < first+4 {
			return false
		}
		o.Pool = binary.BigEndian.Uint32(b[first:])
		o.Backend, ok = parseAddress(b[first+4:])
		return ok && get(o, b[:first])
	}
	return k
}

// parseAddress reads an IP address, of 4 bytes or 16, and a port.
func parseAddress(b []byte) (addr netip.AddrPort, ok bool) {
	if len(b) != 4+2 && len(b) != 16+2 {
		return addr, false
	}
	err := addr.UnmarshalBinary(b)
	return bound.Plain(addr), err == nil
}

func (op Op) String() string { return op.kind().word }

// Order is what all nodes are told to do.
type Order struct {
	Op    Op
	Force bool // OpKeyUse, OpKeyRemove: although members would be cut off

	Key   []byte   // OpKeyAdd
	Print KeyPrint // OpKeyUse, OpKeyRemove

	// OpDrain, OpWeight, OpIdle: the hash of the pool whose backend it is, 0 for all that have one of the address.
	Pool    uint32
	Backend netip.AddrPort

	// Plan of OpDrain is what pool.Drain does at each node. Its time begins when the node gets to know it, and travels in
	// whole seconds.
	Plan pool.DrainPlan

	Weight int // OpWeight: as pool.SetWeight has it

	at       time.Time       // when it was given, once it is opened
	asks     bool            // opStanding: for what the other knows, too
	standing []standingOrder // opStanding
}

// ErrBusy says that a backend is not drained yet.
var ErrBusy = errors.New("not drained")

// check says what no order may be.
func (o *Order) check() error {
	switch {
	case o.Plan.For < 0 || o.Plan.For > pool.MaxDrain:
		return fmt.Errorf("a drain of %s: give a time up to %s, or none", o.Plan.For, pool.MaxDrain)
	case o.Plan.Mode > pool.DrainHard:
		return fmt.Errorf("a drain of mode %d", o.Plan.Mode)
	case o.Weight < 0 || o.Weight > pool.MaxWeight:
		return fmt.Errorf("weight %d is not from 0 to %d", o.Weight, pool.MaxWeight)
	}
	return nil
}

// judge says whom an order would cut off. It is asked at the node that the order was given to.
func (o *Order) judge(members []Member) error {
	if o.Op == opStanding {
		return errors.New("orders of before are for the node that joins") // nobody gives them to be passed on
	}
	if o.Force || o.Op != OpKeyUse && o.Op != OpKeyRemove {
		return nil
	}
	var cut []string
	for i := range members {
		one := &members[i]
		if !one.Alive && one.Meta.Role == RoleAgent {
			continue // it is gone; should it come back it needs the new key anyway
		}
		lacks := o.Op == OpKeyUse && !slices.Contains(one.Meta.Keys, o.Print)
		uses := o.Op == OpKeyRemove && len(one.Meta.Keys) > 0 && one.Meta.Keys[0] == o.Print
		if !one.Alive || lacks || uses {
			cut = append(cut, one.Meta.Role.String()+" "+one.ID)
		}
	}
	if len(cut) == 0 {
		return nil
	}
	return &cutError{o, cut}
}

// cutError says whom an order would cut off.
type cutError struct {
	order   *Order
	members []string
}

func (e *cutError) Error() string {
	lack := "do not have key %s yet"
	if e.order.Op == OpKeyRemove {
		lack = "still use key %s"
	}
	shown := strings.Join(e.members[:min(len(e.members), 5)], ", ")
	return fmt.Sprintf("%d members are missing or "+lack+" (%s): bring them up to date, or force it", len(e.members), e.order.Print, shown)
}

func (m *Membership) drain(o *Order) error {
	err := m.eachBackend(o.Pool, o.Backend, func(p *pool.Pool, b *pool.Backend) error { return p.Drain(b, o.Plan) })
	if err != nil {
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

func (m *Membership) weigh(o *Order) error {
	return m.eachBackend(o.Pool, o.Backend, func(p *pool.Pool, b *pool.Backend) error { return p.SetWeight(b, o.Weight) })
}

func (m *Membership) idle(o *Order) error {
	return m.eachBackend(o.Pool, o.Backend, func(_ *pool.Pool, b *pool.Backend) error {
		if open := b.Open(); open > 0 {
			return fmt.Errorf("%w: %d conns are open", ErrBusy, open)
		}
		if b.Draining() == pool.DrainOff {
			return fmt.Errorf("%w: it is in service", ErrBusy)
		}
		return nil
	})
}

// changeKeys is what follows a change of the gossip keys.
func changeKeys(change func(*Keyring, *Order) error) func(*Membership, *Order) error {
	return func(m *Membership, o *Order) error {
		keys := m.cfg.Keys
		if keys == nil {
			return errors.New("this node gossips without a key")
		}
		if err := change(keys, o); err != nil {
			return err
		}
		m.log.Info("cluster: key "+o.Op.String(), slog.String("key", o.Print.String()), slog.Int("keys", len(keys.Prints())))
		m.cfg.KeysChanged(keys.Keys())
		return m.Update(func(*Meta) {}) // the prints are new
	}
}

// SetPools replaces the pools whose backends orders are about.
func (m *Membership) SetPools(pools []*pool.Pool) { m.pools.Store(&pools) }

// eachBackend does something to the backend of an address in the pool with the hash, or in every pool.
func (m *Membership) eachBackend(hash uint32, addr netip.AddrPort, do func(*pool.Pool, *pool.Backend) error) error {
	var errs []error
	found := false
	for _, p := range *m.pools.Load() {
		backends := p.Snapshot().All()
		i := slices.IndexFunc(backends, func(b *pool.Backend) bool { return b.Addr.IP() == addr })
		if i >= 0 && (hash == 0 || hash == p.Hash()) {
			errs = append(errs, do(p, backends[i]))
			found = true
		}
	}
	if !found && hash == 0 {
		return fmt.Errorf("no pool of this node has a backend %s", addr)
	} else if !found {
		return fmt.Errorf("the pool of this node has no backend %s", addr)
	}
	return errors.Join(errs...)
}
