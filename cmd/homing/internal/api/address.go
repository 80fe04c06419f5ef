package api

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is where an admin server listens, or is found: a TCP address or a unix socket.
type Address struct {
	Network string // tcp or unix
	Addr    string // host:port, or the path of the socket
	TLS     bool   // given as https://
}

// ParseAddress reads HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:/PATH. An empty host, allowed for listeners,
// is all addresses of this machine.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return Address{}, errors.New("the socket has no absolute path: write it such as unix:/run/homing/admin.sock")
		}
		if len(path) > maxSocketPath {
			return Address{}, fmt.Errorf("the path of the socket is longer than %d bytes: choose a shorter one", maxSocketPath)
		}
		return Address{Network: "unix", Addr: path}, nil
	}
	a := Address{Network: "tcp", Addr: strings.TrimSuffix(strings.TrimPrefix(s, "http://"), "/")}
	if rest, ok := strings.CutPrefix(s, "https://"); ok {
		a.Addr, a.TLS = strings.TrimSuffix(rest, "/"), true
	}
	host, port, err := net.SplitHostPort(a.Addr)
	if err != nil || strings.ContainsAny(host, "/@ ") {
		return Address{}, errors.New("not an address with a port: write it such as 127.0.0.1:9090 or unix:/run/homing/admin.sock")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return Address{}, fmt.Errorf("the port %q is not a number from 0 to 65535", port)
	}
	return a, nil
}

// maxSocketPath is what the kernel takes, unix(7), without the zero byte at the end.
const maxSocketPath = 107

func (a Address) String() string {
	switch {
	case a.Network == "unix":
		return "unix:" + a.Addr
	case a.TLS:
		return "https://" + a.Addr
	}
	return a.Addr
}

// Local reports whether only this machine's own users can reach the address.
func (a Address) Local() bool {
	if a.Network == "unix" {
		return true
	}
	host, _, _ := net.SplitHostPort(a.Addr)
	return LocalHost(host)
}

// LocalHost reports whether a host is this machine by its name: localhost, or a loopback address.
func LocalHost(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}
