package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/balancer/pool"
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

	// Trusts says whether a node has shown that it has the node key. A command waits for the answers of these; others
	// may be anybody, and have answerGrace. It may be nil: nobody has shown it yet, and all are waited for.
	Trusts func(id string) bool

	// Pools are those whose backends commands are about. SetPools changes them.
	Pools []*pool.Pool

	// Settle is called when a drain command has been followed, before it is answered: it returns once no conn is on its
	// way any more by what was true before. It may wait for a moment, and may be nil.
	Settle func()

	// Refusal says why what an agent announces is not taken here, by its ID; "" where it is. The agent is told when it
	// is asked. It may be nil: nothing is refused.
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

const (
	// reclaimAfter is how long after its death a member's name may come back from another address, as it does where
	// addresses change with restarts. Shorter, and a member that is only slow loses its name.
	reclaimAfter = 5 * time.Second

	// gossipEvery is half of memberlist's usual: what an agent says should be everywhere well within a second.
	gossipEvery = 100 * time.Millisecond

	// streamTimeout bounds a dial and each exchange over TCP. memberlist's 10 s would hold up the dials of others.
	streamTimeout = 5 * time.Second
)

// check is the only place that rejects a config or fills in defaults.
func (c *Config) check() error {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.KeysChanged == nil {
		c.KeysChanged = func([][]byte) {}
	}
	if c.Settle == nil {
		c.Settle = func() {}
	}
	if c.Refusal == nil {
		c.Refusal = func(string) string { return "" }
	}
	switch {
	case c.ID == "" || len(c.ID) > 64 || !printable(c.ID):
		return fmt.Errorf("cluster: ID %.80q is not 1 to 64 printable bytes", c.ID)
	case !c.Bind.IsValid():
		return errors.New("cluster: no address to bind")
	case c.Bind.Addr().IsUnspecified() && !c.Advertise.IsValid():
		return fmt.Errorf("cluster: others cannot dial %s: bind one of this machine's own addresses, or advertise one",
			c.Bind)
	case len(c.Label) > memberlist.LabelMaxSize:
		return fmt.Errorf("cluster: the label has %d bytes, at most %d", len(c.Label), memberlist.LabelMaxSize)
	case c.Keys == nil && !c.Insecure && !c.Bind.Addr().IsLoopback():
		return ErrNoKey
	}
	return c.Meta.check()
}
