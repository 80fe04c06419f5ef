package affinity

import (
	"math/bits"
	"sync/atomic"
)

const (
	// A key is doubtful after this many refusals without an acceptance or issue,
	// from this many client networks, over this many seconds. Junk with a good name
	// in front from one network never gets there, and where a single good client is
	// left its next acceptance ends it.
	doubtRefusals = 8
	doubtNetworks = 4
	doubtSeconds  = 10

	// exploreEvery: of the offers under a doubtful key, one in so many explores.
	exploreEvery = 8
)

// doubt counts what speaks against a ticket key. It takes nothing away from the
// key. Written by any loop; a race between two of them costs at most a count.
type doubt struct {
	refusals atomic.Uint32 // since the last acceptance or issue
	since    atomic.Uint32 // time of the first of them
	networks atomic.Uint64 // one bit per client network, by hash: at most an undercount
	asked    atomic.Uint32 // offers seen while doubtful

	told bool // owned by Store.Run: the doubt that stands was reported
}

// refused notes a refusal by a home of the key, of a client in network.
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

// clear ends all doubt: a home accepted or issued under the key.
func (d *doubt) clear() {
	if d.refusals.Load() != 0 {
		d.networks.Store(0)
		d.refusals.Store(0)
	}
}

// doubtful reports whether the key deserves doubt at now.
func (d *doubt) doubtful(now uint32) bool {
	return d.refusals.Load() >= doubtRefusals &&
		elapsed(d.since.Load(), now) >= doubtSeconds &&
		bits.OnesCount64(d.networks.Load()) >= doubtNetworks
}

// explores reports whether this offer, under a doubtful key, is one that explores.
func (d *doubt) explores() bool { return d.asked.Add(1)%exploreEvery == 0 }

// elapsed is the seconds from then to now, 0 if then lies ahead: loops read their
// clocks at slightly different times.
func elapsed(then, now uint32) uint32 {
	if then > now {
		return 0
	}
	return now - then
}
