package flow

import (
	"math"

	"homing/tlsparse"
)

// young takes a segment of a conn in the handshake.
func (a *Assembler) young(c *Conn, from side) {
	tcp, hs := &a.dec.tcp, c.hs
	mine, other := &hs.halves[from], &hs.halves[from.other()]
	if tcp.SYN {
		if !a.youngSYN(c, from) {
			return
		}
	} else if tcp.ACK && other.known {
		if at := other.at(tcp.Ack); at <= math.MaxInt32 {
			other.acked = max(other.acked, at)
		}
	}
	if tcp.RST {
		a.youngReset(c, from)
		return
	}
	if !mine.known {
		mine.lost = mine.lost || len(tcp.Payload) > 0 // its SYN is missing: where the stream begins cannot be said
		return
	}
	if from == client && !tcp.SYN {
		a.timed(c)
		a.answered(c)
	}
	at := mine.at(tcp.Seq)
	if tcp.SYN {
		at = 0 // data of TCP Fast Open (RFC 7413): a server that does not take it has it sent again
	}
	if !a.take(c, from, at, tcp.Payload) {
		return
	}
	if tcp.FIN && !a.dec.cut {
		if end := at + len(tcp.Payload); end >= len(mine.stream) && (mine.fin < 0 || end < mine.fin) {
			mine.fin = end
		}
	}
	a.read(c)
	if c.hs != nil && mine.ended() && other.ended() {
		a.close(c, EndFIN)
	}
}

// youngSYN takes a SYN of either side. It reports whether the segment is to be taken on.
func (a *Assembler) youngSYN(c *Conn, from side) bool {
	tcp, hs := &a.dec.tcp, c.hs
	h := &hs.halves[from]
	switch {
	case from == client && (tcp.ACK || tcp.Seq != c.syn):
		return false
	case from == client:
	case !tcp.ACK || tcp.Ack-1 != c.syn:
		return false // it does not answer the client's SYN
	case !h.known:
		h.known, h.begin = true, tcp.Seq+1
	case h.begin != tcp.Seq+1:
		a.close(c, EndConflict) // which of the two does the client take?
		return false
	default:
		hs.untimed = true
	}
	return true
}

// youngReset takes a RST. Receivers take none but that at the next byte that they wait for (RFC 5961, Section 3.2), or that
// which answers their SYN.
func (a *Assembler) youngReset(c *Conn, from side) {
	tcp := &a.dec.tcp
	mine, other := &c.hs.halves[from], &c.hs.halves[from.other()]
	refused := from == server && !mine.known && tcp.ACK && other.at(tcp.Ack) >= 0 && other.at(tcp.Ack) <= len(other.stream)
	if refused || mine.known && mine.at(tcp.Seq) == len(mine.stream) {
		a.close(c, EndReset)
	}
}

// timed measures the round trip when the client's ACK ends the TCP handshake.
func (a *Assembler) timed(c *Conn) {
	tcp, hs := &a.dec.tcp, c.hs
	if h := &hs.halves[server]; !hs.untimed && h.known && tcp.ACK {
		if tcp.Ack == h.begin {
			c.RTT = a.now.Sub(c.Began)
		}
		hs.untimed = true
	}
}

// take takes a part of a stream. It reports whether the conn goes on.
func (a *Assembler) take(c *Conn, from side, at int, b []byte) bool {
	hs := c.hs
	h := &hs.halves[from]
	next := len(h.stream)
	if from == client && c.clientDone() {
		return true
	}
	if a.dec.cut && (h.cutAt < 0 || at+len(b) < h.cutAt) {
		h.cutAt = max(at+len(b), 0)
	}
	if !h.whole() {
		a.close(c, EndCut)
		return false
	}
	switch {
	case len(b) == 0:
		return true
	case len(b) == 1 && at == next-1 && h.acked >= next:
		return true // keepalive: the byte may be any (RFC 9293, Section 3.8.4)
	case a.dec.tcp.URG:
		a.close(c, EndConflict) // the byte that it points to is taken out of the stream, if the server has not said otherwise
		return false
	case h.contradicts(at, b):
		a.close(c, EndConflict)
		return false
	}
	if at < 0 {
		b = b[min(-at, len(b)):]
		at = 0
	}
	if at+len(b) <= next {
		return true
	}
	if at < next {
		b = b[next-at:]
		at = next
	}
	if c.stage == stageBare {
		a.move(c, stageYoung)
	}
	switch waiting := len(h.stream) + len(b); {
	case at > next && h.covers(at, len(b)):
		return true
	case at > next+maxAhead || at > next && !h.keep(at, b):
		h.lost = true
		a.close(c, EndIdle) // for what is missing
		return false
	case from == client && waiting > maxClient:
		hs.second = secondUnread // there is a first one, or it would not have come to this
		return true
	case from == server && waiting-hs.fed > maxWaiting+tlsparse.MaxHelloLimit && !a.hasHello(c):
		a.close(c, EndGap)
		return false
	}
	a.queue(c, from, at, b)
	if len(h.ahead) > 0 {
		h.caughtUp()
	}
	a.account(hs)
	if !h.whole() {
		a.close(c, EndCut)
		return false
	}
	return true
}

// hasHello says whether the hello that the server answers is here.
func (a *Assembler) hasHello(c *Conn) bool { return c.Hellos > 0 && c.hs.second != secondWaited }

// account counts what is held.
func (a *Assembler) account(hs *handshake) {
	held := 0
	for i := range hs.halves {
		held += cap(hs.halves[i].stream) + hs.halves[i].cost
	}
	a.held += held - hs.held
	hs.held = held
}

// follow is how far a conn is whose handshake completes in the dark.
type follow uint8

const (
	followNone   follow = iota
	followClient        // waits for the client's protected flight
	followServer        // waits for what the server sends behind it
)

// dark takes a segment of a conn that is settled: looked up, and not read but for its first byte, until the handshake has
// completed.
func (a *Assembler) dark(c *Conn, from side) {
	tcp := &a.dec.tcp
	if b := tcp.Payload; len(b) > 0 {
		if from == client {
			a.answered(c)
		}
		if c.follow != followNone {
			a.followed(c, from, b)
		}
	}
	switch {
	case tcp.RST:
		a.close(c, EndReset)
	case tcp.FIN:
		if c.fins[from] = true; c.fins[from.other()] {
			a.close(c, EndFIN)
		}
	}
}

// followed watches for the end of a handshake whose last flights are protected, as a balancer does: see Handler.Replied.
// What the client sends counts from behind its hello on, once it has had the server's answer, and what the server sends if
// the client did not have it when it finished, and the server has had what the client sent. A mirror may deliver the server's
// before the client's. A segment that begins like no record begins within one, and says nothing.
func (a *Assembler) followed(c *Conn, from side, b []byte) {
	tcp := &a.dec.tcp
	switch {
	case from == client && c.follow == followClient:
		a.clientReplied(c, tcp.Seq, tcp.Ack, b)
	case from == server && int32(tcp.Ack-c.lateAck) > 0 && int32(tcp.Seq-c.darkAt) >= 0 &&
		(b[0] == recordApplicationData && !tlsparse.MayBeAlert(len(b)) || b[0] == recordAlert):
		c.lateSeq, c.lateAck, c.lateData = tcp.Seq, tcp.Ack, b[0] == recordApplicationData
	}
	if c.follow != followServer || int32(c.lateSeq-c.ackedAt) < 0 || int32(c.lateAck-c.repliedAt) < 0 {
		return
	}
	c.follow = followNone
	if c.lateData {
		a.cfg.Handler.Replied(c)
	}
}

// clientReplied looks at what a client sends with the header of its segment: whether it is its protected flight.
func (a *Assembler) clientReplied(c *Conn, seq, ack uint32, b []byte) {
	if int32(seq-c.answersAt) < 0 || int32(ack-c.darkAt) < 0 {
		return
	}
	switch b[0] {
	case recordChangeCipherSpec, recordApplicationData, recordHandshake:
		if b[0] != recordChangeCipherSpec || len(b) > changeCipherSpecLen { // or the Finished is still to come
			c.follow = followServer
			c.repliedAt, c.ackedAt = seq+uint32(len(b)), ack
		}
	case recordAlert:
		c.follow = followNone
	}
}

// answered measures the server's first flight when the client answers it.
func (a *Assembler) answered(c *Conn) {
	const most = 16 << 20 // bytes: more is no flight
	tcp := &a.dec.tcp
	if c.Flight != 0 || len(tcp.Payload) == 0 || !tcp.ACK || c.hs == nil && !c.greeted || c.hs != nil && !c.hs.greeted {
		return
	}
	from, greeted, hello := c.flightAt, c.darkAt, c.answersAt
	if hs := c.hs; hs != nil {
		h := &hs.halves[server]
		from, greeted = h.begin+uint32(hs.flight), h.begin+uint32(hs.fed)
		hello = hs.halves[client].begin + uint32(hs.answers)
	}
	switch b := tcp.Payload; {
	case int32(tcp.Seq-hello) < 0 || int32(tcp.Ack-greeted) < 0:
		return // no answer yet
	case b[0] == recordChangeCipherSpec && len(b) <= changeCipherSpecLen:
		return // nor is this
	}
	if n := tcp.Ack - from; n < most {
		c.Flight = int(n)
	}
}
