// Package netaddr says where a server is found: at an IP address and port, or at a
// unix socket of this machine.
//
// A unix socket is a file in the file system, or, with @ before its name, an abstract
// one, which has neither file nor permissions (unix(7)).
package netaddr

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CheckZone says in one line what is wrong with the zone of an IP address, or with its
// lack of one (RFC 4007); nil: nothing is. A link-local address is one of an interface,
// which is named, for its number changes. The zone is a part of a server's identity, and
// means something on this machine alone.
func CheckZone(ip netip.Addr) error {
	ip = ip.Unmap()
	local := ip.Is6() && ip.IsLinkLocalUnicast()
	switch zone := ip.Zone(); {
	case local && zone == "":
		return fmt.Errorf("%s is link-local, and each interface has a network of its own there: name it, such as %s%%eth0", ip, ip)
	case !local && zone != "":
		return fmt.Errorf("%s is the same on every interface: write %s", ip, ip.WithZone(""))
	case zone != "" && strings.Trim(zone, "0123456789") == "":
		return fmt.Errorf("%s numbers an interface, which has another number after a restart: name it, such as %s%%eth0", ip, ip.WithZone(""))
	}
	return nil
}

// InZone is an address with the name of the interface that has a number in the kernel; 0
// is none. An interface that has gone meanwhile is named by its number.
func InZone(ip netip.Addr, number uint32) netip.Addr {
	if number == 0 {
		return ip
	}
	dev, err := net.InterfaceByIndex(int(number))
	if err != nil {
		return ip.WithZone(strconv.FormatUint(uint64(number), 10))
	}
	return ip.WithZone(dev.Name)
}

// Prefix begins the text of every unix socket.
const Prefix = "unix:"

// MaxPath is the longest path of a unix socket in bytes: sun_path has room for 108
// with the NUL that ends it (unix(7)). An abstract name has the @ counted in it.
const MaxPath = 107

// Addr is an IP address with a port, or a unix socket. Two are == when they are the same;
// the zero Addr is none.
type Addr struct {
	ip   netip.AddrPort
	unix string // not "": the path, or @ and the abstract name
}

// Of is an address of TCP. An IPv4 address that is mapped to IPv6 is IPv4.
func Of(ip netip.AddrPort) Addr {
	return Addr{ip: netip.AddrPortFrom(ip.Addr().Unmap(), ip.Port())}
}

// Unix is the unix socket of a path, or of @ and an abstract name, which CheckPath takes.
func Unix(path string) Addr { return Addr{unix: path} }

// IsValid says whether there is an address.
func (a Addr) IsValid() bool { return a.unix != "" || a.ip.IsValid() }

// IsUnix says whether it is a unix socket.
func (a Addr) IsUnix() bool { return a.unix != "" }

// IP is the address of TCP; not valid of a unix socket.
func (a Addr) IP() netip.AddrPort { return a.ip }

// Path is that of a unix socket, or @ and its abstract name; "" for TCP.
func (a Addr) Path() string { return a.unix }

// Network is the name of the address's network, as package net has it: tcp or unix.
func (a Addr) Network() string {
	if a.unix != "" {
		return "unix"
	}
	return "tcp"
}

// Dial is the address as package net dials it, beside Network.
func (a Addr) Dial() string {
	if a.unix != "" {
		return a.unix
	}
	return a.ip.String()
}

// String is IP:PORT, or unix: and the path.
func (a Addr) String() string {
	if a.unix != "" {
		return Prefix + a.unix
	}
	return a.ip.String()
}

// Compare orders addresses: those of TCP first, as netip.AddrPort does.
func (a Addr) Compare(b Addr) int {
	if a.unix != b.unix {
		return strings.Compare(a.unix, b.unix)
	}
	return a.ip.Compare(b.ip)
}

// MarshalText is String; nothing for the zero Addr.
func (a Addr) MarshalText() ([]byte, error) {
	if !a.IsValid() {
		return []byte{}, nil
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads what MarshalText has written.
func (a *Addr) UnmarshalText(text []byte) (err error) {
	*a = Addr{}
	if len(text) > 0 {
		*a, err = Parse(string(text))
	}
	return err
}

// Parse reads what String has written.
func Parse(text string) (Addr, error) {
	if file, ok := strings.CutPrefix(text, Prefix); ok {
		return Unix(file), CheckPath(file)
	}
	ip, err := netip.ParseAddrPort(text)
	if err != nil {
		return Addr{}, fmt.Errorf("netaddr: %q is neither IP:PORT nor %sPATH", text, Prefix)
	}
	return Of(ip), nil
}

// MustParse is Parse of what is known to be right; it panics on anything else.
func MustParse(text string) Addr {
	a, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return a
}

// CheckPath says in one line what is wrong with the path of a unix socket, or with @ and an
// abstract name; nil: nothing is. A path is absolute and written in one way only, for it is
// a part of a server's identity.
func CheckPath(file string) error {
	name, abstract := strings.CutPrefix(file, "@")
	switch {
	case name == "":
		return errors.New("has no path: write it such as unix:/run/app.sock")
	case len(file) > MaxPath:
		return fmt.Errorf("is of %d bytes, and the path of a unix socket has %d at most: give a shorter one", len(file), MaxPath)
	case !utf8.ValidString(file) || strings.ContainsFunc(file, func(c rune) bool { return c <= ' ' || c == 0x7f || c == ',' }):
		return errors.New("has a blank, a comma or a character that is no text: give another path")
	case abstract:
		return nil
	case file[0] != '/':
		return fmt.Errorf("is relative: give the whole path, such as unix:/run/%s", path.Base(file))
	case file == "/":
		return errors.New("is a directory: write it such as unix:/run/app.sock")
	case path.Clean(file) != file:
		return fmt.Errorf("is not written plainly: write unix:%s", path.Clean(file))
	}
	return nil
}
