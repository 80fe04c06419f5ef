//go:build linux

package balancer

// young is the conns of a loop whose hello is not whole, by age. The list goes through their handshakes.
type young struct {
	eldest, youngest *handshake
}

// add makes the conn the youngest.
func (y *young) add(hs *handshake) {
	hs.before, hs.young = y.youngest, true
	if y.youngest != nil {
		y.youngest.after = hs
	} else {
		y.eldest = hs
	}
	y.youngest = hs
}

// remove takes the conn out, if it is in.
func (y *young) remove(hs *handshake) bool {
	if !hs.young {
		return false
	}
	if hs.before != nil {
		hs.before.after = hs.after
	} else {
		y.eldest = hs.after
	}
	if hs.after != nil {
		hs.after.before = hs.before
	} else {
		y.youngest = hs.before
	}
	hs.before, hs.after, hs.young = nil, nil, false
	return true
}

// limitYoung drops the oldest conns without a whole hello while the node has more of them than it may: a client that means
// it has sent its hello within a round trip, so they are the ones that will not. Conns are spread unevenly over the loops, so
// it is for the loop that has most of them; others wake it.
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

// youngLimit is how many conns may be without a whole hello now; negative: any number. For want of memory it is less than
// what is configured.
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
