//go:build linux

package balancer

import (
	"net/netip"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/netaddr"
)

// ConnRecord is what the log says of one ended conn. Durations that did not happen are 0. It belongs to whom ConnLog
// hands it to.
type ConnRecord struct {
	Start       time.Time
	Client      netip.AddrPort // not valid: by a unix socket, and no PROXY header has told
	Backend     netaddr.Addr   // zero: none was chosen
	Listener    string
	Pool        string  // "": it came into none
	Refused     Refusal // by the rules of the listener
	SNI         string
	Hello       HelloOutcome
	Offer       affinity.OfferKind
	Source      affinity.Source
	Verdict     Verdict
	Lost        Lost
	BytesIn     uint64        // from the client
	BytesOut    uint64        // from the backend
	HelloTime   time.Duration // accept to the whole hello
	QueueTime   time.Duration // waiting for a backend with room
	ConnectTime time.Duration // hello, or the end of that waiting, to the backend's having it
	AnswerTime  time.Duration // from there to the backend's first byte
	Total       time.Duration
	Tries       int    // connects
	ConnectErr  string // what the last connect that failed has said; "": none has
	Termination Termination
}

// record is a ConnRecord on its way to the log of its generation, or a line of a loop.
type record struct {
	*ConnRecord
	to   func(*ConnRecord)
	line func() // nil: a ConnRecord
}

// recordQueue bounds the records that wait for the log; a log that blocks loses records, counted, and stops no loop.
const recordQueue = 4096

// runRecords hands records to the log until the queue is closed.
func runRecords(queue <-chan record) {
	for r := range queue {
		if r.line != nil {
			r.line()
			continue
		}
		r.to(r.ConnRecord)
	}
}
