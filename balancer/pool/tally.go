package pool

import "sync/atomic"

// Tally is what a backend has had since it joined the pool at this node.
type Tally struct {
	Conns    uint64 // that reached it
	Fresh    uint64 // of them, without an offer that was recognised
	Accepted uint64 // offers that it resumed
	Refused  uint64 // offers that it answered with a full handshake
	Lost     uint64 // offers that were its own and not resumed: it refused them, or could not be used
	BytesIn  uint64 // from clients to it
	BytesOut uint64 // from it to clients
	Passed   uint64 // checks that found nothing wrong
	Failed   uint64 // checks that failed, for whatever reason
}

// counters are a Tally that loops write and anybody reads. They lie apart from what pickers read for every conn.
type counters struct {
	_                                     [64]byte // a cache line
	conns, fresh, accepted, refused, lost atomic.Uint64
	bytesIn, bytesOut                     atomic.Uint64
	reached, answered                     atomic.Uint64
	passed, failed                        atomic.Uint64 // checks; written by whoever checks
}

// Tally reads the counters.
func (b *Backend) Tally() Tally {
	c := &b.count
	return Tally{
		Conns: c.conns.Load(), Fresh: c.fresh.Load(), Accepted: c.accepted.Load(), Refused: c.refused.Load(), Lost: c.lost.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(), Passed: c.passed.Load(), Failed: c.failed.Load(),
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
	b.count.conns.Add(1)
	if fresh {
		b.count.fresh.Add(1)
	}
}

// CountVerdict counts the backend's answer to an offer.
func (b *Backend) CountVerdict(accepted bool) {
	if accepted {
		b.count.accepted.Add(1)
	} else {
		b.count.refused.Add(1)
	}
}

// CountLost counts an offer of the backend's own that was not resumed.
func (b *Backend) CountLost() { b.count.lost.Add(1) }

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
		b.count.bytesIn.Add(n)
	default:
		b.count.bytesOut.Add(n)
	}
}

// CountCheck counts a check of the backend.
func (b *Backend) CountCheck(ok bool) {
	if ok {
		b.count.passed.Add(1)
	} else {
		b.count.failed.Add(1)
	}
}
