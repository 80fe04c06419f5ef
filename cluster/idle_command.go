package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"homing/balancer/pool"
)

// IdleCommand asks all nodes whether a backend is drained: a node where it is not follows the command no further than to
// say so, by an ErrBusy.
type IdleCommand struct {
	// Pool is the hash of the pool whose backend it is, 0 for all that have one of the address.
	Pool uint32

	Backend netip.AddrPort
}

// ErrBusy says that a backend is not drained yet.
var ErrBusy = errors.New("not drained")

// Seal makes the command's form for Membership.Command.
func (c *IdleCommand) Seal(nodeKey []byte, now time.Time) ([]byte, error) {
	return sealAddressed(nodeKey, opIdle, binary.BigEndian.AppendUint32(nil, c.Pool), c.Backend, now)
}

func parseIdle(rest []byte) (*IdleCommand, error) {
	if len(rest) < 4 {
		return nil, errors.New("the question ends early")
	}
	c := &IdleCommand{Pool: binary.BigEndian.Uint32(rest)}
	var err error
	if c.Backend, err = parseAddress(rest[4:]); err != nil {
		return nil, errors.New("the question cannot be read")
	}
	return c, nil
}

func (c *IdleCommand) judge([]Member) error { return nil }

func (c *IdleCommand) apply(m *Membership) error {
	return m.eachBackend(c.Pool, c.Backend, func(_ *pool.Pool, b *pool.Backend) error {
		if open := b.Open(); open > 0 {
			return fmt.Errorf("%w: %d conns are open", ErrBusy, open)
		}
		if b.Draining() == pool.DrainOff {
			return fmt.Errorf("%w: it is in service", ErrBusy)
		}
		return nil
	})
}
