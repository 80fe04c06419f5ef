package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/balancer/pool"
	"homing/cluster/bound"
)

// Membership is one member's view of the cluster, and its part in it. Its methods may be called by any goroutine.
//
// A member is alive, or vanished (it does not answer, and its last word was not that it leaves), or it is not known at
// all. Who is one, and what it says, is heard from itself (ask.go, roll.go): what gossip says has it asked. A vanished
// node is dialled forever; a vanished agent is kept until Forget, since its backend may well be up.
type Membership struct {
	// Static after construction.
	cfg       Config
	log       *slog.Logger
	transport *transport // nil with Config.Transport
	list      *memberlist.Memberlist
	addr      netip.AddrPort // that others reach it by
	rejoin    *rejoiner
	wire      memberlist.Transport
	update    bound.Wake  // our metadata changed
	hearing   bound.Wake  // somebody is to be asked
	commands  chan []byte // sealed commands, behind who asks; never closed
	quiet     *bound.Quiet
	gossip    *gossipLog

	// Atomic.
	nodeKeys atomic.Pointer[[][]byte]
	pools    atomic.Pointer[[]*pool.Pool]

	// Owned by whoever applies commands, under applying.
	applying sync.Mutex
	replays  bound.Recent[[nonceBytes]byte] // nonces of commands, for as long as their times are good
	standing standing

	// Guarded by mu, which is never held while memberlist is called.
	mu        sync.Mutex
	meta      Meta   // our own
	encoded   []byte // meta, as memberlist hands it out
	spoken    []byte // the last encoded that memberlist has taken as ours; its own entry is written without our locks
	roll      *roll
	askers    map[string]bool                // while leaving: who has asked since, by ID; else nil
	questions map[[nonceBytes]byte]*question // commands of ours that wait for answers, by nonce
	refusals  map[string]string              // agents: what nodes said last of what is announced, by ID; "": good
}

// Addr is the address that others reach this member by.
func (m *Membership) Addr() netip.AddrPort { return m.addr }

// Self is this member as others see it.
func (m *Membership) Self() Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Member{ID: m.cfg.ID, Addr: m.addr, Meta: m.metaNow(), Alive: true}
}

// Members is the other members that are alive or have vanished, sorted by ID.
func (m *Membership) Members() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	members := make([]Member, 0, len(m.roll.members))
	for _, one := range m.roll.members {
		members = append(members, one.Member)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members
}

// Forget drops an agent that has vanished, once nothing depends on it any more.
func (m *Membership) Forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll.forget(id, time.Now())
}

// Update changes what this member says of itself. f is called once, at once; Run spreads the result. An error says what
// does not fit; nothing has changed then.
func (m *Membership) Update(f func(*Meta)) error {
	m.mu.Lock()
	before := m.meta
	f(&m.meta)
	encoded, err := m.encode()
	if err != nil {
		m.meta = before
	} else {
		m.encoded = encoded
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	m.update.Up()
	return nil
}

// encode gives the wire form of metaNow.
func (m *Membership) encode() ([]byte, error) {
	meta := m.metaNow()
	return meta.AppendBinary(nil)
}

// metaNow is m.meta with the keys of now. m.mu is held, or nobody else knows m yet.
func (m *Membership) metaNow() Meta {
	meta := m.meta
	if m.cfg.Keys != nil {
		meta.Keys = m.cfg.Keys.Prints()
	}
	return meta
}

// ownWord is what this member says of itself.
func (m *Membership) ownWord() word {
	m.mu.Lock()
	defer m.mu.Unlock()
	return word{m.cfg.ID, m.encoded}
}

// knows says that a member is at an address.
func (m *Membership) knows(addr netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roll.knows(addr)
}

// nodes is the other live nodes, as far as it takes to reach them. Those of memberlist itself change under one's hands.
func (m *Membership) nodes() []*memberlist.Node {
	var nodes []*memberlist.Node
	for _, one := range m.Members() {
		if one.Alive && one.Meta.Role == RoleNode {
			nodes = append(nodes, reach(&one))
		}
	}
	return nodes
}

// SetPools replaces the pools whose backends orders are about.
func (m *Membership) SetPools(pools []*pool.Pool) { m.pools.Store(&pools) }

// eachBackend does something to the backend that an order is about, in its pool or in every one.
func (m *Membership) eachBackend(o *Order, do func(*pool.Pool, *pool.Backend) error) error {
	var errs []error
	found := false
	for _, p := range *m.pools.Load() {
		backends := p.Snapshot().All()
		i := slices.IndexFunc(backends, func(b *pool.Backend) bool { return b.Addr.IP() == o.Backend })
		if i >= 0 && (o.Pool == 0 || o.Pool == p.Hash()) {
			errs = append(errs, do(p, backends[i]))
			found = true
		}
	}
	if !found && o.Pool == 0 {
		return fmt.Errorf("no pool of this node has a backend %s", o.Backend)
	} else if !found {
		return fmt.Errorf("the pool of this node has no backend %s", o.Backend)
	}
	return errors.Join(errs...)
}

// question is a command that waits for answers.
type question struct {
	missing map[string]bool // nodes that have not answered; guarded by Membership.mu
	answers chan Answer     // with room for all of them; never closed
}
