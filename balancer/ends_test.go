//go:build linux

package balancer

import (
	"io"
	"net"
	"net/netip"
	"time"
)

// serve adds a backend; handle is called once a connection, which is closed when it returns.
func (r *rig) serve(handle func(c *net.TCPConn)) *server {
	r.Helper()
	return r.serveAs(func(_ *server, c *net.TCPConn) { handle(c) })
}

func (r *rig) serveAs(handle func(s *server, c *net.TCPConn)) *server {
	r.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.Fatal(err)
	}
	s := &server{rig: r, ln: ln, addr: ln.Addr().String(), index: byte(len(r.servers))}
	r.servers = append(r.servers, s)
	r.handled.Go(func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			s.taken.Add(1)
			r.track(c)
			r.handled.Go(func() {
				defer c.Close()
				handle(s, c)
			})
		}
	})
	return s
}

// arrival is a connection that a server of serveByHand has got.
type arrival struct {
	*net.TCPConn
	server *server
}

// serveByHand adds a backend whose connections the test takes with arrival.
func (r *rig) serveByHand() *server {
	r.Helper()
	return r.serveAs(func(s *server, c *net.TCPConn) {
		r.arrived <- arrival{c, s}
		<-r.over
	})
}

// arrival is the next connection that a backend gets; its hello is still to be read.
func (r *rig) arrival() arrival {
	r.Helper()
	select {
	case a := <-r.arrived:
		return a
	case <-time.After(patience):
		r.Fatalf("no backend was asked: %+v", r.b.Stats())
		panic("unreachable")
	}
}

// unserved is the address of a backend that refuses connections.
func (r *rig) unserved() *server {
	r.Helper()
	s := r.serve(func(*net.TCPConn) {})
	s.ln.Close()
	return s
}

// dial connects to the balancer from 127.0.0.1.
func (r *rig) dial() *net.TCPConn {
	r.Helper()
	return r.dialFrom(netip.Addr{})
}

// dialFrom connects from an address of 127.0.0.0/8.
func (r *rig) dialFrom(from netip.Addr) *net.TCPConn {
	r.Helper()
	c, err := r.tryDial(from)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

// tryDial is dialFrom for whose conn may be reset before the system has told of it.
func (r *rig) tryDial(from netip.Addr) (*net.TCPConn, error) {
	var local *net.TCPAddr
	if from.IsValid() {
		local = &net.TCPAddr{IP: from.AsSlice()}
	}
	to, err := net.ResolveTCPAddr("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	c, err := net.DialTCP("tcp", local, to)
	if err == nil {
		r.track(c)
	}
	return c, err
}

// source is the n-th of many client addresses, each in a network of its own.
func source(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + n%200), byte(1 + n/200%200), byte(1 + n/40000)})
}

// echo sends back what it gets, by copy: pipes of the runtime's own would be counted as leaks.
func echo(c net.Conn) {
	_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
}
