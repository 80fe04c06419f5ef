package bound

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// visitor is a connection from an address.
type visitor struct {
	net.Conn
	from   netip.AddrPort
	closed bool
}

func (v *visitor) RemoteAddr() net.Addr       { return net.TCPAddrFromAddrPort(v.from) }
func (v *visitor) Close() error               { v.closed = true; return nil }
func (v *visitor) Read(b []byte) (int, error) { return len(b), nil }

// TestDoor: everybody comes in; the silent give way first, then the oldest, and strangers never take a place of a
// peer's.
func TestDoor(t *testing.T) {
	friend := netip.MustParseAddr("192.0.2.1")
	d := &Door{Places: 4, PerAddr: 2, Known: func(a netip.Addr) bool { return a == friend }}
	var came []*visitor
	come := func(from string) (*visitor, *Guest) {
		v := &visitor{from: netip.MustParseAddrPort(from)}
		came = append(came, v)
		return v, d.Enter(v)
	}
	peer, _ := come("192.0.2.1:1")
	spoke, g := come("198.51.100.1:1")
	if _, err := g.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	silent, _ := come("198.51.100.1:2")
	third, _ := come("198.51.100.1:3")
	if !silent.closed || spoke.closed || third.closed {
		t.Errorf("of one address: silent out %v, the one that spoke %v, the last %v", silent.closed, spoke.closed,
			third.closed)
	}
	for _, from := range []string{"198.51.100.2:1", "198.51.100.3:1", "198.51.100.4:1"} {
		come(from)
	}
	if !third.closed || spoke.closed || peer.closed || len(d.inside) != 5 {
		t.Errorf("all places taken: the first silent out %v, the one that spoke %v, the peer %v; %d inside",
			third.closed, spoke.closed, peer.closed, len(d.inside))
	}
	g.Leave()
	g.Leave()
	turnedOut := 0
	for _, v := range came {
		if v.closed {
			turnedOut++
		}
	}
	if len(d.inside) != 4 || turnedOut != 2 {
		t.Errorf("%d inside, %d turned out", len(d.inside), turnedOut)
	}
}

// TestBudget: one address has its rate, and no other's.
func TestBudget(t *testing.T) {
	b := NewBudget(10, 20)
	now := time.Unix(1_000_000, 0)
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	free := 0
	for range 100 {
		if b.Spend(one, 1, now) == 0 {
			free++
		}
	}
	if free != 20 || b.Spend(other, 1, now) != 0 {
		t.Errorf("%d at once", free)
	}
	if wait := b.Spend(one, 0, now.Add(time.Second)); wait <= 0 || wait > 2*time.Second {
		t.Errorf("%s to wait a second later", wait)
	}
	if wait := b.Spend(one, 1, now.Add(10*time.Second)); wait != 0 {
		t.Errorf("%s to wait at last", wait)
	}
	for i := range 3 * maxBudgets {
		b.Spend(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1, now)
	}
	if len(b.spent) > maxBudgets {
		t.Errorf("%d addresses are remembered", len(b.spent))
	}
}
