package affinity

import (
	"math/bits"
	"sync/atomic"
)

const (
	// A home of a key is doubtful after this many refusals there without an
	// acceptance or issue, from this many client networks, over this many seconds.
	// Junk with a good name in front from one network never gets there, and where a
	// single good client is left its next acceptance ends it.
	doubtRefusals = 8
	doubtNetworks = 4
	doubtSeconds  = 10

	// exploreEvery: of the offers under a key all of whose homes are doubtful, one in
	// so many explores.
	exploreEvery = 8

	// returnEvery: of the offers under a key with doubtful homes and others, one in so
	// many may go to any of them, so that what was doubted wrongly can show it. The
	// others can do as much: seldom is enough.
	returnEvery = 64
)

// doubt counts what speaks against one home of a ticket key. It takes nothing away:
// only the probe's finding does (Pool.Refuted), which no client can bring about.
// Written by any loop; a race between two of them costs at most a count.
type doubt struct {
	refusals atomic.Uint32 // since the last acceptance or issue
	since    atomic.Uint32 // time of the first of them
	networks atomic.Uint64 // one bit per client network, by hash: at most an undercount

	told bool // owned by Store.Run: the doubt that stands was reported
}

// refused notes a refusal by the home, of a client in network.
func (d *doubt) refused(network, now uint32) {
	bit := uint64(1) << (network % 64)
	n := d.refusals.Load()
	if n >= doubtRefusals && d.networks.Load()&bit != 0 {
		return // nothing new: a flood does not write
	}
	if n == 0 {
		d.since.Store(now)
	}
	d.refusals.Add(1)
	d.networks.Or(bit)
}

// clear ends all doubt: the home accepted or issued under the key.
func (d *doubt) clear() {
	if d.refusals.Load() != 0 {
		d.networks.Store(0)
		d.refusals.Store(0)
	}
}

// doubtful reports whether the home deserves doubt at now.
func (d *doubt) doubtful(now uint32) bool {
	return d.refusals.Load() >= doubtRefusals &&
		elapsed(d.since.Load(), now) >= doubtSeconds &&
		bits.OnesCount64(d.networks.Load()) >= doubtNetworks
}

// doubted is the homes of k that are doubtful at now, or mere claims, by their positions:
// bit i is that of k.homes[i]. Homes beyond the 64th are never doubted.
func (k *ticketKey) doubted(now uint32) (positions uint64) {
	for i, m := range k.homes[:min(len(k.homes), 64)] {
		if m.doubt.doubtful(now) || k.claimed(m) {
			positions |= 1 << i
		}
	}
	return positions
}

// doubtful reports whether no home of k is left that is not doubtful: what is offered
// under it may be anybody's.
func (k *ticketKey) doubtful(now uint32) bool {
	return bits.OnesCount64(k.doubted(now)) == len(k.homes)
}

// elapsed is the seconds from then to now, 0 if then lies ahead: loops read their
// clocks at slightly different times.
func elapsed(then, now uint32) uint32 {
	if then > now {
		return 0
	}
	return now - then
}
