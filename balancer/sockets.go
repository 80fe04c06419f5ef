//go:build linux

package balancer

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"homing/balancer/internal/netio"
)

// ListenSocket is sockets that listen on one address: those of a process for
// another one.
//
// Several sockets on one address share its connections (SO_REUSEPORT): each has a
// queue of its own, so none of them may be left out.
type ListenSocket struct {
	Addr netip.AddrPort // that they are bound to; invalid: as the sockets say
	FDs  []int
}

// ListenError says why an address could not be listened on.
type ListenError struct {
	Addr string
	Err  error
}

func (e *ListenError) Error() string { return fmt.Sprintf("cannot listen on %s: %v", e.Addr, e.Err) }

// Unwrap returns the system's error, a netio.Errno, which is syscall.Errno, in most cases.
func (e *ListenError) Unwrap() error { return e.Err }

// socket is one listening descriptor. Its loop takes connections from it and closes
// it; whoever else wants one duplicates it.
type socket struct {
	// Static after construction.
	alias  bool          // a second descriptor of another loop's socket
	closed chan struct{} // closed when fd is

	// Owned by the loop's thread, once it runs.
	dormant bool // bound, and to listen when the loop takes from it

	// Guarded by mu.
	mu     sync.Mutex
	fd     int  // -1 when closed
	handed bool // it came from another process, or went to one
}

// dup returns a descriptor of the same queue, for another process.
func (s *socket) dup() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return -1, errors.New("the socket is closed")
	}
	s.handed = true
	return netio.DupListener(s.fd)
}

func newSocket(fd int) *socket { return &socket{fd: fd, closed: make(chan struct{})} }

func (s *socket) open() bool {
	select {
	case <-s.closed:
		return false
	default:
		return true
	}
}

func (s *socket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	defer close(s.closed) // not before the port is free
	fd := s.fd
	s.fd = -1
	return netio.CloseListener(fd)
}

// shutQueue is for a socket that nobody else has: the others want it as it is.
func (s *socket) shutQueue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd >= 0 && !s.handed {
		netio.ShutQueue(s.fd)
	}
}

// place is an address that is listened on, with its sockets by loop. A loop may have
// several. It is never changed once it is made.
type place struct {
	asked   netip.AddrPort // as configured: its port may be 0
	bound   netip.AddrPort
	sockets [][]*socket
}

// takes says whether the place serves a listener at addr.
func (p *place) takes(addr netip.AddrPort) bool {
	return sameAddr(p.asked, addr) || sameAddr(p.bound, addr)
}

// sameAddr compares addresses in whatever spelling: 4-in-6 is IPv4.
func sameAddr(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().Unmap() == b.Addr().Unmap()
}

func (p *place) close() (err error) {
	for _, sockets := range p.sockets {
		for _, s := range sockets {
			err = errors.Join(err, s.close())
		}
	}
	return err
}

// bind opens the sockets of a new place: one a loop, among which the kernel spreads
// connections (SO_REUSEPORT).
func bind(addr netip.AddrPort, loops int) (*place, error) {
	p := &place{asked: addr, bound: addr, sockets: make([][]*socket, loops)}
	share := loops > 1
	if share {
		// A shared address would be shared with another homing too, so an
		// exclusive socket asks first whether somebody is there.
		fd, err := patiently(func() (int, error) { return netio.ListenTCP(addr, false) })
		if err != nil {
			return nil, err
		}
		p.bound, err = localTCP(fd) // port 0: the same for every loop
		if err := errors.Join(err, netio.CloseListener(fd)); err != nil {
			return nil, err
		}
	}
	for i := range p.sockets {
		fd, err := patiently(func() (int, error) { return netio.ListenTCP(p.bound, share) })
		if err == nil {
			p.sockets[i] = []*socket{newSocket(fd)}
			p.bound, err = localTCP(fd)
		}
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

// listenPatience is how long an address may be in use: the kernel lets go of the ring
// of a process that was killed, and of the listening sockets that it polls, in its own
// time, some 25 ms after the process has gone. A successor may be there by then.
const (
	listenPatience = 500 * time.Millisecond
	listenPause    = 5 * time.Millisecond
)

// patiently is listen, tried again while the address is in use.
func patiently(listen func() (fd int, err error)) (int, error) {
	for deadline := time.Now().Add(listenPatience); ; {
		fd, err := listen()
		if !errors.Is(err, netio.ErrInUse) || time.Now().After(deadline) {
			return fd, err
		}
		<-time.NewTimer(listenPause).C
	}
}

// inherit makes a place of sockets that listen already. Every one of them is taken
// from by a loop, or what waits in its queue would be lost. A loop that is left
// without gets one more where the sockets share their address, else it takes from
// the queue of another loop's. Those that are added listen only when their loop runs:
// from then on they get connections, which nobody else could take.
//
// The descriptors are the place's, and closed on an error.
func inherit(asked netip.AddrPort, from ListenSocket, loops int) (*place, error) {
	p := &place{asked: asked, bound: from.Addr, sockets: make([][]*socket, loops)}
	var all []*socket
	for i, fd := range from.FDs {
		s := newSocket(fd)
		s.handed = true
		all = append(all, s)
		p.sockets[i%loops] = append(p.sockets[i%loops], s)
	}
	share := true
	for _, s := range all {
		shared, err := netio.AdoptListener(s.fd)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		share = share && shared
	}
	for i := len(all); i < loops; i++ {
		var fd int
		err, alias := errors.ErrUnsupported, false
		if share {
			fd, err = netio.BindTCP(p.bound, true)
		}
		if err != nil { // or it is another user's, as systemd's are
			alias = true
			fd, err = netio.DupListener(all[i%len(all)].fd)
		}
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		s := newSocket(fd)
		s.alias, s.handed, s.dormant = alias, alias, !alias
		p.sockets[i] = []*socket{s}
	}
	return p, nil
}

// inheritance is the sockets that are there to be used.
type inheritance []ListenSocket

// newInheritance finds out where the sockets listen. On an error all are closed.
func newInheritance(sockets []ListenSocket) (inheritance, error) {
	var all inheritance
	for _, s := range sockets {
		for _, fd := range s.FDs {
			addr, err := localTCP(fd)
			if err != nil {
				return nil, errors.Join(err, inheritance(sockets).close())
			}
			all.add(addr, fd)
		}
	}
	return all, nil
}

// add puts the socket to the others of its address.
func (in *inheritance) add(addr netip.AddrPort, fd int) {
	for i := range *in {
		if (*in)[i].Addr == addr {
			(*in)[i].FDs = append((*in)[i].FDs, fd)
			return
		}
	}
	*in = append(*in, ListenSocket{Addr: addr, FDs: []int{fd}})
}

// take takes out the sockets for addr: those of that address, of the same port on
// all addresses, where that is asked for in whatever family, or, for port 0, of any
// port there. ok is false if there are none.
func (in *inheritance) take(addr netip.AddrPort) (s ListenSocket, ok bool) {
	everywhere := func(a netip.Addr) bool { return a.Unmap().IsUnspecified() }
	for _, fits := range []func(have netip.AddrPort) bool{
		func(have netip.AddrPort) bool { return sameAddr(have, addr) },
		func(have netip.AddrPort) bool {
			return have.Port() == addr.Port() && everywhere(have.Addr()) && everywhere(addr.Addr())
		},
		func(have netip.AddrPort) bool { return addr.Port() == 0 && have.Addr().Unmap() == addr.Addr().Unmap() },
	} {
		for i, s := range *in {
			if fits(s.Addr) {
				*in = append((*in)[:i:i], (*in)[i+1:]...)
				return s, true
			}
		}
	}
	return ListenSocket{}, false
}

func (in inheritance) close() (err error) {
	for _, s := range in {
		for _, fd := range s.FDs {
			err = errors.Join(err, netio.CloseListener(fd))
		}
	}
	return err
}

func localTCP(fd int) (netip.AddrPort, error) {
	addr, err := netio.LocalAddr(fd)
	return addr.IP(), err
}
