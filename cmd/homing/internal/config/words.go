//go:build linux

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"homing/balancer"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/value"
)

// mode is the permission bits of a file, in octal.
type mode struct{ P *uint32 }

func (v mode) String() string { return strconv.FormatUint(uint64(*v.P), 8) }

// Type implements value.Value.
func (v mode) Type() string { return "MODE" }

// Set implements value.Value.
func (v mode) Set(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return errors.New("not the permissions of a file: write them in octal, such as 660 or 666")
	}
	*v.P = uint32(n)
	return nil
}

// maxName is as long as a name of a pool can be that agents announce.
const maxName = 64

// checkName checks the name of a listener or pool.
func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("empty: give a name")
	case len(s) > maxName:
		return fmt.Errorf("longer than %d bytes", maxName)
	case strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "":
		return errors.New("give letters, digits, dots, hyphens and underscores only")
	}
	return nil
}

// parseListen checks an address to accept on. Names are refused: a listener that moves when a name does would be a
// surprise.
func parseListen(s string) (string, error) {
	_, err := balancer.ParseListenAddr(s)
	if strings.HasPrefix(s, netaddr.Prefix) {
		return s, err
	}
	if host, _, split := net.SplitHostPort(s); err != nil && split == nil && host != "" {
		if _, bad := netip.ParseAddr(host); bad != nil {
			return s, fmt.Errorf("%w: give one of this machine, or leave the host out", err)
		}
	}
	return s, err
}

func checkListen(s string) error {
	_, err := parseListen(s)
	return err
}

// parseBackend reads ADDR[,weight=N][,max-conns=N]. Whether a name resolves is the pool's to find out.
func parseBackend(s string) (pool.Spec, error) {
	fields := strings.Split(s, ",")
	spec := pool.Spec{Addr: fields[0], Weight: 1}
	if err := checkBackend(spec.Addr); err != nil {
		return spec, err
	}
	for _, field := range fields[1:] {
		key, text, _ := strings.Cut(field, "=")
		known := false
		for _, row := range shareRows(&spec) {
			if row.Flag == key {
				known = true
				if err := row.Value.Set(text); err != nil {
					return spec, fmt.Errorf("%s is %w", key, err)
				}
			}
		}
		if !known {
			return spec, fmt.Errorf("%q is not known: a backend takes weight=N and max-conns=N", field)
		}
	}
	return spec, nil
}

// printBackend writes what parseBackend reads.
func printBackend(spec pool.Spec) string {
	parts := []string{spec.Addr}
	for _, row := range shareRows(&spec) {
		if s := row.Value.String(); s != "" {
			parts = append(parts, row.Flag+"="+s)
		}
	}
	return strings.Join(parts, ",")
}

func checkBackend(addr string) error {
	const likeThis = "write it such as 192.0.2.7:443, [2001:db8::7]:443 or name:443"
	if path, ok := strings.CutPrefix(addr, netaddr.Prefix); ok {
		return netaddr.CheckPath(path)
	}
	if scheme, _, url := strings.Cut(addr, "://"); url {
		return fmt.Errorf("an address has no %s:// and no path: %s", scheme, likeThis)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return errors.New("not an address with a port: " + likeThis)
	}
	return value.CheckPort(port, 1)
}

func parseSource(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return addr, errors.New("not an address of a machine: write it such as 192.0.2.2 or 2001:db8::2")
	}
	return addr.Unmap(), netaddr.CheckZone(addr)
}

// DiscoverSource is one word of discover_from: a network, or none at all.
type DiscoverSource struct {
	Network netip.Prefix
	None    bool
}

func (d DiscoverSource) String() string {
	if d.None {
		return "none"
	}
	return d.Network.String()
}

func parseDiscoverSource(s string) (DiscoverSource, error) {
	if s == "none" {
		return DiscoverSource{None: true}, nil
	}
	network, err := parseNetwork(s)
	if err != nil {
		return DiscoverSource{}, fmt.Errorf("%w, or none", err)
	}
	return DiscoverSource{Network: network}, nil
}

// clients is networks, or unix: for who comes by a unix socket, which is the zero Prefix.
func clients(p *[]netip.Prefix) value.Several[netip.Prefix] {
	parse := func(s string) (netip.Prefix, error) {
		if s == netaddr.Prefix {
			return netip.Prefix{}, nil
		}
		network, err := parseNetwork(s)
		if err != nil {
			return network, fmt.Errorf("%w, or unix: for unix sockets", err)
		}
		return network, nil
	}
	return value.Several[netip.Prefix]{P: p, Kind: "CIDR", Parse: parse, Print: func(p netip.Prefix) string {
		if p == (netip.Prefix{}) {
			return netaddr.Prefix
		}
		return p.String()
	}}
}

func parseNetwork(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return prefix, errors.New("not a network: write it such as 192.0.2.0/24 or 2001:db8::/64")
	}
	if whole := prefix.Masked(); whole != prefix {
		one := netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen())
		return prefix, fmt.Errorf("an address inside %s: write %s for all of them, or %s for one", whole, whole, one)
	}
	return prefix, nil
}

// parseRouteName reads www.example.org or *.example.org.
func parseRouteName(text string) (string, error) {
	if text == "*" {
		return "", errors.New("for any name leave names out of the route")
	}
	rest, wild := strings.CutPrefix(text, "*.")
	name, err := value.ParseServerName(rest)
	switch {
	case err != nil && strings.Contains(rest, "*"):
		return "", errors.New("a star stands for the first labels only: write it such as *.example.org")
	case err != nil && strings.IndexFunc(rest, func(c rune) bool { return c > 0x7f }) >= 0:
		return "", errors.New("TLS carries such names in ASCII: write it as xn--... (idn)")
	case err != nil:
		return "", err
	case wild:
		name = "*." + name
	}
	if _, err := balancer.CheckRouteName(name); err != nil {
		return "", errors.New("not a host name that can be sent: give one such as www.example.org")
	}
	return name, nil
}
