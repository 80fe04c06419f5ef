//go:build linux

package balancer

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// prepare takes a line that stands before the first event.
func (s *script) prepare(words []string) bool {
	switch words[0] {
	case "backends":
		s.count = s.number(words[1])
		for _, w := range words[2:] {
			s.maxConns = s.number(strings.TrimPrefix(w, "max_conns="))
		}
	case "pool":
		for _, w := range words[1:] {
			s.poolOption(w)
		}
	case "config":
		for _, w := range words[1:] {
			s.configOption(w)
		}
	case "ticket", "known":
		s.teach = append(s.teach, strings.Join(words, " "))
	case "show": // acks
		s.eng.showAcks = true
	case "engine": // gives nothing
		s.eng.alone = true
	default:
		return false
	}
	return true
}

func (s *script) poolOption(w string) {
	key, value, _ := strings.Cut(w, "=")
	o := &s.opt
	switch key {
	case "second_chance":
		o.SecondChance = pool.SecondChance{Auto: value != "0", Tries: s.number(value), Budget: 1}
	case "queue":
		if o.Queue = s.number(value); o.Queue == 0 {
			o.Queue = -1
		}
	case "queue_timeout":
		o.QueueTimeout = s.duration(value)
	case "on_down":
		o.OnDown = pool.OnDownReset
	case "proxy":
		o.ProxyHeader = map[string]pool.ProxyHeader{"v1": pool.ProxyV1, "v2": pool.ProxyV2}[value]
	case "fall":
		o.Fall = s.number(value)
	case "no_checks":
		o.NoChecks = true
	case "transparent":
		o.Transparent = true
	case "sources":
		for a := range strings.SplitSeq(value, ",") {
			o.Sources = append(o.Sources, netip.MustParseAddr(a))
		}
	default:
		s.Fatalf("unknown option of a pool: %s", w)
	}
}

func (s *script) configOption(w string) {
	key, value, _ := strings.Cut(w, "=")
	durations := map[string]*time.Duration{
		"hello_timeout": &s.cfg.HelloTimeout, "connect_timeout": &s.cfg.ConnectTimeout, "handshake_timeout": &s.cfg.HandshakeTimeout,
		"idle_timeout": &s.cfg.IdleTimeout, "half_closed_timeout": &s.cfg.HalfClosedTimeout, "hold_timeout": &s.cfg.HoldTimeout,
	}
	switch {
	case durations[key] != nil:
		*durations[key] = s.duration(value)
	case key == "hold_limit":
		s.cfg.HoldLimit = s.number(value)
	case key == "max_pre_hello":
		s.cfg.MaxPreHello = s.number(value)
	case key == "max_conns":
		s.cfg.MaxConns = s.number(value)
	case key == "tls":
		s.ln.TLS = map[string]TLSMode{"auto": TLSAuto, "require": TLSRequire, "off": TLSOff}[value]
	case key == "accept_proxy":
		s.ln.AcceptProxy = []netip.Prefix{netip.MustParsePrefix(value)}
	case key == "deny":
		s.ln.Deny = []netip.Prefix{netip.MustParsePrefix(value)}
	case key == "source_conns":
		s.cfg.Clients = ClientLimits{MaxConns: s.number(value), Prefix4: 24}
	default:
		s.Fatalf("unknown setting: %s", w)
	}
}

func (s *script) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *script) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.Fatal(err)
	}
	return d
}

// build makes the balancer, and teaches it what the script says is known.
func (s *script) build() {
	var err error
	if s.pool, err = pool.New("test", s.specs(), s.opt); err != nil {
		s.Fatal(err)
	}
	if s.store, err = affinity.NewStore(affinity.Config{Seed: 1, TableEntries: 1 << 10, ClientEntries: 1 << 10}); err != nil {
		s.Fatal(err)
	}
	s.ln.Addr, s.ln.Default = "127.0.0.1:0", s.pool // nobody comes by it
	s.cfg.Listeners, s.cfg.Store = []Listener{s.ln}, s.store
	s.cfg.ConnLog = func(r *ConnRecord) { s.eng.say("%s", s.told(r)) }
	if s.b, err = newOn(func(int64) (netio.Engine, error) { return s.eng, nil }, s.cfg); err != nil {
		s.Fatal(err)
	}
	s.l = s.b.loops[0]
	s.l.running = true
	if err := s.l.listen(); err != nil {
		s.Fatal(err)
	}
	for _, line := range s.teach {
		s.learn(strings.Fields(line))
	}
	s.settle()
}

func (s *script) specs() (specs []pool.Spec) {
	for i := range s.count {
		specs = append(specs, pool.Spec{Addr: addrOf(i + 1), MaxConns: s.maxConns})
	}
	return specs
}

func addrOf(backend int) string { return fmt.Sprintf("198.51.100.%d:443", backend) }

func (s *script) numberOf(a netaddr.Addr) string {
	for i := range s.count {
		if a.String() == addrOf(i+1) {
			return strconv.Itoa(i + 1)
		}
	}
	return a.String()
}

// at is the backend of a number.
func (s *script) at(number string) *pool.Backend {
	for _, b := range s.pool.Snapshot().All() {
		if b.Addr.String() == addrOf(s.number(number)) {
			return b
		}
	}
	s.Fatalf("no backend %s", number)
	return nil
}

// learn is "ticket A goes 1 2", of a ticket that nobody knows and the backends that it would be tried at, or "ticket B
// like A"; or "known ticket A at 1", "known id i at 1".
func (s *script) learn(words []string) {
	known := s.store.Pool(s.pool.Hash())
	if words[0] == "ticket" && words[2] == "like" { // it begins as that one does
		s.tickets[words[1]] = named(string(s.tickets[words[3]][:16]), int(words[1][0]))
		return
	}
	if words[0] == "ticket" {
		s.tickets[words[1]] = s.ticketFor(known, words[3:])
		return
	}
	id := uint32(s.at(words[4]).ID)
	if words[1] == "id" {
		known.IssuedID(known.HashID(fixed(words[2][0])), id, s.store.Now())
		return
	}
	s.tickets[words[2]] = named("name of ticket "+words[2], int(words[2][0]))
	known.IssuedTicket(known.HashIdent(s.tickets[words[2]]), 300, id, s.store.Now())
}

func (s *script) ticketFor(known *affinity.Pool, order []string) []byte {
next:
	for i := range 100000 {
		ticket := named(keyName(i), i)
		var o affinity.Offer
		o.Add(known.HashIdent(ticket))
		var skip pool.Skip
		for _, number := range order {
			b := s.at(number)
			if s.pool.Snapshot().Maglev(known.Explore(&o), skip) != b {
				continue next
			}
			skip.Add(b.ID)
		}
		return ticket
	}
	s.Fatalf("no ticket goes %v", order)
	return nil
}
