// Package bound limits what others can cost a member, or the admin server: connections that have shown nothing (Door),
// what an address sends (Budget), what is remembered of them (Recent), lines of the log (Quiet), and how often it looks for
// what is due (Attend).
package bound

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// MaxID bounds a member's ID, in bytes.
const MaxID = 64

// Door bounds the connections that have not shown yet who they are. Everybody is let in at once: when there is no
// place, another one gives way, first of those that have said nothing, then the oldest that asks for nothing, then the
// oldest. Strangers have their places, and those who are known theirs, so that no number of strangers keeps a peer out.
// Its methods may be called by any goroutine.
type Door struct {
	// Static.
	Places  int                   // for strangers, and as many for those who are known
	PerAddr int                   // of them for one address, but on loopback
	Known   func(netip.Addr) bool // whether somebody known is at the address; nil: nobody

	mu     sync.Mutex
	inside []*Guest // guarded by mu; in the order they came
}

// Guest is a connection until it has left the door, or is closed.
type Guest struct {
	net.Conn
	Addr  netip.Addr
	Known bool         // somebody known was at the address when it came
	Asks  atomic.Int32 // requests of it that are being answered, where it makes any
	door  *Door
	spoke atomic.Bool
}

// Enter lets a connection in.
func (d *Door) Enter(conn net.Conn) *Guest {
	g := &Guest{Conn: conn, door: d, Addr: AddrOf(conn.RemoteAddr()).Addr()}
	g.Known = d.Known != nil && d.Known(g.Addr)
	d.mu.Lock()
	out := d.room(g)
	d.inside = append(d.inside, g)
	d.mu.Unlock()
	if out != nil {
		out.Conn.Close()
	}
	return g
}

// room takes out who is to go so that g has a place, nil if nobody, of those that take a place of its kind. d.mu is held.
func (d *Door) room(g *Guest) *Guest {
	var all, same []*Guest
	for _, other := range d.inside {
		if other.Known != g.Known {
			continue
		}
		all = append(all, other)
		if other.Addr == g.Addr {
			same = append(same, other)
		}
	}
	may := all
	switch {
	case len(same) >= d.PerAddr && !g.Addr.IsLoopback():
		may = same
	case len(all) < d.Places:
		return nil
	}
	i := slices.IndexFunc(may, func(other *Guest) bool { return !other.spoke.Load() })
	if i < 0 {
		i = slices.IndexFunc(may, func(other *Guest) bool { return other.Asks.Load() == 0 })
	}
	out := may[max(i, 0)]
	d.leave(out)
	return out
}

// leave takes a connection off the list, if it is there. d.mu is held.
func (d *Door) leave(g *Guest) {
	d.inside = slices.DeleteFunc(d.inside, func(other *Guest) bool { return other == g })
}

// Read implements net.Conn.
func (g *Guest) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if n > 0 && !g.spoke.Load() {
		g.spoke.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (g *Guest) Close() error {
	g.Leave()
	return g.Conn.Close()
}

// Leave gives the place back: the connection has shown who it is, or is over. It may be called more than once.
func (g *Guest) Leave() {
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	g.door.leave(g)
}

// AddrOf is a TCP or UDP address in the form in which they compare, without a zone; invalid if it is none.
func AddrOf(addr net.Addr) netip.AddrPort {
	a, ok := addr.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	return Plain(a.AddrPort())
}

// Plain is the form in which addresses compare: 4 bytes where that is enough, and no zone.
func Plain(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
}
