package flow

import (
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
)

// side is an end of a conn.
type side uint8

const (
	client side = 0
	server side = 1
)

func (s side) other() side { return 1 - s }

// endpoint is an address with its port, IPv4 as IPv4 in IPv6. It has no pointers: of a table of them the collector sees
// nothing.
type endpoint struct {
	addr [16]byte
	port uint16
}

// endpointOf makes one of what a packet has: an address of 4 or 16 bytes.
func endpointOf(e gopacket.Endpoint, port uint16) endpoint {
	raw := e.Raw()
	if len(raw) == 4 {
		return endpoint{addr: netip.AddrFrom4([4]byte(raw)).As16(), port: port}
	}
	return endpoint{addr: [16]byte(raw), port: port}
}

func (e endpoint) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.addr).Unmap(), e.port)
}

// pair names a conn whichever side sends: the lesser endpoint comes first.
type pair struct{ low, high endpoint }

func pairOf(from, to endpoint) pair {
	if from.less(to) {
		return pair{from, to}
	}
	return pair{to, from}
}

func (e endpoint) less(o endpoint) bool {
	if c := string(e.addr[:]); c != string(o.addr[:]) {
		return c < string(o.addr[:])
	}
	return e.port < o.port
}

// stage says how far a conn is. Each has a list; a conn is in that of its stage.
type stage uint8

const (
	stageBare  stage = iota // neither side has sent a byte of its stream
	stageYoung              // in the handshake
	stageDark               // the handshake is over, or there is none
	stageStray              // nothing more is told, but it goes on: its begin was not seen, or it cannot be judged
	stageGone               // over: kept for a while, for what comes late or twice
	numStages
)

const (
	darkIdle   = 15 * time.Minute // as long as balancers let a conn be idle, and longer
	goneLinger = 5 * time.Second
)

// list is the conns of one stage, in the order in which they are due to be looked at: each was last touched at its due less
// the stage's time, or later.
type list struct {
	first, last *Conn
	n           int
	wait        time.Duration
}

// put makes c the last.
func (l *list) put(c *Conn, touched time.Time) {
	c.due = touched.Add(l.wait)
	c.before, c.after = l.last, nil
	if l.last != nil {
		l.last.after = c
	} else {
		l.first = c
	}
	l.last = c
	l.n++
}

// take takes c out.
func (l *list) take(c *Conn) {
	if c.before != nil {
		c.before.after = c.after
	} else {
		l.first = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	} else {
		l.last = c.before
	}
	c.before, c.after = nil, nil
	l.n--
}

// move puts c into another stage.
func (a *Assembler) move(c *Conn, to stage) {
	a.lists[c.stage].take(c)
	c.stage = to
	a.lists[to].put(c, a.now)
}

// forget takes c out of the table, for good.
func (a *Assembler) forget(c *Conn) {
	a.lists[c.stage].take(c)
	if a.conns[c.pair] == c {
		delete(a.conns, c.pair)
	}
}

// expire ends conns for which nothing has come for a time. It looks at a few at a time, as many as there are new ones at
// most: what is due comes first, but for those that have been touched meanwhile.
func (a *Assembler) expire() {
	for s := range a.lists {
		l := &a.lists[s]
		for range 2 {
			c := l.first
			if c == nil || a.now.Before(c.due) {
				break
			}
			if touched := c.touched; a.now.Before(touched.Add(l.wait)) {
				l.take(c)
				l.put(c, touched)
				continue
			}
			if c.stage < stageStray {
				a.close(c, EndIdle)
			} else {
				a.forget(c)
			}
		}
	}
}

// makeRoom has no more conns than there may be, and no more bytes held.
func (a *Assembler) makeRoom() {
	for len(a.conns) > a.cfg.MaxConns {
		c := a.eldest(stageGone, stageStray, stageDark, stageBare, stageYoung)
		if c.stage < stageStray {
			a.close(c, EndMemory)
		}
		a.forget(c)
	}
	for a.held+a.dec.pieces.held > a.cfg.MaxBytes {
		if c := a.eldest(stageYoung); c != nil {
			a.close(c, EndMemory)
			continue
		}
		a.dec.pieces.forget()
		return
	}
}

// eldest is the first of the first list that is not empty.
func (a *Assembler) eldest(stages ...stage) *Conn {
	for _, s := range stages {
		if c := a.lists[s].first; c != nil {
			return c
		}
	}
	return nil
}
