package cluster

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// door bounds the connections that have not shown yet who they are. Everybody is let in at once: when there is no place,
// another one gives way, first of those that have said nothing, then the oldest. Strangers have their places, and those who
// are known theirs, so that no number of strangers keeps a peer out. Its methods may be called by any goroutine.
type door struct {
	// Static.
	places  int                   // for strangers, and as many for those who are known
	perAddr int                   // of them for one address, but on loopback
	known   func(netip.Addr) bool // whether somebody known is at the address; nil: nobody

	// Atomic.
	turnedOut atomic.Uint64 // those that gave way

	// Guarded by mu.
	mu     sync.Mutex
	inside []*guest // in the order they came
}

// guest is a connection until it is settled or closed.
type guest struct {
	net.Conn
	door  *door
	addr  netip.Addr
	known bool
	spoke atomic.Bool
}

// enter lets a connection in.
func (d *door) enter(conn net.Conn) *guest {
	g := &guest{Conn: conn, door: d, addr: addrPortOf(conn.RemoteAddr()).Addr()}
	g.known = d.known != nil && d.known(g.addr)
	d.mu.Lock()
	out := d.room(g)
	d.inside = append(d.inside, g)
	d.mu.Unlock()
	if out != nil {
		d.turnedOut.Add(1)
		out.Conn.Close()
	}
	return g
}

// room gives who is to go so that g has a place, nil if nobody. d.mu is held.
func (d *door) room(g *guest) *guest {
	same, all := 0, 0
	for _, other := range d.inside {
		if other.known != g.known {
			continue
		}
		all++
		if other.addr == g.addr {
			same++
		}
	}
	switch {
	case same >= d.perAddr && !g.addr.IsLoopback():
		return d.take(func(other *guest) bool { return other.known == g.known && other.addr == g.addr })
	case all >= d.places:
		return d.take(func(other *guest) bool { return other.known == g.known })
	}
	return nil
}

// take takes out the first that is silent, or else the first, of those that may go. d.mu is held.
func (d *door) take(may func(*guest) bool) *guest {
	first := -1
	for i, other := range d.inside {
		if !may(other) {
			continue
		}
		if !other.spoke.Load() {
			first = i
			break
		}
		if first < 0 {
			first = i
		}
	}
	out := d.inside[first] // there is one: they were counted
	d.inside = append(d.inside[:first], d.inside[first+1:]...)
	return out
}

// Read implements net.Conn.
func (g *guest) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if n > 0 && !g.spoke.Load() {
		g.spoke.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.settled()
	return g.Conn.Close()
}

// settled gives the place back: the connection has shown who it is, or is over. It may be called more than once.
func (g *guest) settled() {
	d := g.door
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, other := range d.inside {
		if other == g {
			d.inside = append(d.inside[:i], d.inside[i+1:]...)
			return
		}
	}
}
