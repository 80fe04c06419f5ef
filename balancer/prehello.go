//go:build linux

package balancer

// The orders in which conns without a whole hello give way.
const (
	young     = iota // all of them
	partial          // those with a part of one, which takes memory
	numOrders        // of a handshake's links
)

// order is conns of a loop by age. The list goes through their handshakes.
type order struct {
	which            int
	eldest, youngest *handshake
}

// add makes the conn the youngest.
func (o *order) add(hs *handshake) {
	hs.links[o.which] = link{before: o.youngest, in: true}
	if o.youngest != nil {
		o.youngest.links[o.which].after = hs
	} else {
		o.eldest = hs
	}
	o.youngest = hs
}

// remove takes the conn out, if it is in.
func (o *order) remove(hs *handshake) bool {
	at := hs.links[o.which]
	if !at.in {
		return false
	}
	if at.before != nil {
		at.before.links[o.which].after = at.after
	} else {
		o.eldest = at.after
	}
	if at.after != nil {
		at.after.links[o.which].before = at.before
	} else {
		o.youngest = at.before
	}
	hs.links[o.which] = link{}
	return true
}

// limitYoung drops the oldest conns without a whole hello while the node has more of them than it may: a client that
// means it has sent its hello within a round trip, so they are the ones that will not. Conns are spread unevenly over
// the loops, so it is for the loop that has most of them; others wake it.
func (l *loop) limitYoung() {
	for {
		most := l.b.youngLimit(&l.set.cfg)
		total, index := l.b.youngConns()
		switch {
		case most < 0 || total <= most:
			return
		case index != l.index:
			l.b.loops[index].post(command{kind: commandSync})
			return
		}
		c := l.conns.at(l.young.eldest.conn)
		l.countHello(c, HelloShed)
		l.refuse(c, RefusedPreHello)
	}
}

// youngLimit is how many conns may be without a whole hello now; negative: any number. For want of memory it is less
// than what is configured.
func (b *Balancer) youngLimit(cfg *Config) int {
	if cfg.MemoryLimit > 0 && b.connMemory() > cfg.connsShort() {
		few := int(cfg.connMemory() / youngShare / (connBytes + handshakeBytes))
		if cfg.MaxPreHello < 0 || few < cfg.MaxPreHello {
			return few
		}
	}
	return cfg.MaxPreHello
}

// youngConns is how many conns have no whole hello, and which loop has most of them.
func (b *Balancer) youngConns() (total, index int) {
	most := -1
	for i, l := range b.loops {
		n := int(l.count.young.Load())
		if total += n; n > most {
			most, index = n, i
		}
	}
	return total, index
}

// shed drops the newest conns with a part of a hello while the buffers are over their limit: an attacker's slow hellos
// go first, and among them those who came last. A conn that holds no memory is none to shed, and a quarter of the limit
// is theirs whatever else is held: clients who do not read must not keep out those whose hello comes in two segments.
func (l *loop) shed() {
	for l.buffers.Over() && l.partialBytes > l.set.cfg.BufferMemory/int64(4*l.set.cfg.Loops) {
		c := l.conns.at(l.partial.youngest.conn)
		l.count.shed.Add(1)
		l.countHello(c, HelloShed)
		l.becomeClosing(c, CauseResource, true)
	}
}

// gather appends to the conn's hello, and makes it the newest with a part of one if these are its first bytes. It
// reports whether there was room.
func (l *loop) gather(c *conn, b []byte) bool {
	hs := c.hs
	held := cap(hs.hello)
	var ok bool
	if hs.hello, ok = l.buffers.Append(hs.hello, b); !ok {
		return false
	}
	l.partialBytes += int64(cap(hs.hello) - held)
	if held == 0 {
		l.partial.add(hs)
	}
	return true
}

// unlist ends what becomeHello and gather have begun: the hello is whole, or given up.
func (l *loop) unlist(hs *handshake) {
	if l.young.remove(hs) {
		l.count.young.Add(^uint64(0))
	}
	if l.partial.remove(hs) {
		l.partialBytes -= int64(cap(hs.hello))
	}
}
