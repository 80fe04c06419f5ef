//go:build linux

package upgrade

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"homing/balancer"
)

// The names under which an elder hands over, and the glue between the parts looks for it.
const (
	listenerName = "listener " // and its address
)

// socket is one that systemd has bound (sd_listen_fds(3)).
type socket struct {
	name   string // of the unit, or FileDescriptorName=
	fd     int
	packet bool           // UDP
	addr   netip.AddrPort // invalid: not of TCP or UDP
	path   string         // of a unix socket
}

// activated is what systemd gives to this process. One that is of no use to a server is an error that names it.
func activated() (sockets []socket, err error) {
	for _, f := range activation.Files(true) {
		fd, err := duplicate(f)
		name := f.Name()
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return sockets, fmt.Errorf("socket %q of systemd: %w", name, err)
		}
		s, err := inspect(name, fd)
		if err != nil {
			return sockets, fmt.Errorf("socket %q of systemd: %w", name, err)
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// inspect finds out what a descriptor is.
func inspect(name string, fd int) (s socket, err error) {
	s = socket{name: name, fd: fd}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return s, fmt.Errorf("not a socket: %w", err)
	}
	style, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return s, err
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return s, err
	}
	s.packet = style == unix.SOCK_DGRAM
	if !s.packet && listens == 0 {
		return s, fmt.Errorf("it does not listen: Accept=no is needed in the socket unit")
	}
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		s.addr = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		s.addr = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	case *unix.SockaddrUnix:
		s.path = a.Name
	default:
		return s, fmt.Errorf("neither of TCP, UDP nor of unix")
	}
	return s, nil
}

// at says that the socket serves an address: the same one, or both are all addresses of the machine.
func (s *socket) at(want netip.AddrPort) bool {
	if !s.addr.IsValid() || s.addr.Port() != want.Port() {
		return false
	}
	have, wanted := s.addr.Addr().Unmap(), want.Addr().Unmap()
	return have == wanted || have.IsUnspecified() && wanted.IsUnspecified()
}

// take takes out the sockets that fit.
func (e *Estate) take(fits func(*socket) bool) (files []int) {
	e.sockets = slices.DeleteFunc(e.sockets, func(s socket) bool {
		if fits(&s) {
			files = append(files, s.fd)
			return true
		}
		return false
	})
	return files
}

// Listening is a listener as the configuration has it.
type Listening struct {
	Name string
	Addr string // as balancer.ParseListenAddr reads it
}

// Bound is the descriptors of the sockets that are bound to one address.
type Bound struct {
	Addr netip.AddrPort
	FDs  []int
}

// Sockets takes the listening sockets for the listeners of the balancer: those of the elder at their address, then those
// of systemd with their name (FileDescriptorName=), then those of systemd at their address. They are the caller's own.
func (e *Estate) Sockets(listeners []Listening) (all []Bound) {
	for _, l := range listeners {
		addr, err := balancer.ParseListenAddr(l.Addr)
		if err != nil {
			continue // the balancer says what is wrong with it
		}
		files := e.Take(listenerName + addr.String())
		files = append(files, e.take(func(s *socket) bool { return !s.packet && s.addr.IsValid() && s.name == l.Name })...)
		files = append(files, e.take(func(s *socket) bool { return !s.packet && s.at(addr) })...)
		if len(files) > 0 {
			all = append(all, Bound{addr, files})
		}
	}
	return all
}

// AddListeners puts the balancer's listening sockets in, which are the parcel's own from now on.
func (p *Parcel) AddListeners(sockets []Bound) {
	for _, s := range sockets {
		for _, fd := range s.FDs {
			p.Add(listenerName+s.Addr.String(), fd)
		}
	}
}

// Listener takes the listening socket that the elder used under that name, else one of systemd, if it is bound to that
// address: HOST:PORT of tcp, or a path of unix. It is nil where there is none.
func (e *Estate) Listener(name, network, address string) net.Listener {
	for _, fd := range e.socketsAt(name, network, address) {
		file := os.NewFile(uintptr(fd), name)
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			continue
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the path is not its own: another process has it too
		}
		return l
	}
	return nil
}

// PacketConn is Listener for a socket of udp.
func (e *Estate) PacketConn(name, address string) net.PacketConn {
	for _, fd := range e.socketsAt(name, "udp", address) {
		file := os.NewFile(uintptr(fd), name)
		c, err := net.FilePacketConn(file)
		file.Close()
		if err == nil {
			return c
		}
	}
	return nil
}

// socketsAt takes the sockets that are bound to an address, at most one; others under the name are closed.
func (e *Estate) socketsAt(name, network, address string) []int {
	want, err := balancer.ParseListenAddr(address)
	fits := func(s *socket) bool {
		if network == "unix" {
			return s.path != "" && s.path == address
		}
		return err == nil && s.packet == (network == "udp") && s.at(want)
	}
	files := e.Take(name)
	files = slices.DeleteFunc(files, func(fd int) bool {
		s, err := inspect(name, fd)
		if err == nil && fits(&s) {
			return false
		}
		closeAll([]int{fd})
		return true
	})
	files = append(files, e.take(fits)...)
	if len(files) > 1 {
		closeAll(files[1:])
		files = files[:1]
	}
	return files
}

// Unused names the sockets that nobody took, for a line in the log, when all has been taken.
func (e *Estate) Unused() (names []string) {
	for _, f := range e.files {
		names = append(names, f.name)
	}
	for _, s := range e.sockets {
		names = append(names, fmt.Sprintf("%s of systemd (%s)", s.name, cmp.Or(s.path, s.addr.String())))
	}
	return names
}
