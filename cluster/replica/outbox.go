package replica

import (
	"net"
	"time"

	"homing/balancer/affinity"
)

// outbox is what is to go out on one stream: facts of the ring, and parts of an export of the table. Owned by one
// goroutine.
type outbox struct {
	ring   *ring
	store  *affinity.Store
	cursor uint64 // sequence of the last fact sent
	export affinity.Cursor
	parts  uint64 // sent, of all exports of the stream
	batch  []affinity.Fact
	out    []byte
}

func newOutbox(r *ring, store *affinity.Store) outbox {
	return outbox{ring: r, store: store, batch: make([]affinity.Fact, 0, batchFacts)}
}

// appendNew appends the new facts that are ready, one batch at most, and gives their number. lost says that some have
// been overwritten.
func (o *outbox) appendNew() (n int, lost bool) {
	facts, lost := o.ring.read(o.cursor, o.batch[:0])
	if lost || len(facts) == 0 {
		return 0, lost
	}
	o.out = appendBatch(o.out, frameFacts, o.cursor+1, facts)
	o.cursor += uint64(len(facts))
	return len(facts), false
}

// appendPart appends the next part of the export, with the times of now, and gives the number of its facts.
func (o *outbox) appendPart(now uint32) int {
	facts := o.store.Export(&o.export, o.batch[:0], now)
	if len(facts) > 0 {
		o.parts++
		o.out = appendBatch(o.out, framePart, o.parts, facts)
	}
	return len(facts)
}

// write sends b, within limit.
func write(conn net.Conn, b []byte, limit time.Duration) (int, error) {
	if err := conn.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return 0, err
	}
	return conn.Write(b)
}
