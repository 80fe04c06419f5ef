//go:build linux

package balancer

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
)

// Stats are the sums over all loops since the start; Open, Handshakes, PreHello,
// BufferBytes and ConnBytes are of now. Counters never go back, whatever a reload removes.
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
	MemoryLimit  int64 // in bytes
	Sources      SourceLimits
}

// ListenerStats are one listener's part of Stats.
type ListenerStats struct {
	Name         string
	Accepted     uint64
	Open         uint64
	MaxConns     int // of Open, now; 0: no limit
	NoAccepts    uint64
	Held         [NumHolds]time.Duration // in which clients were left waiting in the queues of the kernel, all loops together
	Hellos       [NumHelloOutcomes]uint64
	Refused      [NumRefusals]uint64
	Terminations [NumCauses][NumPhases]uint64 // of conns that ended before they were in a pool
}

// PoolStats are one pool's part of Stats.
type PoolStats struct {
	Name string
	Open uint64
	// Bytes of conns that have ended.
	BytesIn, BytesOut uint64
	Terminations      [NumCauses][NumPhases]uint64 // of conns that ended in the pool
	PoolCounts
}

// PoolCounts are what is counted by pool.
type PoolCounts struct {
	Routed        uint64 // conns that came into a pool
	Offers        [affinity.NumOfferKinds]uint64
	Routes        [affinity.NumSources]uint64
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

	ConnectTimes Histogram // of conns that have a backend: from the hello, without what they waited in the queue, to the backend's having it
	AnswerTimes  Histogram // of those whose hello was read: from there to the backend's first byte

	Waiting       uint64        // conns in the queue, now
	Queued        uint64        // conns that have waited in it
	QueueTimeouts uint64        // of them, those that waited in vain
	QueueFull     uint64        // conns refused because as many waited as may
	QueueTime     time.Duration // that conns have spent in it, together
}

// counters are one loop's own share of Stats. The loop writes, anybody reads; so it
// is with the counters by listener and by pool.
type counters struct {
	accepted, open, bytesIn, bytesOut, spliced atomic.Uint64
	shed, recordsDropped, handshakes, young    atomic.Uint64
}

// listenerCounters are one loop's share of ListenerStats.
type listenerCounters struct {
	accepted, open atomic.Uint64
	noAccepts      atomic.Uint64
	held           [NumHolds]atomic.Uint64 // ns
	hellos         [NumHelloOutcomes]atomic.Uint64
	refused        [NumRefusals]atomic.Uint64
	terminations   [NumCauses][NumPhases]atomic.Uint64
}

// poolCounters are one loop's share of PoolStats.
type poolCounters struct {
	routed, open, bytesIn, bytesOut          atomic.Uint64
	terminations                             [NumCauses][NumPhases]atomic.Uint64
	offers                                   [affinity.NumOfferKinds]atomic.Uint64
	routes                                   [affinity.NumSources]atomic.Uint64
	verdicts                                 [affinity.NumOfferKinds][NumVerdicts]atomic.Uint64
	lost                                     [NumLost]atomic.Uint64
	issuedIDs, issuedTickets, excess         atomic.Uint64
	connects, connectFailures                atomic.Uint64
	replays, secondChances, noBudget, nobody atomic.Uint64

	connectTimeouts, handshakeTimeouts atomic.Uint64
	noPorts, noDescriptors, noSockets  atomic.Uint64

	waiting, queued, queueTimeouts, queueFull, queueTime atomic.Uint64

	connectTimes, answerTimes histogram
}

// Stats sums up what the loops have counted.
func (b *Balancer) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Stats{Limits: b.set.cfg.limits()}
	listeners, pools := map[string]*ListenerStats{}, map[string]*PoolStats{}
	for i, l := range b.loops {
		l.count.addTo(&s)
		s.BufferBytes += uint64(l.buffers.Used())
		for name, c := range b.blocks[i].listeners {
			c.addTo(entry(listeners, name))
		}
		for name, share := range b.blocks[i].shares {
			share.count.addTo(entry(pools, name))
		}
	}
	for name, one := range listeners {
		one.Name = name
		s.NoAccepts += one.NoAccepts
		add(s.Hellos[:], one.Hellos[:])
		add(s.Refused[:], one.Refused[:])
		addTerminations(&s.Terminations, &one.Terminations)
		if i := slices.IndexFunc(b.set.cfg.Listeners, func(ln Listener) bool { return ln.Name == name }); i >= 0 {
			one.MaxConns = b.set.cfg.Listeners[i].MaxConns
		} else if one.Open == 0 {
			delete(listeners, name)
		}
	}
	for name, one := range pools {
		one.Name = name
		s.add(&one.PoolCounts)
		addTerminations(&s.Terminations, &one.Terminations)
		if one.Open == 0 && !b.set.hasPool(name) {
			delete(pools, name)
		}
	}
	for one := range maps.Values(listeners) {
		s.Listeners = append(s.Listeners, *one)
	}
	for one := range maps.Values(pools) {
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

func (c *listenerCounters) addTo(s *ListenerStats) {
	s.Accepted += c.accepted.Load()
	s.Open += c.open.Load()
	s.NoAccepts += c.noAccepts.Load()
	for i := range c.held {
		s.Held[i] += time.Duration(c.held[i].Load())
	}
	addAll(s.Hellos[:], c.hellos[:])
	addAll(s.Refused[:], c.refused[:])
	for i := range c.terminations {
		addAll(s.Terminations[i][:], c.terminations[i][:])
	}
}

func (c *poolCounters) addTo(s *PoolStats) {
	s.Open += c.open.Load()
	s.BytesIn += c.bytesIn.Load()
	s.BytesOut += c.bytesOut.Load()
	for i := range c.terminations {
		addAll(s.Terminations[i][:], c.terminations[i][:])
	}
	s.Routed += c.routed.Load()
	addAll(s.Offers[:], c.offers[:])
	addAll(s.Routes[:], c.routes[:])
	for i := range c.verdicts {
		addAll(s.Verdicts[i][:], c.verdicts[i][:])
	}
	addAll(s.Lost[:], c.lost[:])
	s.IssuedIDs += c.issuedIDs.Load()
	s.IssuedTickets += c.issuedTickets.Load()
	s.Excess += c.excess.Load()
	s.Connects += c.connects.Load()
	s.ConnectFailures += c.connectFailures.Load()
	s.ConnectTimeouts += c.connectTimeouts.Load()
	s.NoPorts += c.noPorts.Load()
	s.NoDescriptors += c.noDescriptors.Load()
	s.NoSockets += c.noSockets.Load()
	s.HandshakeTimeouts += c.handshakeTimeouts.Load()
	c.connectTimes.addTo(&s.ConnectTimes)
	c.answerTimes.addTo(&s.AnswerTimes)
	s.Replays += c.replays.Load()
	s.SecondChances += c.secondChances.Load()
	s.NoBudget += c.noBudget.Load()
	s.Unroutable += c.nobody.Load()
	s.Waiting += c.waiting.Load()
	s.Queued += c.queued.Load()
	s.QueueTimeouts += c.queueTimeouts.Load()
	s.QueueFull += c.queueFull.Load()
	s.QueueTime += time.Duration(c.queueTime.Load())
}

func (s *PoolCounts) add(one *PoolCounts) {
	s.Routed += one.Routed
	add(s.Offers[:], one.Offers[:])
	add(s.Routes[:], one.Routes[:])
	for i := range s.Verdicts {
		add(s.Verdicts[i][:], one.Verdicts[i][:])
	}
	add(s.Lost[:], one.Lost[:])
	s.IssuedIDs += one.IssuedIDs
	s.IssuedTickets += one.IssuedTickets
	s.Excess += one.Excess
	s.Connects += one.Connects
	s.ConnectFailures += one.ConnectFailures
	s.ConnectTimeouts += one.ConnectTimeouts
	s.NoPorts += one.NoPorts
	s.NoDescriptors += one.NoDescriptors
	s.NoSockets += one.NoSockets
	s.HandshakeTimeouts += one.HandshakeTimeouts
	s.ConnectTimes.add(&one.ConnectTimes)
	s.AnswerTimes.add(&one.AnswerTimes)
	s.Replays += one.Replays
	s.SecondChances += one.SecondChances
	s.NoBudget += one.NoBudget
	s.Unroutable += one.Unroutable
	s.Waiting += one.Waiting
	s.Queued += one.Queued
	s.QueueTimeouts += one.QueueTimeouts
	s.QueueFull += one.QueueFull
	s.QueueTime += one.QueueTime
}

func addTerminations(to, from *[NumCauses][NumPhases]uint64) {
	for i := range to {
		add(to[i][:], from[i][:])
	}
}

func add(to, from []uint64) {
	for i := range from {
		to[i] += from[i]
	}
}

func addAll(to []uint64, from []atomic.Uint64) {
	for i := range from {
		to[i] += from[i].Load()
	}
}

const (
	// leastTime is the upper bound of a Histogram's first bucket; each further one is twice as wide. A backend in the same
	// rack answers a connect in a tenth of it.
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

// histogram is one loop's share of a Histogram.
type histogram struct {
	counts [NumTimes + 1]atomic.Uint64
	sum    atomic.Uint64 // ns
}

// count takes no time worth mentioning: the bounds are powers of two.
func (h *histogram) count(d time.Duration) {
	d = max(d, 0) // the clock is read once a batch: what lies within one took no time
	h.counts[min(bits.Len64(uint64(max(d-1, 0)/leastTime)), NumTimes)].Add(1)
	h.sum.Add(uint64(d))
}

func (h *histogram) addTo(s *Histogram) {
	addAll(s.Counts[:], h.counts[:])
	s.Sum += time.Duration(h.sum.Load())
}

func (s *Histogram) add(one *Histogram) {
	add(s.Counts[:], one.Counts[:])
	s.Sum += one.Sum
}
