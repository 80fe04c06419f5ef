package pool

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Answer is what a resolver says of a host name.
type Answer struct {
	Addrs []netip.Addr

	// TTL is how long the answer holds. 0: it is not known, as of names in a file.
	TTL time.Duration

	// Deaf says why the name's addresses of one family, IPv4 or IPv6, could not be asked for: those known from before
	// stand. nil: both were answered.
	Deaf error
}

// askSystem asks as the system is configured (resolv.conf, nsswitch.conf, hosts), for each family apart: a name server
// that fails for one must not look like a name without such addresses. What net.Resolver does not tell is read from the
// name server's answers on their way to it: their time to live.
func askSystem(ctx context.Context, host string) (Answer, error) {
	var heard ttl
	resolver := net.Resolver{PreferGo: true, Dial: heard.dial}
	networks := [...]string{"ip4", "ip6"}
	var found [len(networks)][]netip.Addr
	var errs [len(networks)]error
	var both sync.WaitGroup
	for i, network := range networks {
		both.Go(func() { found[i], errs[i] = resolver.LookupNetIP(ctx, network, host) })
	}
	both.Wait()
	a := Answer{Addrs: append(found[0], found[1]...), TTL: heard.least()}
	for i, err := range errs {
		if none := new(net.DNSError); err == nil || errors.As(err, &none) && none.IsNotFound {
			continue
		}
		a.Deaf = errs[i]
	}
	switch {
	case len(a.Addrs) > 0:
		return a, nil
	case a.Deaf != nil:
		return Answer{}, a.Deaf
	}
	return Answer{}, errs[0]
}

// ttl is the shortest time to live of the answers of name servers.
type ttl struct {
	mu  sync.Mutex
	min time.Duration // 0: none was heard
}

func (t *ttl) least() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.min
}

// dial connects to a name server, and listens in.
func (t *ttl) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		return &heardPackets{udp, t}, nil
	}
	return &heardStream{Conn: conn, ttl: t}, nil
}

// heardPackets stays a net.PacketConn, by which net.Resolver knows that a read is a message.
type heardPackets struct {
	*net.UDPConn
	ttl *ttl
}

func (c *heardPackets) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	if err == nil {
		c.ttl.hear(b[:n])
	}
	return n, err
}

// heardStream has one message, behind its length of two bytes (RFC 1035, section 4.2.2), which is at most 64 KiB.
type heardStream struct {
	net.Conn
	ttl  *ttl
	read []byte
}

func (c *heardStream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read = append(c.read, b[:n]...)
	return n, err
}

func (c *heardStream) Close() error {
	if len(c.read) > 2 {
		c.ttl.hear(c.read[2:])
	}
	return c.Conn.Close()
}

// hear notes the times to live in an answer. What cannot be read says nothing: net.Resolver judges it.
func (t *ttl) hear(message []byte) {
	var p dnsmessage.Parser
	if h, err := p.Start(message); err != nil || !h.Response || p.SkipAllQuestions() != nil {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		if h.Type == dnsmessage.TypeA || h.Type == dnsmessage.TypeAAAA || h.Type == dnsmessage.TypeCNAME {
			t.note(time.Duration(h.TTL) * time.Second)
		}
	}
}

// note takes a time to live; 0 asks not to be remembered at all, which is as short as we ask.
func (t *ttl) note(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d = max(d, resolvePause); t.min == 0 || d < t.min {
		t.min = d
	}
}
