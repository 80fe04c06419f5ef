package bench

import (
	"errors"
	"time"

	"homing/bench/sock"
	"homing/bench/tlscore"
)

// connState is where in its life a conn is.
type connState uint8

const (
	gone     connState = iota // not open; its slot is free
	opening                   // the TCP conn is not up
	shaking                   // the handshake is under way
	asking                    // a request was sent, its answer is due
	thinking                  // the client reads, and will ask again
	holding                   // the conn stays open and does nothing until it is released
	ending                    // all is done, the end of the stream or the first ticket is due
)

const (
	// endWait is how long the server may take to close behind its last answer, before the client does.
	endWait = time.Second
	// ticketWait is how long a TLS 1.3 server may take for its first ticket on a conn without a request.
	ticketWait = 250 * time.Millisecond
	// leastReadsPerSecond is how often a slow reader reads at least, while there is something to read.
	leastReadsPerSecond = 10
	// slowBuffer is a slow reader's SO_RCVBUF in bytes: little, so that its slowness is felt on the other side.
	slowBuffer = 16 << 10
)

// conn is one conn of a client. Its slot, and what it has allocated, serve the next one.
type conn struct {
	slot   int32
	gen    uint32 // of the slot; a new one with each conn
	onData func([]byte)

	client  *client
	rec     *recorder
	record  *groupRecord
	state   connState
	fd      int
	tls     *tlscore.Conn
	tried   int  // targets that could not be connected to
	up      bool // the TCP conn is, as far as the client sees
	shaken  bool // and the handshake is over
	blamed  error
	both    bool // epoll tells of room to write too
	read    bool // a slow reader has read, and waits
	waiting bool // a gap of the hello is under way
	ended   bool // the server sent the end of the stream

	intended time.Duration // when it should have begun
	began    time.Duration
	opened   time.Duration // TCP
	deadline time.Duration

	out    []byte // not sent yet
	hello  int    // bytes of out that are hello, and go out in segments
	left   int    // requests not answered yet
	asked  bool   // the first of them is under way
	answer answer

	toTarget, toClient line
}

// begin begins a conn.
func (l *loop) begin(c *client, v visit) {
	k := l.take()
	k.client, k.rec, k.record = c, v.rec, &v.rec.groups[c.group.index]
	k.intended, k.began = v.at, l.clock()
	k.deadline = k.began + l.plan.Timeout
	k.left = max(c.group.Requests, 0)
	k.state, k.fd = opening, -1
	c.busy = true
	l.active++
	l.timers.add(timer{at: k.deadline, slot: k.slot, gen: k.gen, what: dueTimeout})
	if l.plan.Delay > 0 {
		l.timers.add(timer{at: k.began + l.plan.Delay, slot: k.slot, gen: k.gen, what: dueConnect})
		return
	}
	l.connect(k)
}

// take returns a conn that is gone.
func (l *loop) take() *conn {
	if n := len(l.free); n > 0 {
		slot := l.free[n-1]
		l.free = l.free[:n-1]
		return l.conns[slot]
	}
	k := &conn{slot: int32(len(l.conns))} // below maxClients
	k.onData = func(b []byte) { l.data(k, b) }
	l.conns = append(l.conns, k)
	return k
}

// connect opens the TCP conn to the client's target, or to the next one if that fails at once.
func (l *loop) connect(k *conn) {
	o := sock.Options{Source: k.client.from(l.plan.Sources, l.rng)}
	if k.client.group.ReadRate > 0 {
		o.ReceiveBuffer = slowBuffer
	}
	fd, err := sock.Connect(l.targets[k.client.target], o)
	if err != nil {
		l.refused(k, err)
		return
	}
	k.fd, k.opened = fd, 0
	gen := k.gen
	if l.plan.Delay == 0 {
		l.tryUp(k)
	}
	if k.gen != gen {
		return // it has failed
	}
	// Once the hello is out there is nothing more to write that would not fit.
	k.both = !k.up
	if err := l.poller.Add(k.fd, k.token(), k.both); err != nil {
		l.fail(k, classify(err), err)
	}
}

// token tells epoll's events of this conn from those of others, and of the slot's former ones.
func (k *conn) token() uint64 { return uint64(k.gen)<<32 | uint64(k.slot) } // a slot is not negative

// refused goes on to the next target, or fails the conn when all have been tried.
func (l *loop) refused(k *conn, err error) {
	if k.fd >= 0 {
		sock.Close(k.fd)
		k.fd = -1
	}
	class := classify(err)
	k.tried++
	if own := class == NoPorts || class == NoDescriptors; own || k.tried >= len(l.targets) {
		l.fail(k, class, err)
		return
	}
	k.record.Moved++
	k.client.target = (k.client.target + 1) % len(l.targets)
	// What the old one had waiting belongs to no one now.
	k.gen++
	l.timers.add(timer{at: k.deadline, slot: k.slot, gen: k.gen, what: dueTimeout})
	l.connect(k)
}

// tryUp sends the hello. On loopback the conn mostly is up when connect returns, and nobody has to wait for epoll.
func (l *loop) tryUp(k *conn) {
	k.opened = l.clock()
	if k.tls != nil || l.greet(k) {
		l.push(k)
	}
}

// canWrite is called when epoll says that the TCP conn is up, or has failed.
func (l *loop) canWrite(k *conn) {
	switch err := sock.Connected(k.fd); {
	case err != nil:
		l.refused(k, err)
	case l.plan.Delay == 0:
		l.tryUp(k)
	case k.opened == 0: // the answer to the SYN is on its way
		k.opened = l.clock() + l.plan.Delay
		l.timers.add(timer{at: k.opened, slot: k.slot, gen: k.gen, what: dueUp})
	}
}

// isUp notes that the client knows the TCP conn to be up.
func (l *loop) isUp(k *conn) {
	if !k.up {
		k.up = true
		k.state = shaking
		record(&k.record.Connect, k.opened-k.intended)
	}
}

// becomeEnding waits for the server to close, or for what else is due at the end, for a while.
func (l *loop) becomeEnding(k *conn, wait time.Duration) {
	k.state = ending
	k.deadline = l.clock() + wait + 2*l.plan.Delay
	l.timers.add(timer{at: k.deadline, slot: k.slot, gen: k.gen, what: dueTimeout})
}

// over reports whether a conn without a request has all that it waited for.
func (k *conn) over() bool {
	return k.state == ending && k.client.group.Requests < 0 && (k.tls.Session() != nil || !k.client.group.Kind.resumes())
}

// finish ends a conn as planned.
func (l *loop) finish(k *conn) {
	k.record.Done++
	l.stats.done.Add(1)
	if t := k.rec.tick(l.clock()); t != nil {
		t.Done++
	}
	if !k.ended {
		k.tls.CloseWrite()
		l.send(k, k.tls.Output()) // best effort: the conn is closed next
	}
	l.leave(k, true)
}

// fail ends a conn for a reason.
func (l *loop) fail(k *conn, class Class, err error) {
	if k.state == gone {
		return
	}
	k.record.fail(class, 1)
	l.stats.failed.Add(1)
	if t := k.rec.tick(l.clock()); t != nil {
		t.Errors++
	}
	if err != nil {
		l.stats.newest.Store(&failure{class, err})
	}
	if k.fd >= 0 && k.tls != nil && k.up {
		l.send(k, k.tls.Output()) // an alert perhaps; the conn is closed next
	}
	l.leave(k, false)
}

// leave closes a conn and gives its slot back.
func (l *loop) leave(k *conn, ok bool) {
	c := k.client
	if k.tls != nil {
		if k.shaken {
			s := k.tls.State()
			c.keep(l.clock(), &s, k.tls.Session())
		}
		k.record.Read += k.tls.Received()
	}
	if k.fd >= 0 {
		sock.Close(k.fd)
	}
	if k.state == holding {
		l.stats.held.Add(-1)
	} else {
		l.active--
	}
	k.answer.reset()
	k.toTarget.reset()
	k.toClient.reset()
	*k = conn{
		slot: k.slot, gen: k.gen + 1, onData: k.onData, out: k.out[:0], answer: k.answer,
		toTarget: k.toTarget, toClient: k.toClient, fd: -1,
	}
	l.free = append(l.free, k.slot)
	l.released(c, ok)
}

var errTimeout = errors.New("no end within the timeout")
