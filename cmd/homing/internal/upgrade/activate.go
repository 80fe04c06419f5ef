//go:build linux

package upgrade

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"homing/balancer"
	"homing/balancer/netaddr"
)

// listenerName is that of the balancer's sockets in a parcel.
const listenerName = "listener"

// foreignName is that of its unix sockets whose files are systemd's to remove.
const foreignName = "listener of systemd"

// socket is one that systemd has bound (sd_listen_fds(3)).
type socket struct {
	name   string // of the unit, or FileDescriptorName=
	fd     int
	packet bool         // UDP
	addr   netaddr.Addr // invalid: not of TCP, UDP, or unix with a name
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
		s.addr = netaddr.Of(netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)))
	case *unix.SockaddrInet6:
		s.addr = netaddr.Of(netip.AddrPortFrom(netaddr.InZone(netip.AddrFrom16(a.Addr), a.ZoneId), uint16(a.Port)))
	case *unix.SockaddrUnix:
		if a.Name != "" {
			s.addr = netaddr.Unix(a.Name)
		}
	default:
		return s, fmt.Errorf("neither of TCP, UDP nor of unix")
	}
	return s, nil
}

// at says that the socket serves an address: the same one, or both are all addresses of the machine.
func (s *socket) at(want netaddr.Addr) bool {
	have := s.addr.IP()
	return s.addr == want ||
		have.IsValid() && have.Port() == want.IP().Port() && have.Addr().IsUnspecified() &&
			want.IP().Addr().IsUnspecified()
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

// Sockets takes the listening sockets for the balancer, which finds out where they belong: all of the elder's, and
// those of systemd that are bound to one of these addresses, as balancer.ParseListenAddr reads them. They are the
// caller's own.
func (e *Estate) Sockets(addresses []string) []balancer.ExportedSocket {
	ours := balancer.ExportedSocket{FDs: e.Take(listenerName)}
	foreign := balancer.ExportedSocket{FDs: e.Take(foreignName), Foreign: true}
	for _, text := range addresses {
		if addr, err := balancer.ParseListenAddr(text); err == nil {
			foreign.FDs = append(foreign.FDs, e.take(func(s *socket) bool { return !s.packet && s.at(addr) })...)
		}
	}
	return []balancer.ExportedSocket{ours, foreign}
}

// AddListeners puts the balancer's listening sockets in, which are the parcel's own from now on.
func (p *Parcel) AddListeners(sockets []balancer.ExportedSocket) {
	for _, s := range sockets {
		name := listenerName
		if s.Foreign && s.Addr.IsUnix() { // else an heir of before would not know the name
			name = foreignName
		}
		for _, fd := range s.FDs {
			p.Add(name, fd)
		}
	}
}

// File takes the listening socket that the elder used under that name, else one of systemd, if it is bound to that
// address: HOST:PORT of tcp or udp, or a path of unix. It is nil where there is none;
// others under the name are closed.
func (e *Estate) File(name, network, address string) *os.File {
	want, err := netaddr.Unix(address), error(nil)
	if network != "unix" {
		want, err = balancer.ParseListenAddr(address)
	}
	fits := func(s *socket) bool {
		return err == nil && s.packet == (network == "udp") && s.at(want)
	}
	files := e.Take(name)
	files = slices.DeleteFunc(files, func(fd int) bool {
		s, err := inspect(name, fd)
		// Port 0 is any, so the one that the elder got.
		if err == nil && want.IP().IsValid() && want.IP().Port() == 0 && s.addr.IP().IsValid() {
			s.addr = netaddr.Of(netip.AddrPortFrom(s.addr.IP().Addr(), 0))
		}
		if err == nil && fits(&s) {
			return false
		}
		closeAll([]int{fd})
		return true
	})
	files = append(files, e.take(fits)...)
	if len(files) == 0 {
		return nil
	}
	closeAll(files[1:])
	return os.NewFile(uintptr(files[0]), name)
}

// Listener is File as a listener of tcp; nil where there is none.
func (e *Estate) Listener(name, address string) *net.TCPListener {
	l, _ := opened(e.File(name, "tcp", address), net.FileListener).(*net.TCPListener)
	return l
}

// PacketConn is File as a socket of udp; nil where there is none.
func (e *Estate) PacketConn(name, address string) *net.UDPConn {
	c, _ := opened(e.File(name, "udp", address), net.FilePacketConn).(*net.UDPConn)
	return c
}

// opened makes something of a file, which it closes; nil where there is none.
func opened[T any](file *os.File, open func(*os.File) (T, error)) any {
	if file == nil {
		return nil
	}
	defer file.Close()
	made, err := open(file)
	if err != nil {
		return nil // the file is such a socket: no error is known
	}
	return made
}

// Unused names the sockets that nobody took, for a line in the log, when all has been taken.
func (e *Estate) Unused() (names []string) {
	for _, f := range e.files {
		names = append(names, f.name)
	}
	for _, s := range e.sockets {
		names = append(names, fmt.Sprintf("%s of systemd (%s)", s.name, s.addr))
	}
	return names
}
