//go:build linux

package netio

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"homing/balancer/netaddr"
)

// backlog asks for the longest queue; the kernel cuts it to net.core.somaxconn.
const backlog = 65535

// ListenTCP opens a listening socket on addr. An IPv6 wildcard address takes IPv4 connections too (dual stack).
//
// An accepted socket inherits all options of its listener, which saves the calls: TCP_NODELAY, and TCP_QUICKACK
// switched off, which makes the ACK of the hello ride on the answer. SO_KEEPALIVE with its times and TCP_USER_TIMEOUT
// would be inherited too, but arm a timer for every connection, however short: see Persist.
//
// With share set, several sockets may listen on addr and the kernel spreads connections over them, if all of them
// share: other processes of this user may join too. EADDRINUSE tells of a socket that does not share.
func ListenTCP(addr netip.AddrPort, share bool) (fd int, err error) {
	if fd, err = BindTCP(addr, share); err != nil {
		return -1, err
	}
	if err := StartListener(fd); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// BindTCP is ListenTCP up to the listening: the kernel gives the socket no connections until StartListener.
func BindTCP(addr netip.AddrPort, share bool) (fd int, err error) {
	family := unix.AF_INET
	if addr.Addr().Is6() && !addr.Addr().Is4In6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
			fd = -1
		}
	}()
	options := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, // conns in TIME_WAIT must not stop a restart
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	}
	if share {
		options = append(options, struct{ level, name, value int }{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	if family == unix.AF_INET6 {
		options = append(options, struct{ level, name, value int }{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fd, fmt.Errorf("setsockopt %d/%d: %w", o.level, o.name, err)
		}
	}
	if zone := addr.Addr().Zone(); zone != "" && scope(zone) == 0 {
		return fd, fmt.Errorf("bind: this machine has no interface %s now", zone)
	}
	if errno := sysBind(int32(fd), addr); errno != 0 {
		return fd, fmt.Errorf("bind: %w", errno)
	}
	return fd, nil
}

// StartListener lets connections into the queue of a socket, which may listen already: then it sets the length of the
// queue, and what waits stays.
func StartListener(fd int) error {
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// Not earlier: listen(2) resets it (inet_csk_listen_start in the kernel). A unix socket has no such option.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0); err != nil && err != unix.EOPNOTSUPP {
		return fmt.Errorf("setsockopt TCP_QUICKACK: %w", err)
	}
	return nil
}

// ImportListener makes a listening socket of another process, or of systemd, one as ListenTCP or ListenUnix returns it;
// the descriptor stays the same. Shared says that further sockets may be bound to its address.
func ImportListener(fd int) (shared bool, err error) {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return false, fmt.Errorf("descriptor %d is no socket: %w", fd, err)
	}
	ofUnix := isUnixStream(fd)
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP && !ofUnix || listening == 0 {
		return false, fmt.Errorf("descriptor %d is no listening socket of TCP or unix", fd)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return false, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if ofUnix {
		return false, StartListener(fd)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return false, fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
	}
	if err := StartListener(fd); err != nil {
		return false, err
	}
	share, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	return share != 0 && err == nil, nil
}

// isUnixStream says whether fd is a unix socket of a stream.
func isUnixStream(fd int) bool {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	style, wrong := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil && wrong == nil && domain == unix.AF_UNIX && style == unix.SOCK_STREAM
}

// DupListener returns a second descriptor of the same socket, with the same queue.
func DupListener(fd int) (int, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("fcntl F_DUPFD_CLOEXEC: %w", err)
	}
	return dup, nil
}

// Queued reports whether a connection waits in the queue of a listening socket.
func Queued(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 0)
		if err != unix.EINTR {
			return n == 1 && poll[0].Revents&unix.POLLIN != 0
		}
	}
}

// ShutQueue lets no more into the queue of a listening socket than is in it, as far as the kernel can tell: one more
// gets in when it is empty. Clients try again. It works on all descriptors of the socket, in whatever process they are.
func ShutQueue(fd int) {
	_ = unix.Listen(fd, 0) // on a socket that listens it only sets the length
}

// LocalAddr is the address that fd is bound to.
func LocalAddr(fd int) (netaddr.Addr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netaddr.Addr{}, fmt.Errorf("getsockname: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netaddr.Of(netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))), nil
	case *unix.SockaddrInet6:
		addr := netaddr.InZone(netip.AddrFrom16(sa.Addr), sa.ZoneId)
		return netaddr.Of(netip.AddrPortFrom(addr, uint16(sa.Port))), nil
	case *unix.SockaddrUnix:
		if sa.Name != "" {
			return netaddr.Unix(sa.Name), nil
		}
		return netaddr.Addr{}, errors.New("getsockname: a unix socket without a name")
	}
	return netaddr.Addr{}, fmt.Errorf("getsockname: address family of %T", sa)
}

// CloseListener closes a descriptor that ListenTCP returned.
func CloseListener(fd int) error { return unix.Close(fd) }
