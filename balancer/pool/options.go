package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"homing/balancer/netaddr"
)

// SecondChance bounds the replays that rest on an answer of a backend (DESIGN.md section 3.4 b and c).
type SecondChance struct {
	// Auto lets an offer that a guessed backend refused go to another one.
	Auto bool

	// Tries bounds those other backends per conn: 1 to MaxSecondTries. Default DefaultSecondTries.
	Tries int

	// Budget is the share of the pool's new conns that may be replayed, on average, at most MaxSecondTries. It covers
	// rule (b) too, which is always on. Default DefaultSecondBudget.
	Budget float64
}

// What the fields of Options and SecondChance are where they are zero, and how far they go.
const (
	DefaultSecondTries  = 1
	MaxSecondTries      = 8 // of SecondChance.Budget too: second chances per new conn
	DefaultSecondBudget = 0.05

	DefaultFall = 3

	MinLoadFactor     = 1 // below it every backend would be overloaded
	DefaultLoadFactor = 1.5

	// DefaultQueue is how many conns may wait, NoQueue that none may.
	DefaultQueue = 1024
	NoQueue      = -1

	DefaultQueueTimeout   = 5 * time.Second
	DefaultRetryAfter     = 10 * time.Second
	DefaultResolveEvery   = 30 * time.Second
	DefaultResolveTimeout = 5 * time.Second

	// MaxSlowStart bounds Options.SlowStart, whose zero is NoSlowStart.
	MaxSlowStart = 24 * time.Hour
	NoSlowStart  = time.Duration(0)
)

// Options of a pool. The zero value of each field means its default.
type Options struct {
	// Policy chooses the backend of a fresh handshake. Default RoundRobin.
	Policy Policy

	// ECH says that the backends hold ECH keys: a hello with that extension creates no knowledge (DESIGN.md section
	// 3.1).
	ECH bool

	// SecondChance is for offers that a guessed backend has refused.
	SecondChance SecondChance

	// ProxyHeader is the PROXY header that each conn to a backend begins with, checks included. Default ProxyOff.
	ProxyHeader ProxyHeader

	// Sources are addresses of this machine that conns to the backends come from, in turn; each has its own ports. Of
	// the backend's family; a backend without one in the list is connected to from wherever the kernel says. Default:
	// none.
	Sources []netip.Addr

	// Transparent has conns come from their clients' own addresses (Sources are not used then). A client of the other
	// family than the backend's is connected from this machine's address.
	Transparent bool

	// Fall is the number of consecutive failed connects that make a backend doubtful, or mark it down with NoChecks:
	// see ConnectFailed. Default DefaultFall.
	Fall int

	// SlowStart is how long the share of fresh handshakes of a backend that comes up again, or that joins a pool at
	// work, takes to rise from a tenth of its weight to all of it. It is never slow when a pool is made, nor for what
	// Reconfigure leaves in it. It takes Run. At most MaxSlowStart. Default NoSlowStart: at once.
	SlowStart time.Duration

	// OnDown says what becomes of the open conns of a backend that is marked down. Default OnDownKeep.
	OnDown OnDown

	// LoadFactor bounds affinity: a backend with more than 64 + LoadFactor * its weighted mean of open conns is
	// UsableOverloaded. At least MinLoadFactor. Default DefaultLoadFactor.
	LoadFactor float64

	// Queue bounds the conns of this node that wait for a place while every backend that could take them is at its
	// MaxConns; further ones are refused. Default DefaultQueue; NoQueue: none may wait.
	Queue int

	// QueueTimeout bounds how long a conn waits so. Default DefaultQueueTimeout.
	QueueTimeout time.Duration

	// NoChecks says that no active checks run, so that conns must find out when a backend is back: see ConnectFailed.
	NoChecks bool

	// RetryAfter is how long a backend stays down before conns try it again, with NoChecks. Run looks once in a tenth
	// of it. Default DefaultRetryAfter.
	RetryAfter time.Duration

	// ResolveEvery is the longest interval at which Run resolves a name again. It is sooner where the answer holds for
	// less, and where backends of that name are down: at most once a second. Default DefaultResolveEvery.
	ResolveEvery time.Duration

	// ResolveTimeout bounds the resolving of all names together, which New waits for. Default DefaultResolveTimeout.
	ResolveTimeout time.Duration

	// Resolver gives all addresses of a host name. It may be called by several goroutines at once. Default: the
	// system's resolver.
	Resolver func(ctx context.Context, host string) (Answer, error)

	// Node tells this node of a cluster from those on other machines: a unix socket's ID is made of it too. It stays
	// what it was in New. Default: none, for a node that stands alone.
	Node string

	// Discover lets backends join that announced themselves, see SetDiscovered. Such a pool may be empty.
	Discover bool

	// CheckFirst says that active checks run, and that a backend which announces itself gets no conns before one of
	// them has called it up: see Backend.Unchecked.
	CheckFirst bool

	// Refuse says of an address that it cannot be a backend, such as one that conns would come back from: whatever
	// names it, it is left out, see Refused. It may be called by several goroutines at once. Default: none is refused.
	Refuse func(netaddr.Addr) bool

	// Log gets one line per change of a backend's state and per warning, while the pool is locked: it must not wait for
	// its reader. Default: none.
	Log *slog.Logger
}

// check is the only place that rejects options or fills in defaults.
func (o *Options) check() error {
	if o.Fall < 0 || o.RetryAfter < 0 || o.ResolveEvery < 0 || o.ResolveTimeout < 0 || o.QueueTimeout < 0 {
		return errors.New("pool: Fall, RetryAfter, ResolveEvery, ResolveTimeout and QueueTimeout must not be negative")
	}
	if o.LoadFactor != 0 && !(o.LoadFactor >= MinLoadFactor) {
		return fmt.Errorf("pool: the load factor %v is below 1: every backend would be overloaded", o.LoadFactor)
	}
	if o.SlowStart < 0 || o.SlowStart > MaxSlowStart {
		return fmt.Errorf("pool: a slow start of %v: give 0 to %v", o.SlowStart, MaxSlowStart)
	}
	if o.OnDown > OnDownReset {
		return fmt.Errorf("pool: no way to go down has the number %d", o.OnDown)
	}
	if o.Policy > ClientHash {
		return fmt.Errorf("pool: no policy has the number %d", o.Policy)
	}
	if second := &o.SecondChance; second.Tries < 0 || second.Tries > MaxSecondTries {
		return fmt.Errorf("pool: %d second-chance tries: give 1 to %d", second.Tries, MaxSecondTries)
	} else if !(second.Budget >= 0 && second.Budget <= MaxSecondTries) {
		const text = "pool: a second-chance budget of %v: give 0 to %d second chances per conn"
		return fmt.Errorf(text, second.Budget, MaxSecondTries)
	}
	o.SecondChance.Tries = cmp.Or(o.SecondChance.Tries, DefaultSecondTries)
	o.SecondChance.Budget = cmp.Or(o.SecondChance.Budget, DefaultSecondBudget)
	o.Fall = cmp.Or(o.Fall, DefaultFall)
	o.Queue = cmp.Or(o.Queue, DefaultQueue)
	o.QueueTimeout = cmp.Or(o.QueueTimeout, DefaultQueueTimeout)
	o.LoadFactor = cmp.Or(o.LoadFactor, DefaultLoadFactor)
	o.RetryAfter = cmp.Or(o.RetryAfter, DefaultRetryAfter)
	o.ResolveEvery = cmp.Or(o.ResolveEvery, DefaultResolveEvery)
	o.ResolveTimeout = cmp.Or(o.ResolveTimeout, DefaultResolveTimeout)
	if o.Resolver == nil {
		o.Resolver = askSystem
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return nil
}

// ProxyHeader says by which version of the PROXY protocol backends are told whom a conn is from.
type ProxyHeader uint8

// The versions.
const (
	ProxyOff ProxyHeader = iota
	ProxyV1              // a line of text: addresses
	ProxyV2              // binary, with the server name and the protocol that the client offers first
)

func (h ProxyHeader) String() string { return [...]string{"off", "v1", "v2"}[h] }

// OnDown says what becomes of the open conns of a backend that is marked down.
type OnDown uint8

const (
	// OnDownKeep leaves them open: a backend may be slow to answer checks and still serve whom it has.
	OnDownKeep OnDown = iota
	// OnDownReset resets them, so that clients connect anew, elsewhere, without waiting for a timeout of their own.
	OnDownReset
)

func (o OnDown) String() string { return [...]string{"keep", "reset"}[o] }

// word is the name of value i of an enum.
func word(i int, words ...string) string {
	if i < len(words) {
		return words[i]
	}
	return "invalid"
}
