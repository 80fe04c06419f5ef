package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"homing/balancer/pool"
)

// DrainCommand empties a backend at all nodes, or ends that. It tells those that are there: nobody keeps it for a node
// that joins, or starts again, later.
type DrainCommand struct {
	Backend netip.AddrPort
	Mode    pool.Drain
}

// Seal makes the command's form for Membership.Command.
func (c *DrainCommand) Seal(nodeKey []byte, now time.Time) ([]byte, error) {
	addr, err := plainAddr(c.Backend).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("cluster: seal: %w", err)
	}
	return seal(nodeKey, opDrain, false, append([]byte{byte(c.Mode)}, addr...), now)
}

func parseDrain(rest []byte) (*DrainCommand, error) {
	if len(rest) != 1+4+2 && len(rest) != 1+16+2 || pool.Drain(rest[0]) > pool.DrainHard {
		return nil, errors.New("the drain command cannot be read")
	}
	c := &DrainCommand{Mode: pool.Drain(rest[0])}
	if err := c.Backend.UnmarshalBinary(rest[1:]); err != nil {
		return nil, fmt.Errorf("the drain command: %w", err)
	}
	c.Backend = plainAddr(c.Backend)
	return c, nil
}

// plainAddr is the form in which pools have addresses: 4 bytes where that is enough, and no zone.
func plainAddr(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
}

func (c *DrainCommand) judge([]Member) error { return nil }

func (c *DrainCommand) apply(m *Membership) error {
	found := false
	for _, p := range m.cfg.Pools {
		backends := p.Snapshot().All()
		if i := slices.IndexFunc(backends, func(b *pool.Backend) bool { return b.Addr == c.Backend }); i >= 0 {
			p.SetDraining(backends[i], c.Mode)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("no pool of this node has a backend %s", c.Backend)
	}
	return nil
}
