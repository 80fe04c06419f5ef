package cluster

import (
	"bytes"
	"errors"
	"net/netip"
	"time"

	"homing/cluster/bound"
)

// Bounds of the roll. An address is the sender's of all that is said at it, for only who has it can answer there.
const (
	// refreshEvery is the pause between two questions to a member of which nothing is heard: gossip tells of changes,
	// but gossip can be forged, and held up.
	refreshEvery = 5 * time.Second

	// refreshRate bounds the questions of that kind to all members together, per second: an answer of an older release,
	// or of this one's, holds all that the member knows of others.
	refreshRate = 20

	// leastAsk is the pause between two questions to one member, whatever is said of it.
	leastAsk = 200 * time.Millisecond

	// lostAfter is for how long, and failedAsks for how many questions in a row, a member has not answered when it is
	// taken for vanished; failedEvery is the pause between those.
	lostAfter   = time.Second
	failedAsks  = 2
	failedEvery = 500 * time.Millisecond

	// longestWait bounds the pause between two questions to one that does not answer: it doubles up to there.
	longestWait = 30 * time.Second

	// claimTries is how often an address is asked that nobody has answered at yet. Gossip brings it up again.
	claimTries = 3

	// maxAsks bounds the questions that run at once. Those that may take long have a quarter at most: to addresses that
	// have not come to us, or have not answered failedAsks in a row, or not within slowAnswer the last time. Those to
	// one address have asksPerAddr: silence costs a place for askTimeout.
	maxAsks     = 16
	slowAnswer  = 500 * time.Millisecond
	maxFarAsks  = maxAsks / 4
	asksPerAddr = 2

	// maxClaims bounds the addresses and ports that wait to be asked, claimsPerAddr those of one address but loopback.
	maxClaims     = 4096
	claimsPerAddr = 64

	// goneFor is for how long nobody wonders that a member which is gone does not answer.
	goneFor = time.Minute

	// maxMembers bounds the members that are known, maxPerAddr those at one address but loopback: there all are this
	// machine's.
	maxMembers = 8192
	maxPerAddr = 64
)

// roll is who is known to be a member, since it has answered at its own address, and who is said to be one and has yet
// to be asked. It does no I/O and reads no clock. Who is there first stays: one that answers gives way to nobody.
type roll struct {
	agent   bool // this member is one: it needs no other agents
	members map[netip.AddrPort]*proven
	claims  map[netip.AddrPort]*claim
	waiting map[netip.Addr]int           // claims, by address
	asking  map[netip.Addr]int           // questions that run, by address
	busy    int                          // all of them
	far     map[netip.AddrPort]bool      // those that may take long
	gone    bound.Recent[netip.AddrPort] // members that have left or were forgotten: gossip may speak of them yet
}

// inquiry is what proven and claim have in common.
type inquiry struct {
	next time.Time // when to ask
	last time.Time // when it was asked last
	busy bool      // a question runs
	late bool      // something was said of it since that question began
	slow bool      // the last answer took long
	row  int       // questions in a row without an answer
}

// proven is a member that has answered.
type proven struct {
	inquiry
	Member
	said  []byte    // its metadata, as it came
	heard time.Time // when it answered last
}

// claim is an address at which a member is said to be.
type claim struct {
	inquiry
	far bool // nobody has come to us from there
}

// outcome is what an answer, or its absence, has changed.
type outcome struct {
	what   change
	member Member // as it is now, or was
	was    Member // before changed

	// replaced are the nodes that had vanished from the address of one that joined, and are forgotten.
	replaced []string
}

type change uint8

const (
	nothing  change = iota
	joined          // it is new, or back
	changed         // it says something else of itself
	left            // it said that it leaves
	vanished        // it does not answer any more
	refused         // there is no room for it
	unheard         // somebody came from its address, and nobody answers where a member is said to be
)

func newRoll(agent bool) *roll {
	return &roll{
		agent: agent, members: make(map[netip.AddrPort]*proven), claims: make(map[netip.AddrPort]*claim),
		waiting: make(map[netip.Addr]int), asking: make(map[netip.Addr]int), far: make(map[netip.AddrPort]bool),
		gone: bound.Recent[netip.AddrPort]{Max: maxMembers},
	}
}

// errUnproven keeps memberlist from believing that a member is where it has not answered yet. It is no error.
var errUnproven = errors.New("it has not answered for itself yet")

// hearsay takes what gossip says of a member: nil if memberlist may have it, too. near says that somebody at the
// address has come to us.
func (r *roll) hearsay(id string, addr netip.AddrPort, meta []byte, near bool, now time.Time) error {
	if p := r.members[addr]; p != nil {
		if p.ID == id && bytes.Equal(p.said, meta) && p.Alive {
			return nil
		}
		p.hurry(now)
		if p.ID == id {
			return nil
		}
		return errUnproven
	}
	if !addr.IsValid() || addr.Port() == 0 || addr.Addr().IsUnspecified() || addr.Addr().IsMulticast() ||
		r.agent && ofAgent(meta) {
		return errUnproven
	}
	switch c := r.claims[addr]; {
	case c != nil:
		c.far = c.far && !near
	case r.waiting[addr.Addr()] >= claimsPerAddr && !addr.Addr().IsLoopback():
	case len(r.claims) < maxClaims || near && r.dropFar():
		r.claims[addr] = &claim{far: !near, inquiry: inquiry{next: now}}
		r.waiting[addr.Addr()]++
	}
	return errUnproven
}

// ofAgent says that metadata is of an agent.
func ofAgent(meta []byte) bool {
	var m Meta
	return m.UnmarshalBinary(meta) == nil && m.Role == RoleAgent
}

// dropFar makes room among the claims, at the cost of any from afar.
func (r *roll) dropFar() bool {
	for addr, c := range r.claims {
		if c.far && !c.busy {
			r.dropClaim(addr)
			return true
		}
	}
	return false
}

func (r *roll) dropClaim(addr netip.AddrPort) {
	if r.claims[addr] == nil {
		return
	}
	delete(r.claims, addr)
	if r.waiting[addr.Addr()]--; r.waiting[addr.Addr()] <= 0 {
		delete(r.waiting, addr.Addr())
	}
}

// doubt says that a member may not be there any more.
func (r *roll) doubt(addr netip.AddrPort, now time.Time) {
	if p := r.members[addr]; p != nil {
		p.hurry(now)
	}
}

// hurry brings the next question forward. One that runs may have been answered before what is doubted now.
func (q *inquiry) hurry(now time.Time) {
	q.late = q.busy
	if at := q.last.Add(leastAsk); at.Before(q.next) {
		q.next = at
	}
	if q.row > 0 {
		q.next = now // it is said to be there, and was not
		if at := q.last.Add(failedEvery); at.After(now) {
			q.next = at
		}
	}
}

// due gives the addresses to ask now, and how long it is to the next one. Each must come back by answered or silent.
func (r *roll) due(now time.Time) (addrs []netip.AddrPort, next time.Duration) {
	next = refreshEvery
	take := func(addr netip.AddrPort, q *inquiry, far bool) {
		wait := q.next.Sub(now)
		far = far || q.slow || q.row >= failedAsks
		switch {
		case q.busy:
		case wait > 0:
			next = min(next, wait)
		case far && len(r.far) >= maxFarAsks || r.busy >= maxAsks || r.asking[addr.Addr()] >= r.perAddr(addr.Addr()):
			// There will be room when one comes back.
		default:
			q.busy, q.late, q.last = true, false, now
			if far {
				r.far[addr] = true
			}
			r.busy++
			r.asking[addr.Addr()]++
			addrs = append(addrs, addr)
		}
	}
	for addr, p := range r.members {
		take(addr, &p.inquiry, false)
	}
	for addr, c := range r.claims {
		take(addr, &c.inquiry, c.far)
	}
	return addrs, max(next, time.Millisecond)
}

func (r *roll) perAddr(addr netip.Addr) int {
	if addr.IsLoopback() {
		return maxAsks
	}
	return asksPerAddr
}

// back takes an address back from a question, and gives whom it was about; neither if it was forgotten meanwhile.
func (r *roll) back(addr netip.AddrPort) (*proven, *claim) {
	r.busy--
	delete(r.far, addr)
	if r.asking[addr.Addr()]--; r.asking[addr.Addr()] <= 0 {
		delete(r.asking, addr.Addr())
	}
	p, c := r.members[addr], r.claims[addr]
	if p != nil {
		p.busy = false
	}
	if c != nil {
		c.busy = false
	}
	return p, c
}

// answered takes what a member said of itself.
func (r *roll) answered(addr netip.AddrPort, id string, meta Meta, said []byte, now time.Time) outcome {
	p, c := r.back(addr)
	switch {
	case p == nil && c == nil, r.agent && meta.Role == RoleAgent:
		r.dropClaim(addr)
		return outcome{}
	case meta.State == StateLeaving:
		r.dropClaim(addr)
		delete(r.members, addr)
		if p == nil {
			return outcome{}
		}
		p.Meta = meta
		r.gone.Note(addr, now.Add(goneFor), now)
		return outcome{what: left, member: p.Member}
	case p == nil:
		r.dropClaim(addr)
		if !r.makeRoom(addr.Addr()) {
			return outcome{what: refused, member: Member{ID: id, Addr: addr, Meta: meta}}
		}
		p = &proven{Member: Member{Addr: addr, Since: now}, inquiry: inquiry{last: c.last}}
		r.members[addr] = p
	case p.ID != id:
		p.Since, p.Alive = now, false // another process at the same port
	}
	was, before := p.Member, p.said
	p.ID, p.Meta, p.Alive = id, meta, true
	p.said, p.heard, p.row, p.slow = said, now, 0, now.Sub(p.last) > slowAnswer
	p.next = now.Add(r.refresh())
	if p.late {
		p.late, p.next = false, now.Add(leastAsk)
	}
	what := nothing
	var replaced []string
	switch {
	case !was.Alive:
		what = joined
		replaced = r.succeed(p) // before its member is handed out
	case !bytes.Equal(before, said):
		what = changed
	}
	return outcome{what: what, member: p.Member, was: was, replaced: replaced}
}

// refresh is the pause until a member is asked again of which nothing is heard.
func (r *roll) refresh() time.Duration {
	return max(refreshEvery, time.Duration(len(r.members))*time.Second/refreshRate)
}

// silent takes that nobody has answered.
func (r *roll) silent(addr netip.AddrPort, now time.Time) outcome {
	p, c := r.back(addr)
	if c != nil {
		if c.row++; c.row >= claimTries {
			r.dropClaim(addr)
			if !c.far && !r.gone.Has(addr, now) {
				return outcome{what: unheard, member: Member{Addr: addr}}
			}
		}
		c.next = now.Add(backoff(c.row))
	}
	if p == nil {
		return outcome{}
	}
	p.row++
	p.next = now.Add(max(failedEvery, backoff(p.row-failedAsks)))
	if !p.Alive || p.row < failedAsks || now.Sub(p.heard) < lostAfter {
		return outcome{}
	}
	p.Alive = false
	return outcome{what: vanished, member: p.Member}
}

// backoff is the pause after some questions in a row without an answer.
func backoff(row int) time.Duration {
	return min(failedEvery<<max(0, min(row, 8)), longestWait)
}

// succeed drops the vanished members in whose place one is now: another process of its address that has its ID, its
// gossip's port, or its backend; and for nodes, which keep their ID wherever they go, any that had it. A node that came
// to an address after another vanished from it has started there anew, on another port and without the ID: those are
// returned.
func (r *roll) succeed(p *proven) (replaced []string) {
	for addr, one := range r.members {
		if one.Alive || one.Meta.Role != p.Meta.Role {
			continue
		}
		sameAddr := addr.Addr() == p.Addr.Addr()
		sameID := one.ID == p.ID && (sameAddr || p.Meta.Role == RoleNode)
		sameBackend := sameAddr && p.Meta.Role == RoleAgent && one.Meta.Announced.Backend == p.Meta.Announced.Backend &&
			one.Meta.Announced.Pool == p.Meta.Announced.Pool
		anew := sameAddr && p.Meta.Role == RoleNode && !one.heard.IsZero() && one.heard.Before(p.Since)
		if anew && !sameID {
			replaced = append(replaced, one.ID)
		}
		if sameID || sameBackend || anew {
			delete(r.members, addr)
			if sameAddr && !anew && !one.Since.IsZero() && one.Since.Before(p.Since) {
				p.Since = one.Since
			}
		}
	}
	return replaced
}

// makeRoom says that there is room for one more member at an address; one that vanished from there gives way.
func (r *roll) makeRoom(ip netip.Addr) bool {
	if len(r.members) >= maxMembers {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	n := 0
	var oldest *proven
	for addr, one := range r.members {
		if addr.Addr() != ip {
			continue
		}
		n++
		if !one.Alive && (oldest == nil || one.heard.Before(oldest.heard)) {
			oldest = one
		}
	}
	if n < maxPerAddr {
		return true
	}
	if oldest == nil {
		return false
	}
	delete(r.members, oldest.Addr)
	return true
}

// idAt is the ID of the member at an address and port, "" if there is none.
func (r *roll) idAt(addr netip.AddrPort) string {
	if p := r.members[addr]; p != nil {
		return p.ID
	}
	return ""
}

// knows says that a member is at an address.
func (r *roll) knows(ip netip.Addr) bool {
	for addr, one := range r.members {
		if addr.Addr() == ip && one.Alive {
			return true
		}
	}
	return false
}

// importMember takes a member that the process before knew: it counts as vanished until it answers.
func (r *roll) importMember(one Member, now time.Time) {
	if len(r.members) >= maxMembers || r.members[one.Addr] != nil {
		return
	}
	one.Alive = false
	r.members[one.Addr] = &proven{Member: one, inquiry: inquiry{next: now, row: failedAsks}}
}

// forget drops an agent that has vanished.
func (r *roll) forget(id string, now time.Time) {
	for addr, one := range r.members {
		if one.ID == id && !one.Alive && one.Meta.Role == RoleAgent {
			delete(r.members, addr)
			r.gone.Note(addr, now.Add(goneFor), now)
		}
	}
}
