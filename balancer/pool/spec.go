package pool

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"homing/balancer/netaddr"
)

const (
	// MaxWeight is the largest weight of a backend; the smallest is 1.
	MaxWeight = 1000

	// MaxBackends bounds one pool: the Maglev table gives each backend at least 16 of its 65,537 slots then.
	MaxBackends = 4096
)

// Spec is one backend, or one name that stands for several, as an operator writes it.
type Spec struct {
	// Addr is host:port; the host is an IPv4 address, an IPv6 address in brackets, or a name that expands to all its
	// addresses. The port is a number. Or it is unix: and the path of a unix socket of this machine, or @ and an
	// abstract name.
	Addr string

	// Weight is the share of fresh handshakes relative to the other backends: 1 to MaxWeight, 0 means 1. Each address
	// of a name has the whole weight.
	Weight int

	// MaxConns bounds the open conns to each address of this backend on this node; 0 means no bound.
	MaxConns int
}

// SpecError says which spec is wrong, and how. The text is one line that names the value and the remedy.
type SpecError struct {
	Spec string // as given
	Err  error
}

func (e *SpecError) Error() string { return fmt.Sprintf("backend %q: %v", e.Spec, e.Err) }

func (e *SpecError) Unwrap() error { return e.Err }

// target is a spec that was checked: either addr is valid (a literal) or host is a name to be resolved.
type target struct {
	Spec
	addr netaddr.Addr
	host string
	port uint16
}

// parseSpec checks a spec and fills in the default weight. An error is a *SpecError.
func parseSpec(spec Spec) (target, error) {
	fail := func(format string, args ...any) (target, error) {
		return target{}, &SpecError{spec.Addr, fmt.Errorf(format, args...)}
	}
	spec.Weight = cmp.Or(spec.Weight, 1)
	if spec.Weight < 1 || spec.Weight > MaxWeight {
		return fail("weight %d is not from 1 to %d", spec.Weight, MaxWeight)
	}
	if spec.MaxConns < 0 {
		return fail("max-conns %d is negative; use 0 for no bound", spec.MaxConns)
	}
	if path, ok := strings.CutPrefix(spec.Addr, netaddr.Prefix); ok {
		if err := netaddr.CheckPath(path); err != nil {
			return fail("%w", err)
		}
		return target{Spec: spec, addr: netaddr.Unix(path)}, nil
	}
	host, portText, err := net.SplitHostPort(spec.Addr)
	if err != nil {
		return fail("is not HOST:PORT; write 192.0.2.1:443, [2001:db8::1]:443, name.example:443 or unix:/run/app.sock")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return fail("port %q is not a number from 1 to 65535", portText)
	}
	t := target{Spec: spec, port: uint16(port)}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil && (host == "" || strings.ContainsAny(host, " \t/:@%")):
		return fail("%q is neither an IP address nor a name", host)
	case err != nil && strings.Trim(host, "0123456789.") == "":
		return fail("%q is not an IPv4 address", host)
	case err != nil:
		t.host = host
	case ip.IsUnspecified() || ip.IsMulticast():
		return fail("%s is no address to connect to; give the backend's own", ip)
	case netaddr.CheckZone(ip) != nil:
		return fail("%w", netaddr.CheckZone(ip))
	default:
		t.addr = netaddr.Of(netip.AddrPortFrom(ip, t.port))
	}
	return t, nil
}
