package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/balancer/pool"
	"homing/cluster/internal/bound"
)

// Config of a Membership.
type Config struct {
	// ID names the member. It must be unique and should outlive a restart, see NewID.
	ID string

	// Bind is the address that gossip listens on, TCP and UDP: an IP address and a port; port 0 takes a free one.
	Bind netip.AddrPort

	// Advertise is the address that others reach it by, where that is another one. Default: Bind.
	Advertise netip.AddrPort

	// Join is the seeds: HOST:PORT of members that are, or will be, there. They are dialled for as long as Run runs.
	Join []string

	// Label keeps clusters apart that meet by mistake; at most 255 bytes. It is no secret.
	Label string

	// Keys encrypts and authenticates. Without it anybody who reaches the address is a member, so New refuses an
	// address that is not loopback, unless Insecure.
	Keys     *Keyring
	Insecure bool

	// Meta is what the member says of itself at first; Keys is filled in. Update changes it.
	Meta Meta

	// NodeKeys opens commands; none: they are ignored. Only nodes have it. SetNodeKeys changes it.
	NodeKeys [][]byte

	// Trusts says whether a node has shown that it has the node key. A command waits for the answers of these; others may
	// be anybody, and have answerGrace. It may be nil: nobody has shown it yet, and all are waited for.
	Trusts func(id string) bool

	// Pools are those whose backends commands are about. SetPools changes them.
	Pools []*pool.Pool

	// Settle is called when a drain command has been followed, before it is answered: it returns once no conn is on its
	// way any more by what was true before. It may wait for a moment, and may be nil.
	Settle func()

	// Refusal says why what an agent announces is not taken here, by its ID; "" where it is. The agent is told when it is
	// asked. It may be nil: nothing is refused.
	Refusal func(id string) string

	// KeysChanged is called when a key command has changed the ring, to keep it. It may be nil.
	KeysChanged func(keys [][]byte)

	// Changed is called when Members would say something else than before. It must not block. It may be nil.
	Changed func()

	// Log gets a line per member that comes and goes, and memberlist's own. Default: none.
	Log *slog.Logger

	// Sockets are those of the process that this one takes over from, bound to Bind: they replace Bind, and are not
	// listened to before Run. Create owns them, also when it fails.
	Sockets *GossipSockets

	// Transport replaces TCP and UDP, in tests.
	Transport memberlist.Transport

	// forget is memberlist's GossipToTheDeadTime where that is another one, in tests.
	forget time.Duration

	// answers is answerTimeout where that is another one, in tests.
	answers time.Duration
}

// ErrNoKey refuses to listen without a key where others than this machine's users could join.
var ErrNoKey = errors.New("cluster: without a gossip key only a loopback address is safe")

// NewID makes a random name for a member.
func NewID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

const (
	// reclaimAfter is how long after its death a member's name may come back from another address, as it does where
	// addresses change with restarts. Shorter, and a member that is only slow loses its name.
	reclaimAfter = 5 * time.Second

	// gossipEvery is half of memberlist's usual: what an agent says should be everywhere well within a second.
	gossipEvery = 100 * time.Millisecond

	// streamTimeout bounds a dial and each exchange over TCP. memberlist's 10 s would hold up the dials of others.
	streamTimeout = 5 * time.Second

	// maxSpeak bounds the tries to hand memberlist a change. Each needs a refutation at the same moment to fail, which
	// comes with exchanges of all state; more than two in a row are not to be expected.
	maxSpeak = 100
)

// check is the only place that rejects a config or fills in defaults.
func (c *Config) check() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.KeysChanged == nil {
		c.KeysChanged = func([][]byte) {}
	}
	if c.Settle == nil {
		c.Settle = func() {}
	}
	switch {
	case c.ID == "" || len(c.ID) > 64 || !printable(c.ID):
		return fmt.Errorf("cluster: ID %.80q is not 1 to 64 printable bytes", c.ID)
	case !c.Bind.IsValid():
		return errors.New("cluster: no address to bind")
	case c.Bind.Addr().IsUnspecified() && !c.Advertise.IsValid():
		return fmt.Errorf("cluster: others cannot dial %s: bind one of this machine's own addresses, or advertise one", c.Bind)
	case len(c.Label) > memberlist.LabelMaxSize:
		return fmt.Errorf("cluster: the label has %d bytes, at most %d", len(c.Label), memberlist.LabelMaxSize)
	case c.Keys == nil && !c.Insecure && !c.Bind.Addr().IsLoopback():
		return ErrNoKey
	}
	return c.Meta.check()
}

func (c *Config) memberlist(m *Membership) *memberlist.Config {
	conf := memberlist.DefaultLANConfig()
	conf.Name = c.ID
	conf.Transport = c.Transport
	conf.BindAddr, conf.BindPort = c.Bind.Addr().String(), int(c.Bind.Port())
	if m.transport != nil {
		conf.Transport, conf.BindPort = m.transport, int(bound.AddrOf(m.transport.tcp.Addr()).Port())
	}
	conf.AdvertisePort = conf.BindPort
	if c.Advertise.IsValid() {
		conf.AdvertiseAddr = c.Advertise.Addr().String()
		if c.Bind.Port() != 0 {
			conf.AdvertisePort = int(c.Advertise.Port())
		}
	}
	conf.Label = c.Label
	if c.Keys != nil {
		conf.Keyring = c.Keys.ring
	}
	conf.TCPTimeout = streamTimeout
	conf.GossipInterval = gossipEvery
	conf.DeadNodeReclaimTime = reclaimAfter
	conf.GossipToTheDeadTime = cmp.Or(c.forget, conf.GossipToTheDeadTime)
	conf.EnableCompression = false // our messages are small, and what is not decompressed cannot blow up
	conf.Delegate, conf.Events, conf.Conflict, conf.Alive = m, m, m, m
	conf.Logger = slog.NewLogLogger(newGossipLog(c.Log.Handler()), slog.LevelDebug)
	return conf
}

// Member is another member as it is known here.
type Member struct {
	ID   string
	Addr netip.AddrPort // of its gossip
	Meta Meta

	// Alive is false for a member that vanished: it neither answers nor has it left on purpose.
	Alive bool

	// Since is when it first answered at its address, under its ID, to this node or the process before it.
	Since time.Time
}

// Create starts a member: it listens, and knows nobody until Run dials. An error that wraps ErrNoKey refuses the
// address; others say what the system refused.
func Create(cfg Config) (*Membership, error) {
	if err := cfg.check(); err != nil {
		return nil, errors.Join(err, cfg.Sockets.close())
	}
	m := &Membership{
		cfg: cfg, log: cfg.Log,
		update:   make(bound.Wake, 1),
		commands: make(chan []byte, 16),
		meta:     cfg.Meta,
		hearing:  make(bound.Wake, 1),
		quiet:    bound.NewQuiet(cfg.Log),
		refusals: make(map[string]string), replays: replays{Max: maxReplays}, standing: make(standing),
		roll: newRoll(cfg.Meta.Role == RoleAgent), questions: make(map[[nonceBytes]byte]*question),
	}
	m.meta.Standing = cfg.Meta.Role == RoleNode
	m.pools.Store(&m.cfg.Pools)
	m.SetNodeKeys(cfg.NodeKeys)
	m.rejoin = &rejoiner{
		now: time.Now, log: cfg.Log, wake: make(bound.Wake, 1), plan: newRejoin(cfg.Join),
		join: m.dial,
	}
	if err := m.open(); err != nil {
		if m.transport != nil {
			err = errors.Join(err, m.transport.Shutdown())
		}
		return nil, err
	}
	return m, nil
}

// open makes the sockets, and memberlist over them.
func (m *Membership) open() (err error) {
	cfg := &m.cfg
	switch {
	case cfg.Sockets != nil:
		m.transport = transportOver(cfg.Sockets.TCP, cfg.Sockets.UDP, cfg.Log)
		m.transport.door.Known = m.knows
		m.wire = m.transport
	case cfg.Transport == nil:
		if m.transport, err = newTransport(cfg.Bind, cfg.Log); err != nil {
			return fmt.Errorf("cluster: listen on %s: %w", cfg.Bind, err)
		}
		m.wire = m.transport
		m.transport.door.Known = m.knows
	default:
		m.wire = cfg.Transport
	}
	if m.encoded, err = m.encode(); err != nil {
		return err
	}
	if m.list, err = memberlist.Create(cfg.memberlist(m)); err != nil {
		return fmt.Errorf("cluster: gossip on %s: %w", cfg.Bind, err)
	}
	// Read once: memberlist writes its own entry again at each change, without a lock that others can take.
	node := m.list.LocalNode()
	m.addr = addrOf(node.Addr, node.Port)
	if m.transport != nil && cfg.Sockets == nil {
		m.transport.listen()
	}
	return nil
}

// dial meets whoever is at an address, and all whom that one knows.
func (m *Membership) dial(addr string) error {
	_, err := m.list.Join([]string{addr})
	if err == nil {
		return nil
	}
	_, text, found := strings.Cut(err.Error(), "* ") // memberlist makes a list with bullets of it
	if !found {
		return err
	}
	return errors.New(strings.Join(strings.Fields(text), " "))
}

// Addr is the address that others reach this member by.
func (m *Membership) Addr() netip.AddrPort { return m.addr }

// Run dials seeds and nodes that are missing, applies commands and tells others what Update changed, until ctx is
// done. It must run for the membership to be of use.
func (m *Membership) Run(ctx context.Context) {
	if m.transport != nil {
		m.transport.listen()
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { m.rejoin.run(ctx) })
	running.Go(func() { m.inquire(ctx) })
	lines := time.NewTicker(bound.LogEvery)
	defer lines.Stop()
	orders := time.NewTicker(ordersEvery)
	defer orders.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-lines.C:
			m.quiet.Sweep()
		case <-orders.C:
			m.FollowOrders()
		case message := <-m.commands:
			m.receiveCommand(message)
		case <-m.update:
			// Gossip is quick but may miss somebody until the next exchange of all state, so there is one now.
			m.speak()
			m.rejoin.change((*rejoin).hurry)
		}
	}
}

// speak hands memberlist what Update changed. UpdateNode draws its incarnation before it takes the lock: when somebody
// tells us an older word of ours in between, as always happens to an heir, the refutation has a higher one, and memberlist
// drops the change without an error. Only its NotifyUpdate shows that it has been taken.
func (m *Membership) speak() {
	for range maxSpeak {
		// The change counts when UpdateNode returns, gossiped or not: its error says no more than that it did not wait.
		_ = m.list.UpdateNode(time.Nanosecond)
		m.mu.Lock()
		taken := bytes.Equal(m.spoken, m.encoded)
		m.mu.Unlock()
		if taken {
			return
		}
	}
	m.log.Warn("cluster: gossip does not take what this member says of itself")
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

// encode gives the wire form of m.meta with the keys of now. m.mu is held, or nobody else knows m yet.
func (m *Membership) encode() ([]byte, error) {
	meta := m.meta
	if m.cfg.Keys != nil {
		meta.Keys = m.cfg.Keys.Prints()
	}
	return meta.AppendBinary(nil)
}

// Leave tells the others that this member leaves on purpose, and waits until they know, for about the given time at most.
// Call it once Run has returned.
func (m *Membership) Leave(timeout time.Duration) error {
	if err := m.Update(func(meta *Meta) { meta.State = StateLeaving }); err != nil {
		return err
	}
	m.mu.Lock()
	m.askers = make(map[string]bool)
	m.mu.Unlock()
	// First the state, then the departure: memberlist reports a departure like a death, and its news replace older
	// ones of the same member that have not gone out yet. The nodes get the state by TCP, as gossip may miss one.
	m.speak()
	if err := m.list.UpdateNode(timeout / 2); err != nil {
		m.log.Debug("cluster: leaving", slog.Any("error", err))
	}
	m.tellNodes(timeout / 4)
	m.awaitAskers(timeout / 4)
	if err := m.list.Leave(timeout / 4); err != nil {
		return fmt.Errorf("cluster: leave: %w", err)
	}
	return nil
}

// awaitAskers waits until every live node has asked since Leave began, for they believe it of nobody else; one of an
// older release does not ask.
func (m *Membership) awaitAskers(timeout time.Duration) {
	nodes := m.nodes()
	ticker := time.NewTicker(gossipEvery / 10)
	defer ticker.Stop()
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); <-ticker.C {
		m.mu.Lock()
		missing := slices.ContainsFunc(nodes, func(node *memberlist.Node) bool { return !m.askers[node.Name] })
		m.mu.Unlock()
		if !missing {
			return
		}
	}
}

// tellNodes exchanges all state with every live node, all at once, and waits for it, but not longer than the given time.
func (m *Membership) tellNodes(timeout time.Duration) {
	nodes := m.nodes()
	told := make(chan struct{}, len(nodes))
	for _, node := range nodes {
		go func() {
			_ = m.dial(node.Address()) // one that does not answer finds out by itself
			told <- struct{}{}
		}()
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for range nodes {
		select {
		case <-told:
		case <-timer.C:
			return
		}
	}
}

// Shutdown stops listening. Without Leave before, it is a crash to the others. It may be called more than once.
func (m *Membership) Shutdown() error {
	if err := m.list.Shutdown(); err != nil {
		return fmt.Errorf("cluster: shutdown: %w", err)
	}
	return nil
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

// Self is this member as others see it.
func (m *Membership) Self() Member {
	addr := m.Addr()
	m.mu.Lock()
	defer m.mu.Unlock()
	meta := m.meta
	if m.cfg.Keys != nil {
		meta.Keys = m.cfg.Keys.Prints()
	}
	return Member{ID: m.cfg.ID, Addr: addr, Meta: meta, Alive: true}
}

// Forget drops an agent that has vanished, once nothing depends on it any more.
func (m *Membership) Forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll.forget(id, time.Now())
}

func addrOf(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip) // invalid when it is none
	return netip.AddrPortFrom(addr.Unmap(), port)
}

func hostPort(addr netip.AddrPort) string {
	return net.JoinHostPort(addr.Addr().String(), strconv.Itoa(int(addr.Port())))
}
