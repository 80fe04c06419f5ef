package cluster

import (
	"errors"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// walled is one end of a network that a wall may part.
type walled struct {
	*memberlist.NetTransport
	wall *wall
	side string
}

var errWall = errors.New("there is a wall")

func (w *walled) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.IPv4(127, 0, 0, 1).To4(), w.GetAutoBindPort(), nil
}

func (w *walled) WriteTo(b []byte, addr string) (time.Time, error) {
	return w.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (w *walled) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	if w.wall.parts(w.side, addr.Addr) {
		return time.Now(), nil // lost on the way
	}
	return w.NetTransport.WriteToAddress(b, addr)
}

func (w *walled) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return w.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (w *walled) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if w.wall.parts(w.side, addr.Addr) {
		w.wall.dials.Add(1)
		return nil, errWall
	}
	return w.NetTransport.DialAddressTimeout(addr, timeout)
}
