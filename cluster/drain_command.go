package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"homing/balancer/pool"
	"homing/cluster/internal/bound"
)

// DrainCommand empties a backend at all nodes, or ends that. Those that are there follow it, and give it to nodes that join,
// or start again, later (standing.go).
type DrainCommand struct {
	// Pool is the hash of the pool whose backend it is, 0 for all that have one of the address.
	Pool uint32

	Backend netip.AddrPort

	// Plan is what pool.Drain does at each node. Its time begins when the node gets to know it, and travels in whole
	// seconds.
	Plan pool.DrainPlan

	at time.Time // when it was given, once it is opened
}

// drainCommandBytes is a drain command but for the address: the mode (1 byte), the time in seconds and the pool (4 each).
const drainCommandBytes = 1 + 4 + 4

// Seal makes the command's form for Membership.Command.
func (c *DrainCommand) Seal(nodeKey []byte, now time.Time) ([]byte, error) {
	if c.Plan.For < 0 || c.Plan.For > pool.MaxDrain {
		return nil, fmt.Errorf("cluster: seal: a drain of %s: give a time up to %s, or none", c.Plan.For, pool.MaxDrain)
	}
	rest := []byte{byte(c.Plan.Mode)}
	rest = binary.BigEndian.AppendUint32(rest, uint32((c.Plan.For+time.Second-1)/time.Second)) // 0 would be for ever
	rest = binary.BigEndian.AppendUint32(rest, c.Pool)
	return sealAddressed(nodeKey, opDrain, rest, c.Backend, now)
}

// sealAddressed seals a command that ends with a backend's address.
func sealAddressed(nodeKey []byte, op byte, rest []byte, backend netip.AddrPort, now time.Time) ([]byte, error) {
	addr, err := bound.Plain(backend).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("cluster: seal: %w", err)
	}
	return seal(nodeKey, op, false, append(rest, addr...), now)
}

func parseDrain(rest []byte) (*DrainCommand, error) {
	if len(rest) < drainCommandBytes || pool.Drain(rest[0]) > pool.DrainHard {
		return nil, errors.New("the drain command cannot be read")
	}
	c := &DrainCommand{Plan: pool.DrainPlan{Mode: pool.Drain(rest[0])}}
	c.Plan.For = time.Duration(binary.BigEndian.Uint32(rest[1:])) * time.Second
	c.Pool = binary.BigEndian.Uint32(rest[5:])
	var err error
	c.Backend, err = parseAddress(rest[drainCommandBytes:])
	if err != nil || c.Plan.For > pool.MaxDrain {
		return nil, errors.New("the drain command cannot be read")
	}
	return c, nil
}

// parseAddress reads an IP address, of 4 bytes or 16, and a port.
func parseAddress(b []byte) (addr netip.AddrPort, err error) {
	if len(b) != 4+2 && len(b) != 16+2 {
		return addr, errors.New("no address")
	}
	err = addr.UnmarshalBinary(b)
	return bound.Plain(addr), err
}

func (c *DrainCommand) judge([]Member) error { return nil }

func (c *DrainCommand) apply(m *Membership) error {
	err := m.eachBackend(c.Pool, c.Backend, func(p *pool.Pool, b *pool.Backend) error { return p.Drain(b, c.Plan) })
	if err != nil {
		return err
	}
	one := order{Pool: c.Pool, Backend: c.Backend, Mode: c.Plan.Mode, At: c.at, Done: true}
	if c.Plan.For > 0 {
		one.End = c.at.Add(c.Plan.For)
	}
	m.orders.keep(one)
	if m.cfg.Settle != nil {
		m.cfg.Settle()
	}
	return nil
}

// SetPools replaces the pools whose backends commands are about.
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
