//go:build linux

package balancer

import (
	"runtime"
	"sync"

	"homing/balancer/internal/netio"
	"homing/tlsparse"
)

// loop is one thread with its own engine, conns, buffers and timers.
type loop struct {
	// Static after newLoop.
	b       *Balancer
	index   int
	eng     netio.Engine
	buffers *netio.Buffers

	// Owned by the loop's thread.
	set            *settings
	inlets         []*inlet // by the engine's tag
	spent          []uint32 // tags of closed inlets, the oldest first
	conns          conns
	wheel          *wheel
	standings      *standings
	idleHandshakes []*handshake
	now            netio.Time
	unix           uint32 // the store's time
	paused         bool   // listeners are not taken from
	resumeAt       netio.Time
	running        bool
	draining       bool
	leaving        int // inlets that are to be closed
	held           int // inlets of listeners that are full
	killed         bool
	newest         *handshake // of the conns with a part of a hello: the order of shedding
	partial        int64      // bytes of buffers that these hold
	young          young      // all conns without a whole hello
	hello          tlsparse.Hello
	scratch        []byte
	opened         []byte   // see opening
	unacked        []uint32 // tags of those who may wait for an ACK
	address        int      // turn of the source addresses
	turns          uint32   // number of the last turn in a queue
	obeyed         []command

	// Written by the loop, read by all.
	count counters

	// Guarded by Balancer.mu: the maps grow, what they point to is the loop's.
	listeners map[string]*ListenerCounts
	shares    map[string]*share

	// Guarded by mu.
	mu       sync.Mutex
	commands []command
	gone     bool // shut: commands are not for anybody any more
}

func newLoop(b *Balancer, index int) (*loop, error) {
	eng, err := b.newEngine(b.set.cfg.BufferMemory / int64(b.set.cfg.Loops))
	if err != nil {
		return nil, err
	}
	return &loop{
		b: b, set: b.set, index: index, eng: eng, buffers: eng.Buffers(), wheel: newWheel(), standings: newStandings(),
		listeners: map[string]*ListenerCounts{}, shares: map[string]*share{},
	}, nil
}

// shut releases everything; the thread is not running.
func (l *loop) shut() {
	for _, in := range l.inlets {
		_ = in.close() // nothing to be done about it
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	l.eng.Shut()
	for i := range l.commands {
		l.commands[i].refuse()
	}
	l.commands = nil
}

// run is the loop's thread.
func (l *loop) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.shut()
	l.running = true
	if err := l.listen(); err != nil {
		return err
	}
	var done netio.Completion // on the heap, once: the engine is an interface
	for !l.ended() {
		if err := l.turn(&done); err != nil {
			return err
		}
	}
	return nil
}

// turn waits until something has happened or is due, and does all that is to be done then. done is its own, lent.
func (l *loop) turn(done *netio.Completion) error {
	if err := l.eng.Wait(l.deadline()); err != nil {
		return err
	}
	l.now = l.eng.Now()
	l.unix = l.set.cfg.Store.Now()
	idle := true
	for !l.killed && l.eng.Next(done) {
		l.dispatch(done)
		idle = false
	}
	if idle || len(l.unacked) >= maxUnacked {
		l.sendAcks()
	}
	for c := l.wheel.due(&l.conns, l.now); c != nil; c = l.wheel.due(&l.conns, l.now) {
		l.expire(c)
	}
	l.shed()
	l.limitYoung()
	l.admit()
	return nil
}

func (l *loop) ended() bool {
	return l.killed || l.draining && l.conns.open == 0 && !l.listens()
}

// deadline is when Wait must return at the latest.
func (l *loop) deadline() netio.Time {
	d := l.wheel.deadline()
	if len(l.unacked) > 0 {
		d = min(d, l.now) // only look, and send them if there is nothing
	}
	if l.paused {
		d = min(d, l.resumeAt)
	}
	if l.held > 0 {
		d = min(d, l.now.Add(acceptPause)) // room may come of another loop
	}
	if l.empties() {
		d = min(d, l.now) // admit closes them as soon as their queues are empty
	}
	return d
}

func (l *loop) dispatch(c *netio.Completion) {
	conn := func() (*conn, side) { return l.conns.at(c.Tag >> 1), side(c.Tag & 1) }
	switch c.Op {
	case netio.OpAccept:
		l.accepted(c)
	case netio.OpWake:
		l.obey()
	case netio.OpConnect:
		cn, _ := conn()
		l.connected(cn, c)
	case netio.OpRecv:
		cn, from := conn()
		cn.flows[from].flags &^= reading
		l.received(cn, from, c)
	case netio.OpSend:
		cn, to := conn()
		l.sent(cn, to.other(), c.Errno)
	case netio.OpSplice:
		cn, from := conn()
		cn.flows[from].flags &^= reading
		l.spliced(cn, from, c)
	case netio.OpNone:
	}
}

// received hands the bytes, the end or the error to the conn's state.
func (l *loop) received(c *conn, from side, done *netio.Completion) {
	c.active, c.last = l.now, from
	if f := &c.flows[from]; done.N > 0 {
		if from == sideBackend && f.bytes == 0 {
			c.backend.CountAnswer()
		}
		f.bytes += uint64(done.N)
		if from == sideClient {
			l.count.bytesIn.Add(uint64(done.N))
		} else {
			l.count.bytesOut.Add(uint64(done.N))
		}
		c.tallyBytes(from, done.N)
	}
	if from == sideClient && c.hs != nil && c.hs.stash.used() && done.Errno == 0 {
		// It has not waited for the second chance, so there is none: the first
		// answer counts, and its backend gets what else the client has sent.
		c.flows[from].flags |= reading // done is still to be passed on
		l.becomeUnstashed(c)
		c.flows[from].flags &^= reading
	}
	switch c.state {
	case stateHello:
		l.helloReceived(c, done)
	case stateObserve:
		if from == sideClient {
			l.observeClient(c, done)
		} else {
			l.observeBackend(c, done)
		}
	case stateRelay:
		l.relay(c, from, done)
	case stateQueue:
		l.queueReceived(c, done)
	case stateConnect:
		l.connectReceived(c, done)
	case stateClosing:
		l.lingerReceived(c, done)
	case stateFree: // by becomeUnstashed
	}
}
