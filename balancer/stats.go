//go:build linux

package balancer

import (
	"cmp"
	"fmt"
	"math/bits"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
)

// Stats are the sums over all loops since the start; Open, Handshakes, PreHello, BufferBytes and ConnBytes are of now.
// Counters never go back, whatever a reload removes.
type Stats struct {
	Accepted       uint64 // client connections taken
	Open           uint64
	BytesIn        uint64 // received from clients
	BytesOut       uint64 // received from backends
	Spliced        uint64 // of both, moved by splice
	Hellos         [NumHelloOutcomes]uint64
	Refused        [NumRefusals]uint64 // conns that the rules of a listener refused
	Terminations   [NumCauses][NumPhases]uint64
	NoAccepts      uint64 // accepts that failed for want of a descriptor, EMFILE or ENFILE, or of memory
	Shed           uint64 // conns dropped because buffer memory ran short
	RecordsDropped uint64 // conn records that the log could not take in time
	Handshakes     uint64
	PreHello       uint64 // conns without a whole hello, now
	BufferBytes    uint64
	ConnBytes      uint64 // memory of conns and handshakes, now, without buffers

	Limits Limits // of now

	PoolCounts // of all pools together

	Listeners []ListenerStats // those of now, and those with open conns, by name
	Pools     []PoolStats     // those of now, and those with open conns, by name
}

// Limits are the bounds that Stats may be compared with. 0: there is none.
type Limits struct {
	MaxConns     int   // of Open
	MaxPreHello  int   // of PreHello
	BufferMemory int64 // of BufferBytes
	ConnMemory   int64 // of ConnBytes, in bytes: the part of MemoryLimit that is for conns
	Clients      ClientLimits
}

// ListenerStats are one listener's part of Stats.
type ListenerStats struct {
	ListenerCounts // first, or a machine of 32 bits cannot read them atomically

	Name     string
	MaxConns int // of Open, now; 0: no limit
}

// ListenerCounts are what is counted by listener.
type ListenerCounts struct {
	Accepted     uint64
	Open         uint64
	NoAccepts    uint64
	Held         [NumHolds]time.Duration // in which clients waited in the queues of the kernel, all loops together
	Hellos       [NumHelloOutcomes]uint64
	Refused      [NumRefusals]uint64
	Terminations [NumCauses][NumPhases]uint64 // of conns that ended before they were in a pool
}

// PoolStats are one pool's part of Stats.
type PoolStats struct {
	PoolCounts // first, as above

	Name string
}

// PoolCounts are what is counted by pool.
type PoolCounts struct {
	Open uint64
	// Bytes of conns that have ended.
	BytesIn, BytesOut uint64
	Terminations      [NumCauses][NumPhases]uint64 // of conns that ended in the pool

	Routed        uint64 // conns that came into a pool
	Offers        [affinity.NumOfferKinds]uint64
	Decisions     [affinity.NumSources]uint64
	Verdicts      [affinity.NumOfferKinds][NumVerdicts]uint64
	Lost          [NumLost]uint64
	IssuedIDs     uint64 // session IDs learned from their issue
	IssuedTickets uint64
	Excess        uint64 // answers in clear that went on for longer than a handshake does: not read to the end

	Connects        uint64 // tried
	ConnectFailures uint64 // refused, unreachable, forbidden or timed out
	ConnectTimeouts uint64 // of them, timed out
	NoPorts         uint64 // connects without a source port, or from an address that is not this machine's: EADDRNOTAVAIL
	NoDescriptors   uint64 // connects without a descriptor: EMFILE or ENFILE
	NoSockets       uint64 // connects that this machine could not make for another reason: memory, a right
	Replays         uint64 // connects after a failed connect
	SecondChances   uint64 // connects after an answer (DESIGN.md 3.4 b and c)
	NoBudget        uint64 // second chances that the budget forbade
	Unroutable      uint64 // conns that no backend took

	HandshakeTimeouts uint64 // conns whose TLS handshake was not over in time

	ConnectTimes Histogram // of conns that have a backend: from the hello, but for the queue, to the backend's having it
	AnswerTimes  Histogram // of those whose hello was read: from there to the backend's first byte

	Waiting       uint64        // conns in the queue, now
	Queued        uint64        // conns that have waited in it
	QueueTimeouts uint64        // of them, those that waited in vain
	QueueFull     uint64        // conns refused because as many waited as may
	QueueTime     time.Duration // that conns have spent in it, together
}

// counters are one loop's own share of Stats. The loop writes, anybody reads; so it is with its shares of
// ListenerCounts and PoolCounts, which it writes by inc, dec and addTime.
type counters struct {
	accepted, open, bytesIn, bytesOut, spliced atomic.Uint64
	shed, recordsDropped, handshakes, young    atomic.Uint64
}

func inc(n *uint64) { atomic.AddUint64(n, 1) }

func dec(n *uint64) { atomic.AddUint64(n, ^uint64(0)) }

func addTime(n *time.Duration, d time.Duration) { atomic.AddInt64((*int64)(n), int64(d)) }

// add adds from, which a loop may write meanwhile, to to: a count or a time, an array of them, or a struct of such.
func add[T any](to, from *T) { addValues(reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem()) }

func addValues(to, from reflect.Value) {
	if to.Kind() == reflect.Struct {
		for i := range to.NumField() {
			addValues(to.Field(i), from.Field(i))
		}
		return
	}
	if to.Kind() == reflect.Array {
		for i := range to.Len() {
			addValues(to.Index(i), from.Index(i))
		}
		return
	}
	switch n := from.Addr().Interface().(type) {
	case *uint64:
		to.SetUint(to.Uint() + atomic.LoadUint64(n))
	case *time.Duration:
		to.SetInt(to.Int() + atomic.LoadInt64((*int64)(n)))
	default:
		panic(fmt.Sprintf("a count of the type %s", to.Type()))
	}
}

// Stats sums up what the loops have counted.
func (b *Balancer) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Limits: b.set.cfg.limits()}
	listeners, pools := map[string]*ListenerStats{}, map[string]*PoolStats{}
	for _, l := range b.loops {
		l.count.addTo(&s)
		s.BufferBytes += uint64(l.buffers.Used())
		for name, count := range l.listeners {
			add(&entry(listeners, name).ListenerCounts, count)
		}
		for name, share := range l.shares {
			add(&entry(pools, name).PoolCounts, &share.count)
		}
	}
	for name, one := range listeners {
		one.Name = name
		s.NoAccepts += one.NoAccepts
		add(&s.Hellos, &one.Hellos)
		add(&s.Refused, &one.Refused)
		add(&s.Terminations, &one.Terminations)
		if i := slices.IndexFunc(b.set.cfg.Listeners, func(ln Listener) bool { return ln.Name == name }); i >= 0 {
			one.MaxConns = b.set.cfg.Listeners[i].MaxConns
		} else if one.Open == 0 {
			delete(listeners, name)
		}
	}
	for name, one := range pools {
		one.Name = name
		add(&s.PoolCounts, &one.PoolCounts)
		add(&s.Terminations, &one.Terminations)
		if one.Open == 0 && !b.set.hasPool(name) {
			delete(pools, name)
		}
	}
	for _, one := range listeners {
		s.Listeners = append(s.Listeners, *one)
	}
	for _, one := range pools {
		s.Pools = append(s.Pools, *one)
	}
	slices.SortFunc(s.Listeners, func(a, b ListenerStats) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Pools, func(a, b PoolStats) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// entry is m's value for name, made when there is none.
func entry[T any](m map[string]*T, name string) *T {
	if m[name] == nil {
		m[name] = new(T)
	}
	return m[name]
}

func (c *counters) addTo(s *Stats) {
	s.Accepted += c.accepted.Load()
	s.Open += c.open.Load()
	s.BytesIn += c.bytesIn.Load()
	s.BytesOut += c.bytesOut.Load()
	s.Spliced += c.spliced.Load()
	s.Shed += c.shed.Load()
	s.RecordsDropped += c.recordsDropped.Load()
	s.Handshakes += c.handshakes.Load()
	s.PreHello += c.young.Load()
	s.ConnBytes += c.open.Load()*connBytes + c.handshakes.Load()*handshakeBytes
}

const (
	// leastTime is the upper bound of a Histogram's first bucket; each further one is twice as wide. A backend in the
	// same rack answers a connect in a tenth of it.
	leastTime = 250 * time.Microsecond

	// NumTimes is how many bounds there are: the last is 8.192 s, more than all tries to connect take by default.
	NumTimes = 16
)

// Histogram counts times by size. Counts[i] are those of at most TimeBound(i) that are above TimeBound(i-1), the last
// those above all bounds.
type Histogram struct {
	Counts [NumTimes + 1]uint64
	Sum    time.Duration
}

// TimeBound is the upper bound of a Histogram's bucket i, 0 to NumTimes-1.
func TimeBound(i int) time.Duration { return leastTime << i }

// count takes no time worth mentioning: the bounds are powers of two.
func (h *Histogram) count(d time.Duration) {
	d = max(d, 0) // the clock is read once a batch: what lies within one took no time
	inc(&h.Counts[min(bits.Len64(uint64(max(d-1, 0)/leastTime)), NumTimes)])
	addTime(&h.Sum, d)
}
