//go:build linux

package balancer

import (
	"cmp"
	"fmt"
)

// What a conn takes of the process' own memory, in bytes, as far as homing can know it: conns_test.go compares the sums
// with what the heap really grows by. The kernel's part, socket buffers and pipes, is not in it: it is bounded by the
// kernel's own settings (net.ipv4.tcp_mem, tcp_rmem, tcp_wmem), and counts as no process'.
const (
	connBytes      = 512     // for as long as it is open: its own, two sockets of the engine
	handshakeBytes = 1536    // until its plaintext is over; buffers count for themselves
	leastMemory    = 1 << 20 // a lower limit would refuse what a single loop needs to get on
	// youngShare is the share of the memory for conns, as its inverse, that conns without a whole hello keep when it is
	// short: established ones must not keep out everybody else.
	youngShare = 8
)

// Under Config.MemoryLimit a quarter is the limit of the buffers, which may come to twice that (see netio.Buffers), and
// a quarter is for conns and handshakes. The last quarter is what a garbage collector needs to get on with the latter.
//
// When it runs short, they give way in this order: conns without a whole hello, of the buffers the newest, beyond an
// eighth of the conns' part the oldest; fresh handshakes, which are refused; new connections, which wait in the
// kernel's queue. Resumptions that have come in, and conns that are established, stay.

// setMemory fills in what follows from MemoryLimit and refuses what cannot be meant.
func (c *Config) setMemory() error {
	if c.MemoryLimit == 0 {
		c.BufferMemory = cmp.Or(c.BufferMemory, defaultBufferMemory)
		return nil
	}
	if c.MemoryLimit < leastMemory {
		return fmt.Errorf("balancer: a memory limit of %d bytes: give at least %d, or 0 for none", c.MemoryLimit, leastMemory)
	}
	c.BufferMemory = cmp.Or(c.BufferMemory, c.MemoryLimit/4)
	if c.connMemory() < leastMemory/4 {
		return fmt.Errorf("balancer: the buffer memory of %d bytes may double and leaves no room for conns in "+
			"a memory limit of %d: lower it to %d, or give none", c.BufferMemory, c.MemoryLimit, c.MemoryLimit/4)
	}
	return nil
}

// connMemory is what conns and handshakes may take, in bytes.
func (c *Config) connMemory() int64 { return (c.MemoryLimit - 2*c.BufferMemory) / 2 }

// connsShort is the part of it beyond which conns without a hello give way. They do so once a batch and at the loop
// that has most of them: what comes meanwhile has the rest up to connsTight, and is not refused in their stead.
func (c *Config) connsShort() int64 { return c.connMemory() / 8 * 5 }

// connsTight is the part of it beyond which fresh handshakes are refused.
func (c *Config) connsTight() int64 { return c.connMemory() / 4 * 3 }
