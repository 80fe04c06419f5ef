package cluster

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"homing/balancer/pool"
)

// WeightCommand gives a backend another weight at all nodes, for they choose alike only while they agree on it. It is
// not kept for nodes that come later, whose configuration has the last word.
type WeightCommand struct {
	// Pool is the hash of the pool whose backend it is, 0 for all that have one of the address.
	Pool uint32

	Backend netip.AddrPort
	Weight  int // as pool.SetWeight has it
}

// weightCommandBytes is a weight command but for the address: the weight (2 bytes) and the pool (4).
const weightCommandBytes = 2 + 4

// Seal makes the command's form for Membership.Command.
func (c *WeightCommand) Seal(nodeKey []byte, now time.Time) ([]byte, error) {
	if c.Weight < 0 || c.Weight > pool.MaxWeight {
		return nil, errors.New("cluster: seal: no such weight")
	}
	rest := binary.BigEndian.AppendUint16(nil, uint16(c.Weight))
	return sealAddressed(nodeKey, opWeight, binary.BigEndian.AppendUint32(rest, c.Pool), c.Backend, now)
}

func parseWeight(rest []byte) (*WeightCommand, error) {
	if len(rest) < weightCommandBytes {
		return nil, errors.New("the weight command ends early")
	}
	c := &WeightCommand{Weight: int(binary.BigEndian.Uint16(rest)), Pool: binary.BigEndian.Uint32(rest[2:])}
	var err error
	c.Backend, err = parseAddress(rest[weightCommandBytes:])
	if err != nil || c.Weight > pool.MaxWeight {
		return nil, errors.New("the weight command cannot be read")
	}
	return c, nil
}

func (c *WeightCommand) judge([]Member) error { return nil }

func (c *WeightCommand) apply(m *Membership) error {
	return m.eachBackend(c.Pool, c.Backend, func(p *pool.Pool, b *pool.Backend) error { return p.SetWeight(b, c.Weight) })
}
