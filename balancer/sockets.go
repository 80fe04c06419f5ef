//go:build linux

package balancer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"homing/balancer/internal/netio"
	"homing/balancer/netaddr"
)

// ExportedSocket is sockets that listen on one address: those of a process for another one.
//
// Several sockets on one address share its connections (SO_REUSEPORT): each has a queue of its own, so none of them may
// be left out.
type ExportedSocket struct {
	Addr netaddr.Addr // that they are bound to; invalid: as the sockets say
	FDs  []int

	// Foreign says that the file of a unix socket is another's, such as systemd's, who removes it.
	Foreign bool
}

// ListenError says why an address could not be listened on.
type ListenError struct {
	Addr string
	Err  error
}

func (e *ListenError) Error() string { return fmt.Sprintf("cannot listen on %s: %v", e.Addr, e.Err) }

// Unwrap returns the system's error, a netio.Errno, which is syscall.Errno, in most cases.
func (e *ListenError) Unwrap() error { return e.Err }

// socket is one listening descriptor. Its loop takes connections from it and closes it; whoever else wants one
// duplicates it.
type socket struct {
	// Static after construction.
	alias  bool          // a second descriptor of another loop's socket
	shared bool          // it has aliases, or is one
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

// newAlias is a second descriptor of s, which no loop has yet, for another loop.
func (s *socket) newAlias() (*socket, error) {
	fd, err := netio.DupListener(s.fd)
	if err != nil {
		return nil, err
	}
	other := newSocket(fd)
	other.alias, other.handed = true, true
	s.shared, other.shared = true, true
	return other, nil
}

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

// endpoint is an address that is listened on, with its sockets by loop. A loop may have several. It is never changed
// once it is made.
type endpoint struct {
	asked   netaddr.Addr // as configured: its port may be 0
	bound   netaddr.Addr
	foreign bool                             // the file, if it has one, is another's
	made    bool                             // the socket was made here, and has not come from another process
	file    atomic.Pointer[netio.SocketFile] // to be removed when it listens no more; nil: none, or another's
	sockets [][]*socket
}

// removeFile removes the file of a unix socket, so that nobody connects to it any more.
func (p *endpoint) removeFile(to *slog.Logger) {
	if file := p.file.Swap(nil); file != nil {
		if err := file.Remove(); err != nil {
			to.Warn("the file of a unix socket stays behind", "addr", p.bound.String(), "error", err)
		}
	}
}

// takes says whether the endpoint serves a listener at addr.
func (p *endpoint) takes(addr netaddr.Addr) bool { return p.asked == addr || p.bound == addr }

// close closes an endpoint that nobody has taken from. What came from another process is that one's still.
func (p *endpoint) close() (err error) {
	if file := p.file.Swap(nil); file != nil && p.made {
		err = file.Remove()
	}
	for _, sockets := range p.sockets {
		for _, s := range sockets {
			err = errors.Join(err, s.close())
		}
	}
	return err
}

// bind opens the sockets of a new endpoint: one a loop, among which the kernel spreads connections (SO_REUSEPORT).
func bind(addr netaddr.Addr, mode uint32, loops int) (*endpoint, error) {
	p := &endpoint{asked: addr, bound: addr, made: true, sockets: make([][]*socket, loops)}
	if addr.IsUnix() {
		return p, p.bindUnix(mode)
	}
	share := loops > 1
	if share {
		// A shared address would be shared with another homing too, so an exclusive socket asks first whether somebody
		// is there.
		fd, err := patiently(func() (int, error) { return netio.ListenTCP(addr.IP(), false) })
		if err != nil {
			return nil, err
		}
		p.bound, err = netio.LocalAddr(fd) // port 0: the same for every loop
		if err := errors.Join(err, netio.CloseListener(fd)); err != nil {
			return nil, err
		}
	}
	for i := range p.sockets {
		fd, err := patiently(func() (int, error) { return netio.ListenTCP(p.bound.IP(), share) })
		if err == nil {
			p.sockets[i] = []*socket{newSocket(fd)}
			p.bound, err = netio.LocalAddr(fd)
		}
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

// bindUnix makes one socket, from whose queue all loops take.
func (p *endpoint) bindUnix(mode uint32) error {
	var file netio.SocketFile
	fd, err := patiently(func() (fd int, err error) {
		fd, file, err = netio.ListenUnix(p.bound.Path(), mode)
		return fd, err
	})
	if err != nil {
		return err
	}
	p.file.Store(&file)
	first := newSocket(fd)
	for i := range p.sockets {
		s := first
		if i > 0 {
			if s, err = first.newAlias(); err != nil {
				return errors.Join(err, p.close())
			}
		}
		p.sockets[i] = []*socket{s}
	}
	return nil
}

// listenPatience is how long an address may be in use: the kernel lets go of the ring of a process that was killed, and
// of the listening sockets that it polls, in its own time, some 25 ms after the process has gone. A successor may be
// there by then.
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
		time.Sleep(listenPause) //nolint:forbidigo // no loop waits for it
	}
}

// importEndpoint makes an endpoint of sockets that listen already. Every one of them is taken from by a loop, or what waits in
// its queue would be lost. A loop that is left without gets one more where the sockets share their address, else it
// takes from the queue of another loop's. Those that are added listen only when their loop runs: from then on they get
// connections, which nobody else could take.
//
// The descriptors are the endpoint's, and closed on an error.
func importEndpoint(asked netaddr.Addr, from ExportedSocket, loops int) (*endpoint, error) {
	p := &endpoint{asked: asked, bound: from.Addr, foreign: from.Foreign, sockets: make([][]*socket, loops)}
	if from.Addr.IsUnix() && !from.Foreign {
		if file, err := netio.FileOf(from.Addr.Path()); err == nil { // else somebody has removed it
			p.file.Store(&file)
		}
	}
	var all []*socket
	for i, fd := range from.FDs {
		s := newSocket(fd)
		s.handed = true
		all = append(all, s)
		p.sockets[i%loops] = append(p.sockets[i%loops], s)
	}
	share := true
	for _, s := range all {
		shared, err := netio.ImportListener(s.fd)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		share = share && shared
	}
	for i := len(all); i < loops; i++ {
		if share {
			if fd, err := netio.BindTCP(p.bound.IP(), true); err == nil { // else it is another user's, as systemd's are
				s := newSocket(fd)
				s.dormant = true
				p.sockets[i] = []*socket{s}
				continue
			}
		}
		s, err := all[i%len(all)].newAlias()
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.sockets[i] = []*socket{s}
	}
	return p, nil
}

// imported is the sockets that are there to be used.
type imported []ExportedSocket

// newImported finds out where the sockets listen. On an error all are closed.
func newImported(sockets []ExportedSocket) (imported, error) {
	var all imported
	for _, s := range sockets {
		for _, fd := range s.FDs {
			addr, err := netio.LocalAddr(fd)
			if err != nil {
				return nil, errors.Join(err, imported(sockets).close())
			}
			all.add(ExportedSocket{Addr: addr, FDs: []int{fd}, Foreign: s.Foreign})
		}
	}
	return all, nil
}

// add puts the socket to the others of its address.
func (in *imported) add(one ExportedSocket) {
	for i := range *in {
		if (*in)[i].Addr == one.Addr {
			(*in)[i].FDs = append((*in)[i].FDs, one.FDs...)
			return
		}
	}
	*in = append(*in, one)
}

// take takes out the sockets for addr: those of that address, of the same port on all addresses, where that is asked
// for in whatever family, or, for port 0, of any port there. ok is false if there are none.
func (in *imported) take(addr netaddr.Addr) (s ExportedSocket, ok bool) {
	ip := addr.IP()
	for _, fits := range []func(have netaddr.Addr) bool{
		func(have netaddr.Addr) bool { return have == addr },
		func(have netaddr.Addr) bool {
			return have.IP().Port() == ip.Port() && have.IP().Addr().IsUnspecified() && ip.Addr().IsUnspecified()
		},
		func(have netaddr.Addr) bool {
			return ip.IsValid() && ip.Port() == 0 && have.IP().Addr() == ip.Addr()
		},
	} {
		for i, s := range *in {
			if fits(s.Addr) {
				*in = append((*in)[:i:i], (*in)[i+1:]...)
				return s, true
			}
		}
	}
	return ExportedSocket{}, false
}

func (in imported) close() (err error) {
	for _, s := range in {
		for _, fd := range s.FDs {
			err = errors.Join(err, netio.CloseListener(fd))
		}
	}
	return err
}
