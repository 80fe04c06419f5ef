//go:build linux

package balancer

import (
	"homing/balancer/internal/netio"
)

// flow is one direction of a conn: from a side to the other.
type flow struct {
	bytes uint64 // received
	runs  uint8  // large chunks, less small ones: bulky when bulkyRuns
	thin  uint8  // small splices in a row: no longer bulky when thinRuns
	flags flowFlags
}

type flowFlags uint8

const (
	reading  flowFlags = 1 << iota // Recv or Splice from the side in flight
	sending                        // the other side has not taken everything yet
	bulky                          // moved by splice
	ended                          // the side has sent FIN, and all before it is delivered
	dead                           // the other side takes no more: nothing is read any more
	noSplice                       // no pipe was to be had: copy for good
	owesAck                        // its side may wait for an ACK: see ack.go
)

func (f *flow) is(x flowFlags) bool { return f.flags&x != 0 }

// next reads on from a side, unless it is being read, has ended, or the other side has not taken what came before: that
// is the back-pressure.
func (l *loop) next(c *conn, from side) {
	f := &c.flows[from]
	if f.flags&(reading|sending|ended|dead) != 0 {
		return
	}
	f.flags |= reading
	if f.is(bulky) {
		l.eng.Splice(c.socks[from], c.socks[from.other()])
		return
	}
	l.eng.Recv(c.socks[from])
}

// recv reads on from a client that has no backend yet, or no more.
func (l *loop) recv(c *conn) {
	c.flows[sideClient].flags |= reading
	l.eng.Recv(c.socks[sideClient])
}

// ACKs wait for something to ride on, up to 40 ms. A peer that says the first thing in small writes and leaves Nagle's
// algorithm on waits for the ACK of the first of them before it sends the second (RFC 896). Of a TLS handshake it can
// be seen whether its sender has more to say (tlsparse.Flight); of what is not read, it cannot. So the ACK of its first
// bytes is sent as soon as the loop has nothing else to do: by then most answers that it could ride on are there. A
// loop that is busy sends next to none; on two cores that clients and servers shared with it, full, it cost 4 us of CPU
// a conn of 127.

const (
	// plainFirst is how much of each direction is acknowledged so, in bytes: the greetings and the first exchange of
	// any protocol. What comes later is as between peers without a balancer.
	plainFirst = 4 << 10
	// maxUnacked bounds the list of those who may wait. When it is full they get their ACKs, the few that have not had
	// an answer meanwhile.
	maxUnacked = 1 << 10
)

// oweAck notes that a side may wait for the ACK of what has just been received from it.
func (l *loop) oweAck(c *conn, from side) {
	if f := &c.flows[from]; !f.is(owesAck) {
		f.flags |= owesAck
		l.unacked = append(l.unacked, c.tag(from))
	}
}

// sendAcks acknowledges what nothing has been sent behind since. A tag may be another conn's by now, which is none the
// worse for an early ACK, if it is owed one.
func (l *loop) sendAcks() {
	for _, tag := range l.unacked {
		c, from := l.conns.at(tag>>1), side(tag&1)
		if f := &c.flows[from]; f.is(owesAck) && c.socks[from] != netio.NoSock {
			f.flags &^= owesAck
			l.eng.Ack(c.socks[from])
		}
	}
	l.unacked = l.unacked[:0]
}
