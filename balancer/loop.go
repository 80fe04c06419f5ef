//go:build linux

package balancer

import (
	"runtime"
	"sync"
	"time"

	"homing/balancer/internal/netio"
	"homing/balancer/pool"
	"homing/tlsparse"
)

// acceptPause is how long a loop takes no connections after it ran out of
// descriptors (EMFILE): long enough not to spin, short enough not to be felt.
const acceptPause = 50 * time.Millisecond

// persistAfter is the age at which a conn gets its keepalive options. Most are
// gone by then and never pay for the calls; before it, tighter deadlines hold.
const persistAfter = 5 * time.Second

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
	source         int      // turn of the source addresses
	turns          uint32   // number of the last turn in a queue
	obeyed         []command

	// Written by the loop, read by all.
	count counters

	// Guarded by mu.
	mu       sync.Mutex
	commands []command
	gone     bool // shut: commands are not for anybody any more
}

// command is what others want of a loop.
type command struct {
	kind  commandKind
	adopt *adoption     // of commandAdopt
	turn  uint64        // of commandTurn
	left  *pool.Backend // of commandLeave
	done  chan<- error  // gets one answer and has room for it; nil: nobody waits
}

type commandKind uint8

const (
	commandDrain   commandKind = iota // take no more connections, end when the last conn has
	commandKill                       // reset all conns and end
	commandAdopt                      // follow other settings
	commandSettle                     // close what the settings do not name
	commandRelease                    // close all listening sockets and leave their queues to others
	commandSync                       // answer
	commandTurn                       // a conn in a queue need not wait any more
	commandLeave                      // end the conns of a backend that was marked down
)

func newLoop(b *Balancer, index int) (*loop, error) {
	eng, err := b.newEngine(b.set.cfg.BufferMemory / int64(b.set.cfg.Loops))
	if err != nil {
		return nil, err
	}
	return &loop{b: b, set: b.set, index: index, eng: eng, buffers: eng.Buffers(), wheel: newWheel(), standings: newStandings()}, nil
}

// post queues a command. Any goroutine.
func (l *loop) post(c command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone { // the engine's descriptors may be somebody else's by now
		c.refuse()
		return
	}
	l.commands = append(l.commands, c)
	l.eng.Wake()
}

// refuse is the answer of a loop that is gone. What it was given is closed.
func (c *command) refuse() {
	if c.adopt != nil {
		for s := range c.adopt.gates {
			_ = s.close() // nothing to be done about it
		}
	}
	if c.kind == commandSync { // it has finished all that it had begun
		c.answer(nil)
		return
	}
	c.answer(errEnded)
}

func (c *command) answer(err error) {
	if c.done != nil {
		c.done <- err
	}
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

// obey carries out what was posted.
func (l *loop) obey() {
	l.mu.Lock()
	commands := l.commands
	l.commands = l.obeyed[:0] // the two take turns: a place in a queue costs no heap object
	l.mu.Unlock()
	for _, c := range commands {
		var err error
		switch c.kind {
		case commandDrain:
			l.drain()
		case commandKill:
			l.kill()
		case commandAdopt:
			err = l.adopt(c.adopt)
		case commandSettle:
			l.settle()
		case commandRelease:
			l.releaseInlets()
		case commandTurn:
			l.turnCome(c.turn)
		case commandLeave:
			l.leave(c.left)
		case commandSync:
		}
		c.answer(err)
	}
	clear(commands)
	l.obeyed = commands
}

// kill resets every conn.
func (l *loop) kill() {
	for i := range l.conns.pages {
		for j := range l.conns.pages[i] {
			if c := &l.conns.pages[i][j]; c.state != stateFree {
				l.becomeClosing(c, CauseKilled, true)
			}
		}
	}
	l.killed = true
}

// accepted begins a conn.
func (l *loop) accepted(done *netio.Completion) {
	if done.Errno != 0 {
		l.inlets[done.Tag].gate.count.noAccepts.Add(1)
		l.pause()
		return
	}
	g := l.inlets[done.Tag].gate
	l.count.accepted.Add(1)
	l.count.open.Add(1)
	g.count.accepted.Add(1)
	g.count.open.Add(1)
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

// shed drops the newest conns with a part of a hello while the buffers are over
// their limit: an attacker's slow hellos go first, and among them those who came
// last. A conn that holds no memory is none to shed, and a quarter of the limit is
// theirs whatever else is held: clients who do not read must not keep out those
// whose hello comes in two segments.
func (l *loop) shed() {
	for l.buffers.Over() && l.partial > l.set.cfg.BufferMemory/int64(4*l.set.cfg.Loops) {
		c := l.conns.at(l.newest.conn)
		l.count.shed.Add(1)
		l.countHello(c, HelloShed)
		l.becomeClosing(c, CauseResource, true)
	}
}

// gather appends to the conn's hello, and makes it the newest with a part of one
// if these are its first bytes. It reports whether there was room.
func (l *loop) gather(c *conn, b []byte) bool {
	hs := c.hs
	held := cap(hs.hello)
	var ok bool
	if hs.hello, ok = l.buffers.Append(hs.hello, b); !ok {
		return false
	}
	l.partial += int64(cap(hs.hello) - held)
	if held > 0 {
		return true
	}
	hs.older = l.newest
	if l.newest != nil {
		l.newest.newer = hs
	}
	l.newest = hs
	return true
}

// unlist ends what becomeHello and gather have begun: the hello is whole, or given up.
func (l *loop) unlist(hs *handshake) {
	if l.young.remove(hs) {
		l.count.young.Add(^uint64(0))
	}
	if cap(hs.hello) == 0 {
		return // nothing has come, or nothing is read
	}
	l.partial -= int64(cap(hs.hello))
	if hs.older != nil {
		hs.older.newer = hs.newer
	}
	if hs.newer != nil {
		hs.newer.older = hs.older
	} else {
		l.newest = hs.older
	}
	hs.older, hs.newer = nil, nil
}

// setDue makes the loop ask c at due, or earlier.
func (l *loop) setDue(c *conn, due netio.Time) { l.wheel.set(&l.conns, c, due) }
