//go:build linux

package config

import (
	"cmp"
	"fmt"
	"runtime"

	"homing/cmd/homing/internal/value"
)

const (
	// ownMemory is what a process takes that has no conn, in bytes: the program, its runtime, the admin server at work, a
	// cluster. Measured: 17 MiB at rest.
	ownMemory = 40 << 20
	// loopMemory is what each loop takes beside that, in bytes: its ring and receive buffers.
	loopMemory = 4 << 20
	// entryMemory is what an entry of a full table takes, in bytes, rounded up. All that tables may come to is counted: what
	// they take later must be there then.
	entryMemory = 28
	// leastConnMemory is what has to be left for conns, in bytes.
	leastConnMemory = 16 << 20
)

// ConnMemory is what conns may take of the memory of the process, in bytes: limits.memory without what the process takes by
// itself. 0: no limit.
func (c *Config) ConnMemory() int64 {
	if c.Limits.Memory == 0 {
		return 0
	}
	return c.Limits.Memory - c.fixedMemory()
}

func (c *Config) fixedMemory() int64 {
	loops, entries := cmp.Or(c.Loops, runtime.NumCPU()), c.Tables.Entries+c.Tables.ClientEntries
	return ownMemory + int64(loops)*loopMemory + int64(entries)*entryMemory
}

// checkMemory says what is wrong with limits.memory.
func (c *Config) checkMemory() error {
	left := c.ConnMemory()
	switch {
	case c.Limits.Memory == 0:
		return nil
	case left < leastConnMemory:
		const step = 1 << 20
		least := (c.fixedMemory() + leastConnMemory + step - 1) / step * step
		return fmt.Errorf("--memory-limit=%s leaves too little for conns: the program and its tables take %d MiB; "+
			"give at least %s, or lower --table-entries and --client-entries",
			value.FormatBytes(c.Limits.Memory), c.fixedMemory()/step, value.FormatBytes(least))
	case c.Limits.BufferMemory > left/4:
		return fmt.Errorf("--buffer-memory=%s is too much for --memory-limit=%s, of which conns have %d MiB: "+
			"leave it out, or give at most a quarter of that",
			value.FormatBytes(c.Limits.BufferMemory), value.FormatBytes(c.Limits.Memory), left>>20)
	}
	return nil
}

// HeapMemory is what the heap may take where limits.memory is set, in bytes: what is left beside tables and buffers, which
// lie outside of it.
func (c *Config) HeapMemory() int64 {
	return ownMemory + c.ConnMemory()/2
}
