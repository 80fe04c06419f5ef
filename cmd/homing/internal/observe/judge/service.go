package judge

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// Role is what stands behind an address.
type Role uint8

// The roles.
const (
	RoleAlone   Role = iota // nothing shows that it has to do with another address: one server, or a balancer
	RoleBackend             // one of several servers behind a balancer
	RoleFront               // the balancer, as clients see it
)

func (r Role) String() string { return [...]string{"alone", "backend", "front"}[r] }

// service is one address and port where a server answers.
type service struct {
	id    uint32 // from 1 on; 0: all that there is no room for
	addr  netip.AddrPort
	role  Role
	given bool // by a flag
	pool  *affinity.Pool
	hint  uint32    // the latest lifetime of its tickets of TLS <= 1.2, in seconds
	proof [3]proofs // by kind: ID, ticket, PSK
	alive uint64    // PSKs refused between two acceptances under their key
}

// serviceOf is the service at an address, known from now on.
func (j *Judge) serviceOf(addr netip.AddrPort) *service {
	if s := j.services[addr]; s != nil {
		return s
	}
	role, given := j.given(addr)
	if len(j.order) >= j.cfg.MaxServices && !given || len(j.order) >= 2*j.cfg.MaxServices {
		return j.rest
	}
	s := &service{id: uint32(len(j.order) + 1), addr: addr, role: role, given: given, pool: j.pool}
	if role == RoleFront {
		s.pool = j.front
	}
	j.services[addr] = s
	j.order = append(j.order, s)
	return s
}

// given is what the flags say of an address.
func (j *Judge) given(addr netip.AddrPort) (Role, bool) {
	for _, e := range j.cfg.VIPs {
		if e.Has(addr) {
			return RoleFront, true
		}
	}
	for _, e := range j.cfg.Backends {
		if e.Has(addr) {
			return RoleBackend, true
		}
	}
	return RoleAlone, false
}

// twice reports whether what comes to a service is seen a second time, behind it.
func (j *Judge) twice(s *service) bool {
	return s != nil && s.role == RoleFront && slices.ContainsFunc(j.order, func(o *service) bool { return o.role == RoleBackend })
}

// poolOf is where what an address proves is learned: a balancer's address issues what its servers do, and may not be taken
// for one of them.
func (j *Judge) poolOf(addr netip.AddrPort) *affinity.Pool {
	if s := j.services[addr]; s != nil {
		return s.pool
	}
	if role, _ := j.given(addr); role == RoleFront {
		return j.front
	}
	return j.pool
}

// nameOf is the server name of a hello, as it is counted.
func (j *Judge) nameOf(h *tlsparse.Hello) string {
	raw := h.ServerName()
	if name, ok := j.names[string(raw)]; ok { // the compiler makes no string of it
		return name
	}
	if len(j.names) >= j.cfg.MaxNames {
		return Others
	}
	name := string(raw)
	if bytes.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '(' || r == '\\' }) {
		name = strconv.QuoteToASCII(name)
	}
	j.names[string(raw)] = name
	return name
}

// links counts offers of what one server issued to another: they are servers of one balancer.
type links struct {
	set map[[2]uint32]int // weights by IDs, the lower one first
	n   uint64            // offers
}

const (
	// maxLinks bounds the pairs.
	maxLinks = 4096

	// A few offers make two addresses servers of one balancer: a client that takes a ticket elsewhere on purpose does it
	// seldom. Where no issuer is known, the last handshake of a client with the same server name is a weaker sign.
	linkKnown  = 4
	linkClient = 1
	linkEnough = 12
)

// add counts an offer, and reports whether there are enough.
func (l *links) add(a, b uint32, weight int) bool {
	if a == b || a == 0 || b == 0 || a == affinity.AnyID || b == affinity.AnyID {
		return false
	}
	if l.set == nil {
		l.set = make(map[[2]uint32]int)
	}
	k := [2]uint32{min(a, b), max(a, b)}
	if _, ok := l.set[k]; ok || len(l.set) < maxLinks {
		l.set[k] += weight
	}
	l.n++
	return l.set[k] >= linkEnough
}

// link notes that what another server issued was offered to st's.
func (j *Judge) link(st *conn, by Stratum, home bool) {
	if home || by == ByNothing || by == ByClient && st.name == "" {
		return
	}
	s, other, weight := st.service, st.home.ID, linkKnown
	switch {
	case by == ByHint:
		other = st.hint
	case by == ByClient:
		weight = linkClient
	case len(st.home.Set) > 0:
		other = st.home.Set[0]
	}
	if !j.links.add(s.id, other, weight) || int(other) > len(j.order) {
		return
	}
	for _, one := range []*service{s, j.order[other-1]} {
		if one.role == RoleAlone {
			one.role = RoleBackend
		}
	}
}

// pairs finds conns that a capture on the balancer shows twice, from the client and to the server: the same hello comes to
// another address while the first has not been answered. Two conns of one client may look so too, where they offer the same
// session at the same time; but these come to either address first.
type pairs struct {
	recent map[affinity.Key]*meeting
	ring   [recentHellos]affinity.Key
	next   int
	counts map[[2]netip.AddrPort]int // first seen at, then at
}

const (
	// recentHellos is how many hellos are remembered: at 10,000 conns a second, 0.4 s. A balancer passes one on in less.
	recentHellos = 4096

	// A hello of TLS 1.3 has 32 random bytes for a session ID (RFC 9846, Appendix E.4), and proves more than one that
	// offers what others may offer as well.
	proofRandom = 4
	proofOffer  = 1
	proofEnough = 12
)

// meeting is a hello that was seen.
type meeting struct {
	st     *conn
	at     netip.AddrPort // the server's side
	client netip.Addr
}

// meet looks whether the hello is on its way to another address. Then that one is a balancer's, and its client is the one
// that counts.
func (p *pairs) meet(j *Judge, c *flow.Conn, st *conn, h *tlsparse.Hello) (client netip.Addr, ok bool) {
	k, proof := j.front.HashID(h.SessionID), proofOffer
	switch {
	case h.TLS13 && len(h.SessionID) == 32:
		proof = proofRandom
	case len(h.Ticket) > 0:
		k = j.front.HashIdent(h.Ticket).Exact
	}
	if k == 0 {
		return netip.Addr{}, false
	}
	if p.recent == nil {
		p.recent, p.counts = make(map[affinity.Key]*meeting), make(map[[2]netip.AddrPort]int)
	}
	m := p.recent[k]
	if m != nil && m.at != c.Server && m.st.service == nil && m.st.verdict == VerdictNone {
		m.st.passed = &passing{pair: [2]netip.AddrPort{m.at, c.Server}, proof: proof, back: st}
		return m.client, true
	}
	if m == nil {
		delete(p.recent, p.ring[p.next])
		p.ring[p.next] = k
		p.next = (p.next + 1) % len(p.ring)
	}
	p.recent[k] = &meeting{st: st, at: c.Server, client: c.Client.Addr()}
	return netip.Addr{}, false
}

// passing is a hello that was seen on its way to another address.
type passing struct {
	pair  [2]netip.AddrPort
	proof int
	back  *conn
}

// answered notes that st's server has answered. It is a balancer if the one behind it has answered before: a server that
// does not answer, in whose place a balancer asks another, is none.
func (p *pairs) answered(j *Judge, st *conn) {
	by := st.passed
	if by == nil || by.back.service == nil {
		return
	}
	st.passed = nil
	if _, known := p.counts[by.pair]; known || len(p.counts) < maxLinks {
		p.counts[by.pair] += by.proof
	}
	n := p.counts[by.pair]
	if n >= proofEnough && n-by.proof < proofEnough && p.counts[[2]netip.AddrPort{by.pair[1], by.pair[0]}] == 0 {
		j.found(by.pair[0], by.pair[1])
	}
}

// seen reports whether any front was found, so that clients have their own addresses.
func (p *pairs) seen() bool {
	for _, n := range p.counts {
		if n >= proofEnough {
			return true
		}
	}
	return false
}

// earlyHandshakes is how many may be unlearned when a balancer's address is found.
const earlyHandshakes = 200

// found makes front a balancer's address, and back one of its servers. What was learned before says of both that they
// issued the same: of a few conns, which do not matter later, and are forgotten at the begin.
func (j *Judge) found(front, back netip.AddrPort) {
	f, b := j.serviceOf(front), j.serviceOf(back)
	if b != j.rest && b.role == RoleAlone {
		b.role = RoleBackend
	}
	if f == j.rest || f.role == RoleFront || f.given {
		return
	}
	f.role, f.pool = RoleFront, j.front
	if j.handshakes() > earlyHandshakes {
		return
	}
	j.pool = j.newPool()
	j.links = links{}
	for _, s := range j.order {
		if s.role != RoleFront {
			s.pool = j.pool
		}
	}
}
