package pool

import "sync/atomic"

// Tally is what a backend has had since it joined the pool at this node.
type Tally = TallyOf[uint64]

// TallyOf is a Tally of counters: those of a backend loops write and anybody reads.
type TallyOf[N any] struct {
	Conns    N // that reached it
	Fresh    N // of them, without an offer that was recognised
	Accepted N // offers that it resumed
	Refused  N // offers that it answered with a full handshake
	Lost     N // offers that were its own and not resumed: it refused them, or could not be used
	BytesIn  N // from clients to it
	BytesOut N // from it to clients
	Passed   N // checks that found nothing wrong
	Failed   N // checks that failed, for whatever reason
}

// counters lie apart from what pickers read for every conn.
type counters struct {
	_                 [64]byte // a cache line
	tally             TallyOf[atomic.Uint64]
	reached, answered atomic.Uint64
}

// Tally reads the counters.
func (b *Backend) Tally() Tally {
	c := &b.count.tally
	return Tally{
		Conns: c.Conns.Load(), Fresh: c.Fresh.Load(), Accepted: c.Accepted.Load(), Refused: c.Refused.Load(),
		Lost: c.Lost.Load(), BytesIn: c.BytesIn.Load(), BytesOut: c.BytesOut.Load(), Passed: c.Passed.Load(),
		Failed: c.Failed.Load(),
	}
}

// Reached is the number of connects to the backend that have succeeded at this node. While it grows the backend lives,
// whatever else is said of it, and no client can make it grow.
func (b *Backend) Reached() uint64 { return b.count.reached.Load() }

// Answered is the number of conns in which the backend has said something. It too only grows while the backend lives.
func (b *Backend) Answered() uint64 { return b.count.answered.Load() }

// CountAnswer counts the first bytes of the backend in a conn.
func (b *Backend) CountAnswer() { b.count.answered.Add(1) }

// CountConn counts a conn whose backend is final.
func (b *Backend) CountConn(fresh bool) {
	b.count.tally.Conns.Add(1)
	if fresh {
		b.count.tally.Fresh.Add(1)
	}
}

// CountVerdict counts the backend's answer to an offer.
func (b *Backend) CountVerdict(accepted bool) {
	if accepted {
		b.count.tally.Accepted.Add(1)
	} else {
		b.count.tally.Refused.Add(1)
	}
}

// CountLost counts an offer of the backend's own that was not resumed.
func (b *Backend) CountLost() { b.count.tally.Lost.Add(1) }

// TallyStep is by how many bytes of one direction a conn's traffic is counted while it is open: the rest follows at its
// end. So a conn needs no count of its own of what was counted.
const TallyStep = 1 << 16

// CountBytes counts what a flow has carried since it had carried `before` bytes, as far as it has passed multiples of
// TallyStep. in: from the client.
func (b *Backend) CountBytes(in bool, before, after uint64) {
	if before/TallyStep != after/TallyStep {
		b.addBytes(in, after/TallyStep*TallyStep-before/TallyStep*TallyStep)
	}
}

// CountRest counts, at the end of a flow that has carried total bytes, what CountBytes has left.
func (b *Backend) CountRest(in bool, total uint64) { b.addBytes(in, total%TallyStep) }

func (b *Backend) addBytes(in bool, n uint64) {
	switch {
	case n == 0:
	case in:
		b.count.tally.BytesIn.Add(n)
	default:
		b.count.tally.BytesOut.Add(n)
	}
}

// CountCheck counts a check of the backend.
func (b *Backend) CountCheck(ok bool) {
	if ok {
		b.count.tally.Passed.Add(1)
	} else {
		b.count.tally.Failed.Add(1)
	}
}
