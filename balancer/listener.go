//go:build linux

package balancer

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// TLSMode says what a listener expects of its clients.
type TLSMode uint8

// The modes.
const (
	// TLSAuto reads a hello; what is none goes to the default pool as fresh.
	TLSAuto TLSMode = iota
	// TLSRequire closes and counts what is no readable ClientHello.
	TLSRequire
	// TLSOff reads nothing: a backend of the default pool is connected at once, and may speak first.
	TLSOff
)

func (m TLSMode) String() string { return [...]string{"auto", "require", "off"}[m] }

// Listener is one address to take connections on, and where these go.
//
// Of the routes that match a hello the most specific one takes it: an exact name before a wildcard, a longer wildcard
// before a shorter one, any name last; among equals one with a matching protocol before one without protocols, then the
// order here. What no route takes, and every hello that cannot be read or has several names, goes to Default only:
// unknown must not mean weaker.
type Listener struct {
	Name    string // in logs and metrics, no two alike. Default: Addr
	Addr    string // host:port, an IP address or empty for all of both families; or unix: and the path of a unix socket
	TLS     TLSMode
	Routes  []Route    // none with TLSOff: there is no hello to go by
	Default *pool.Pool // nil: what no route takes is closed and counted

	// Mode is the permission bits of a unix socket's file: whoever may write to it may connect. Default DefaultMode. A
	// socket that is inherited keeps what it has.
	Mode uint32

	// MaxConns bounds the listener's open conns on this node; further ones wait in the kernel's queue. Each loop looks
	// before it takes, so that there may be one more for each other loop. Default 0: no limit but Config.MaxConns.
	MaxConns int

	// Allow are the only networks that may come in; none: all. Deny are networks that may not, even where Allow has
	// them. Others are reset, and counted as denied. With a PROXY header the address in it counts. Clients of a unix
	// socket have no address: the zero Prefix stands for them in these lists and the next.
	Allow, Deny []netip.Prefix

	// AcceptProxy are the networks of proxies that begin each connection with a PROXY header, which says whose it is.
	// From them it must come, once; from anybody else, with any TLSMode, a conn that begins with one is refused, in
	// whatever pieces it comes. Version 2 may have 16 KiB behind its fixed part.
	AcceptProxy []netip.Prefix
}

// Route takes hellos of some names and protocols to a pool.
type Route struct {
	// Names are exact names, or wildcards *.example.org for all names below example.org, at any depth, without itself.
	// In any case, with or without a trailing dot. None: any name, also no name.
	Names []string
	// ALPN are protocols of which the client must offer one (RFC 7301), such as h2. None: any, also none.
	ALPN []string
	Pool *pool.Pool
}

// DefaultMode is the mode of a listening unix socket's file: its owner and group may connect.
const DefaultMode = 0o660

// ParseListenAddr reads host:port, where the host is an IP address, in brackets for IPv6, or empty for all addresses of
// both families; or unix: and a path. An abstract unix socket has no file whose permissions could say who may connect:
// none is listened on.
func ParseListenAddr(text string) (netaddr.Addr, error) {
	if path, ok := strings.CutPrefix(text, netaddr.Prefix); ok {
		if strings.HasPrefix(path, "@") {
			return netaddr.Addr{}, errors.New("anybody on this machine could connect to an abstract socket: " +
				"give the path of a file, such as unix:/run/homing.sock")
		}
		return netaddr.Unix(path), netaddr.CheckPath(path)
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netaddr.Addr{}, fmt.Errorf("want host:port, such as 0.0.0.0:443 or [::]:443, or unix:/run/homing.sock")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netaddr.Addr{}, fmt.Errorf("%q is not a port, want 0 to 65535", port)
	}
	addr := netip.IPv6Unspecified()
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return netaddr.Addr{}, fmt.Errorf("%q is not an IP address", host)
		}
		if err := netaddr.CheckZone(addr); err != nil {
			return netaddr.Addr{}, err
		}
	}
	return netaddr.Of(netip.AddrPortFrom(addr, uint16(n))), nil
}

// check fills in the name and refuses what cannot be meant. The matcher is the routes', by indexes into pools, to which
// it adds what is new.
func (ln *Listener) check(pools *[]*pool.Pool) (*matcher, error) {
	ln.Name = cmp.Or(ln.Name, ln.Addr)
	if ln.Mode > 0o777 {
		return nil, fmt.Errorf("balancer: listener %s has the mode %o: give permission bits, such as 660", ln.Name, ln.Mode)
	}
	ln.Mode = cmp.Or(ln.Mode, DefaultMode)
	if ln.MaxConns < 0 {
		return nil, fmt.Errorf("balancer: listener %s has a limit of %d conns: give 0 for none", ln.Name, ln.MaxConns)
	}
	if ln.Default == nil && len(ln.Routes) == 0 {
		return nil, fmt.Errorf("balancer: listener %s has no pool: give it a default or routes", ln.Name)
	}
	if ln.TLS == TLSOff && len(ln.Routes) > 0 {
		return nil, fmt.Errorf("balancer: listener %s has routes, but with tls off there is no hello to go by: "+
			"give it a default only", ln.Name)
	}
	if ln.Default != nil {
		addPool(pools, ln.Default)
	}
	var routes []route
	for i, r := range ln.Routes {
		if r.Pool == nil {
			return nil, fmt.Errorf("balancer: listener %s, route %d has no pool", ln.Name, i+1)
		}
		routes = append(routes, route{names: r.Names, alpn: r.ALPN, pool: addPool(pools, r.Pool)})
	}
	m, err := newMatcher(routes)
	if err != nil {
		return nil, fmt.Errorf("balancer: listener %s, %w", ln.Name, err)
	}
	return m, nil
}

// addPool is the index of p in pools, where it is added if it is not there yet.
func addPool(pools *[]*pool.Pool, p *pool.Pool) int {
	if i := slices.Index(*pools, p); i >= 0 {
		return i
	}
	*pools = append(*pools, p)
	return len(*pools) - 1
}

// CheckRouteName says what is wrong with a name of a route; nil if nothing is. It returns the name as it is compared:
// in lower case, without a trailing dot.
func CheckRouteName(text string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	host := strings.TrimPrefix(name, "*.")
	switch {
	case name == "*":
		return "", fmt.Errorf("%q: a route for any name has no names", text)
	case strings.Contains(host, "*"):
		return "", fmt.Errorf("%q: a wildcard is *. and a whole name, such as *.example.org", text)
	case host == "" || len(host) > 253:
		return "", fmt.Errorf("%q is not a host name", text)
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return "", fmt.Errorf("%q: clients send no server name for an address (RFC 6066, 3): leave it to the default", text)
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%q is not a host name", text)
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			case c >= 0x80:
				return "", fmt.Errorf("%q: write it as clients send it, in the form of xn--", text)
			default:
				return "", fmt.Errorf("%q is not a host name: it has %q", text, c)
			}
		}
	}
	return name, nil
}
