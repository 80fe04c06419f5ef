//go:build linux

package balancer

import (
	"log/slog"
	"time"

	"homing/balancer/internal/netio"
)

// acceptPause is how long a loop takes no connections after it ran out of descriptors (EMFILE): long enough not to
// spin, short enough not to be felt.
const acceptPause = 50 * time.Millisecond

// accepted begins a conn.
func (l *loop) accepted(done *netio.Completion) {
	if done.Errno != 0 {
		inc(&l.inlets[done.Tag].gate.count.NoAccepts)
		l.pause()
		return
	}
	g := l.inlets[done.Tag].gate
	l.count.accepted.Add(1)
	l.count.open.Add(1)
	inc(&g.count.Accepted)
	inc(&g.count.Open)
	c := l.conns.take()
	c.lane = &g.entry
	c.opened = l.now
	c.active = l.now
	c.socks[sideClient] = done.Sock
	l.eng.Tag(done.Sock, c.tag(sideClient))
	if g.cfg.ConnLog != nil {
		c.record = &ConnRecord{Start: time.Now(), Client: done.Peer, Listener: g.Name}
	}
	l.becomeHello(c, done.Peer)
	if _, full := l.full(); full {
		l.pause()
	}
	if g.full() {
		l.hold(l.inlets[done.Tag])
	}
}

// full says whether the node has as many conns as it may, or can.
func (l *loop) full() (why Hold, full bool) {
	if most := l.set.cfg.MaxConns; most > 0 && l.b.openConns() >= most {
		return HoldConns, true
	}
	return HoldMemory, l.memoryFull()
}

func (b *Balancer) openConns() int {
	n := 0
	for _, l := range b.loops {
		n += int(l.count.open.Load())
	}
	return n
}

// pause stops taking connections for acceptPause; they wait in the kernel's queue.
func (l *loop) pause() {
	if l.paused {
		return
	}
	l.paused = true
	l.resumeAt = l.now.Add(acceptPause)
	l.unlisten()
	for _, in := range l.inlets {
		if in.leaving {
			in.shutQueue() // it is emptied as room comes; more would have no end
		}
	}
}

// admit takes connections again after a pause, and closes the inlets that are leaving once their queues are empty: at
// the latest after drainGrace, for under load there is always one more, but not while nothing was taken from them.
func (l *loop) admit() {
	if l.paused && l.now >= l.resumeAt {
		if why, full := l.full(); full {
			l.resumeAt = l.now.Add(acceptPause)
			for _, in := range l.inlets {
				l.countHeld(in, why)
			}
		} else {
			l.paused = false
			if err := l.listen(); err != nil {
				l.say(slog.LevelError, "cannot listen again", slog.Any("error", err))
			}
			for _, in := range l.inlets {
				in.leaveBy = l.now.Add(drainGrace)
			}
		}
	}
	if l.held > 0 && !l.paused {
		l.unhold()
	}
	if l.leaving == 0 {
		return
	}
	for _, in := range l.inlets {
		if in.leaving && (!netio.Queued(in.fd) || !l.paused && !in.held && l.now >= in.leaveBy) {
			l.closeInlet(in)
		}
	}
}

// connMemory is what the conns and handshakes of all loops take now, in bytes.
func (b *Balancer) connMemory() int64 {
	var n int64
	for _, l := range b.loops {
		n += int64(l.count.open.Load())*connBytes + int64(l.count.handshakes.Load())*handshakeBytes
	}
	return n
}

// memoryFull says whether there is no memory for another conn.
func (l *loop) memoryFull() bool {
	cfg := &l.set.cfg
	return cfg.MemoryLimit > 0 && l.b.connMemory() >= cfg.connMemory()
}

// memoryTight says whether what there is has to be kept for those who are here or come back.
func (l *loop) memoryTight() bool {
	cfg := &l.set.cfg
	return cfg.MemoryLimit > 0 && (l.buffers.Over() || l.b.connMemory() > cfg.connsTight())
}
