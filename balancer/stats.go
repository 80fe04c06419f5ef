//go:build linux

package balancer

import (
	"sync/atomic"

	"homing/balancer/affinity"
)

// Stats are the sums over all loops since the start; Open, Handshakes and
// BufferBytes are of now.
type Stats struct {
	Accepted      uint64 // client connections taken
	Open          uint64
	BytesIn       uint64 // received from clients
	BytesOut      uint64 // received from backends
	Spliced       uint64 // of both, moved by splice
	Hellos        [NumHelloOutcomes]uint64
	Offers        [affinity.NumOfferKinds]uint64
	Routes        [affinity.NumSources]uint64
	Verdicts      [affinity.NumOfferKinds][NumVerdicts]uint64
	Lost          [NumLost]uint64
	Terminations  [NumCauses][NumPhases]uint64
	IssuedIDs     uint64 // session IDs learned from their issue
	IssuedTickets uint64

	Connects        uint64 // tried
	ConnectFailures uint64 // refused, unreachable or timed out
	NoPorts         uint64 // EADDRNOTAVAIL: no source port to be had
	NoDescriptors   uint64 // EMFILE or ENFILE on accept or connect
	Replays         uint64 // connects after a failed connect
	SecondChances   uint64 // connects after an answer (DESIGN.md 3.4 b and c)
	NoBudget        uint64 // second chances that the budget forbade
	Unroutable      uint64 // conns that no backend took
	Shed            uint64 // conns dropped because buffer memory ran short
	RecordsDropped  uint64 // conn records that the log could not take in time
	Handshakes      uint64
	BufferBytes     uint64
}

// counters are one loop's share of Stats. The loop writes, anybody reads.
type counters struct {
	accepted, open, bytesIn, bytesOut, spliced atomic.Uint64
	hellos                                     [NumHelloOutcomes]atomic.Uint64
	offers                                     [affinity.NumOfferKinds]atomic.Uint64
	routes                                     [affinity.NumSources]atomic.Uint64
	verdicts                                   [affinity.NumOfferKinds][NumVerdicts]atomic.Uint64
	lost                                       [NumLost]atomic.Uint64
	terminations                               [NumCauses][NumPhases]atomic.Uint64
	issuedIDs, issuedTickets                   atomic.Uint64
	connects, connectFailures                  atomic.Uint64
	noPorts, noDescriptors                     atomic.Uint64
	replays, secondChances, noBudget           atomic.Uint64
	unroutable, shed, recordsDropped           atomic.Uint64
	handshakes                                 atomic.Uint64
}

// addTo adds the counters to s.
func (c *counters) addTo(s *Stats) {
	s.Accepted += c.accepted.Load()
	s.Open += c.open.Load()
	s.BytesIn += c.bytesIn.Load()
	s.BytesOut += c.bytesOut.Load()
	s.Spliced += c.spliced.Load()
	addAll(s.Hellos[:], c.hellos[:])
	addAll(s.Offers[:], c.offers[:])
	addAll(s.Routes[:], c.routes[:])
	for i := range c.verdicts {
		addAll(s.Verdicts[i][:], c.verdicts[i][:])
	}
	addAll(s.Lost[:], c.lost[:])
	for i := range c.terminations {
		addAll(s.Terminations[i][:], c.terminations[i][:])
	}
	s.IssuedIDs += c.issuedIDs.Load()
	s.IssuedTickets += c.issuedTickets.Load()
	s.Connects += c.connects.Load()
	s.ConnectFailures += c.connectFailures.Load()
	s.NoPorts += c.noPorts.Load()
	s.NoDescriptors += c.noDescriptors.Load()
	s.Replays += c.replays.Load()
	s.SecondChances += c.secondChances.Load()
	s.NoBudget += c.noBudget.Load()
	s.Unroutable += c.unroutable.Load()
	s.Shed += c.shed.Load()
	s.RecordsDropped += c.recordsDropped.Load()
	s.Handshakes += c.handshakes.Load()
}

func addAll(to []uint64, from []atomic.Uint64) {
	for i := range from {
		to[i] += from[i].Load()
	}
}
