//go:build linux

package sock

import (
	"errors"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Again says that the kernel has nothing to read, or no room to write, right now.
const Again = unix.EAGAIN

// Reasons why a conn fails, to compare with by errors.Is.
const (
	Refused       = unix.ECONNREFUSED
	Reset         = unix.ECONNRESET
	BrokenPipe    = unix.EPIPE
	TimedOut      = unix.ETIMEDOUT
	NoPorts       = unix.EADDRNOTAVAIL // of the source address, or the address is not this machine's
	NoDescriptors = unix.EMFILE
	TableFull     = unix.ENFILE
	NoRoute       = unix.ENETUNREACH
	NoHost        = unix.EHOSTUNREACH
)

// Options of a conn.
type Options struct {
	// Source is the local address, its port the kernel's choice; the zero value leaves both to the kernel.
	Source netip.Addr
	// ReceiveBuffer is SO_RCVBUF in bytes, for readers whose slowness the sender shall feel; 0 is the kernel's default.
	ReceiveBuffer int
}

// Connect begins a conn to dst and returns its descriptor. The conn is up, or has failed, when the descriptor is
// writable: Connected tells.
func Connect(dst netip.AddrPort, o Options) (fd int, err error) {
	family := unix.AF_INET
	if dst.Addr().Is6() && !dst.Addr().Is4In6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	if err = prepare(fd, o); err == nil {
		err = unix.Connect(fd, address(dst))
	}
	if err != nil && err != unix.EINPROGRESS {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func prepare(fd int, o Options) error {
	// What is written here is whole flights and requests: there is nothing to wait for.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if o.ReceiveBuffer > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReceiveBuffer); err != nil {
			return err
		}
	}
	if !o.Source.IsValid() {
		return nil
	}
	// Else bind takes a port for good, and 28,000 conns later there is none, however many addresses they go to.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, address(netip.AddrPortFrom(o.Source, 0)))
}

func address(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// Connected returns why a conn that is writable for the first time failed, nil if it is up.
func Connected(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// Read reads into b, which is not empty. io.EOF is the end of the stream, Again that nothing is there.
func Read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write writes as much of b as there is room for; Again is no room at all.
func Write(fd int, b []byte) (int, error) {
	for {
		n, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), err
	}
}

// Close closes the conn; the kernel sends what was written.
func Close(fd int) {
	_ = unix.Close(fd) // a socket's close has nothing to say that matters here
}

// DescriptorLimit is how many descriptors this process may have open.
func DescriptorLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	return int(min(limit.Cur, 1<<30)), nil
}
