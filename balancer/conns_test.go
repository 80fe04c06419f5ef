//go:build linux

package balancer

import (
	"testing"

	"homing/balancer/internal/netio"
)

// A conn never moves, is nobody else's while it is taken, and comes back as new.
func TestConns(t *testing.T) {
	t.Parallel()
	const n = 3<<connPageBits + 1
	var table conns
	held := map[uint32]*conn{}
	for range n {
		c := table.take()
		if held[c.index] != nil || table.at(c.index) != c {
			t.Fatalf("conn %d is given out twice, or found elsewhere", c.index)
		}
		if want := (conn{index: c.index, timer: timer{slot: -1}, socks: [2]netio.Sock{netio.NoSock, netio.NoSock}}); *c != want {
			t.Fatalf("taken: %+v", *c)
		}
		c.state, c.opened, c.active, c.mark = stateRelay, 1, 2, markClient
		c.flows[sideBackend] = flow{bytes: 3, flags: bulky}
		c.socks = [2]netio.Sock{4, 5}
		c.hs, c.record = &handshake{}, &ConnRecord{}
		held[c.index] = c
	}
	if table.open != n || len(table.pages) != 4 {
		t.Errorf("%d open in %d pages", table.open, len(table.pages))
	}
	for i, c := range held {
		if table.give(c); c.state != stateFree || c.index != i || c.hs != nil || c.record != nil {
			t.Fatalf("given back: %+v", *c)
		}
	}
	if table.open != 0 || len(table.free) != 4<<connPageBits {
		t.Errorf("%d open, %d free", table.open, len(table.free))
	}
	for range n {
		c := table.take()
		if was := held[c.index]; was != nil && was != c {
			t.Fatalf("conn %d has moved", c.index)
		}
		if c.flows != [2]flow{} || c.socks[0] != netio.NoSock || c.opened != 0 {
			t.Fatalf("taken again: %+v", *c)
		}
	}
	if len(table.pages) != 4 {
		t.Errorf("%d pages: those given back are not used", len(table.pages))
	}
}

// The conn used last, warm in the cache, comes first.
func TestConnsOrder(t *testing.T) {
	t.Parallel()
	var table conns
	if a, b := table.take(), table.take(); a.index != 0 || b.index != 1 {
		t.Errorf("the first are %d and %d", a.index, b.index)
	}
	table.give(table.at(0))
	if c := table.take(); c.index != 0 {
		t.Errorf("taken %d, want the one given back", c.index)
	}
}

// A tag names one side of one conn.
func TestConnTags(t *testing.T) {
	t.Parallel()
	for _, i := range []uint32{0, 1, 255, 256, 1<<31 - 1} {
		for _, s := range []side{sideClient, sideBackend} {
			tag := (&conn{index: i}).tag(s)
			if tag>>1 != i || side(tag&1) != s || s.other() == s || s.other().other() != s {
				t.Errorf("conn %d, side %d: tag %d", i, s, tag)
			}
		}
	}
}

func TestConnsNoAllocs(t *testing.T) {
	var table conns
	table.take()
	if n := testing.AllocsPerRun(1000, func() { table.give(table.take()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
