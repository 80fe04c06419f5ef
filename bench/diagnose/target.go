package diagnose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// defaultPort is taken where a target names none.
const defaultPort = "443"

// Target is one HOST:PORT to be examined.
type Target struct {
	// Text is how it was written, Host a name or an IP address.
	Text, Host string
	Port       uint16
}

// ParseTarget reads HOST:PORT; without a port it is 443. An IPv6 address with a port is in brackets.
func ParseTarget(s string) (Target, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), defaultPort
		if _, isAddr := netip.ParseAddr(host); strings.Contains(host, ":") && isAddr != nil {
			return Target{}, fmt.Errorf("%q is not HOST:PORT: write it as www.example.org:443 or [2001:db8::1]:443", s)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ @") {
		return Target{}, fmt.Errorf("%q is not HOST:PORT: write it as www.example.org:443 or [2001:db8::1]:443", s)
	}
	return Target{Text: s, Host: host, Port: uint16(n)}, nil
}

// serverName is the SNI that goes with the target, empty for an IP address.
func (t *Target) serverName() string {
	if _, err := netip.ParseAddr(t.Host); err == nil {
		return ""
	}
	return strings.TrimSuffix(t.Host, ".")
}

// Resolver finds the addresses of names; net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// addresses returns the addresses that the targets lead to, each address once for each name, IPv4 first. One that does not
// resolve comes back with an Error.
func addresses(ctx context.Context, r Resolver, targets []Target, name string) []Address {
	var list []Address
	for _, t := range targets {
		a := Address{Target: t.Text, Name: t.serverName()}
		if name != "" {
			a.Name = name
		}
		ips, err := resolve(ctx, r, t.Host)
		if err != nil {
			a.Addr, a.Error = t.Text, err.Error()
			list = append(list, a)
			continue
		}
		for _, ip := range ips {
			a.Addr = netip.AddrPortFrom(ip, t.Port).String()
			if !slices.ContainsFunc(list, func(b Address) bool { return b.Addr == a.Addr && b.Name == a.Name }) {
				list = append(list, a)
			}
		}
	}
	return list
}

func resolve(ctx context.Context, r Resolver, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) && dns.IsNotFound {
		return nil, fmt.Errorf("%s does not resolve: there is no such name", host)
	}
	if err != nil {
		return nil, fmt.Errorf("%s does not resolve: %w", host, err)
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	slices.SortFunc(ips, netip.Addr.Compare) // IPv4 first
	return ips, nil
}
