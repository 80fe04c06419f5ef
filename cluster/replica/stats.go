package replica

import (
	"slices"
	"strings"
	"time"
)

// Stats is what replication has done since the start.
type Stats struct {
	Learned uint64 // facts learned here
	Merged  uint64 // facts of other nodes that were news
	Refused uint64 // streams that did not open: wrong key, garbage, version, too many at once
	Peers   []PeerStats
}

// PeerStats is the state of one peer.
type PeerStats struct {
	ID    string
	State PeerState

	Lag     time.Duration // age of the oldest fact learned here that the peer has not acknowledged
	Unacked uint64        // facts that it has not

	FactsIn, FactsOut uint64 // resyncs included
	BytesIn, BytesOut uint64 // of frames; TLS adds 22 bytes per 16 KiB or write

	Streams  uint64 // opened
	Resumed  uint64 // of them, where the peer had missed nothing that the ring did not hold
	Resyncs  uint64 // of the whole table, toward the peer
	Filled   uint64 // resyncs completed, from the peer
	Overflow uint64 // times that the ring overwrote what the peer had not got
}

// Stats may be called by any goroutine.
func (r *Replicator) Stats() Stats {
	st := Stats{
		Learned: r.ring.head.Load() - r.ring.began.Load(), Merged: r.merged.Load(), Refused: r.refused.Load(),
	}
	now, head := r.ticks(), r.ring.head.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range r.peers {
		s := p.stream.Load()
		if s == nil && !r.wantedLocked(id) {
			continue
		}
		ps := PeerStats{
			ID: id, FactsIn: p.factsIn.Load(), FactsOut: p.factsOut.Load(), BytesIn: p.bytesIn.Load(),
			BytesOut: p.bytesOut.Load(), Streams: p.streams.Load(), Resumed: p.resumed.Load(),
			Resyncs: p.resyncs.Load(), Filled: p.filled.Load(),
			Overflow: p.missed.Load(),
		}
		if s != nil {
			ps.State = s.state()
		}
		acked := p.acked.Load()
		ps.Unacked = max(head, acked) - acked
		if at := r.ring.oldest(acked); at > 0 {
			ps.Lag = time.Duration(max(0, now-at))
		}
		st.Peers = append(st.Peers, ps)
	}
	slices.SortFunc(st.Peers, func(a, b PeerStats) int { return strings.Compare(a.ID, b.ID) })
	return st
}
