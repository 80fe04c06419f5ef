//go:build linux

package netio

import (
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// core is what both engines are made of and do in the same way: sockets and their slots, sending, splicing, taking
// connections, the queue of sockets that may go on. An engine embeds it and adds how it waits.
type core struct {
	// Constant after open.
	own    engine
	wakeFd int32
	base   time.Time
	parker *parker
	bellFd int32 // the parker's, if it is an eventfd that Wake must count up itself; 0: it need not

	// Owned by the loop.
	slots     slots
	buffers   *Buffers
	pipes     pipes
	spares    spares
	knocks    knocks
	listeners map[int32]*listener // by descriptor
	ready     []*listener         // whose queues have connections, as the last Wait has found
	accepts   int                 // taken from ready[0] in this batch
	run       []turn              // sockets with an operation that may make progress
	runHead   int
	runBatch  int // entries of run that belong to this batch
	now       Time
	watchFor  time.Duration
	alone     bool // nothing but one event has come of the last Wait
	quiet     bool // the last Wait has met its deadline and nothing else
	sparse    bool // conns come at greater distances than a loop watches

	// Guarded by mu, for Wake.
	mu   sync.Mutex
	shut bool
}

// engine is what each engine does in a way of its own.
type engine interface {
	// block waits raw, up to left, until something has ended, and reports whether something has. 0 only looks.
	block(left time.Duration) (some bool, errno syscall.Errno)
	// arm makes the parker's descriptor readable as soon as something ends, and reports whether something has already.
	arm() bool
	// disarm ends that.
	disarm()
	Close(s Sock, reset bool)
	// connect begins to connect s, a socket that is ready for it. An errno is this machine's, and closes s. See
	// Engine.Connect for first and given.
	connect(s Sock, sl *slot, to netip.AddrPort, first []byte) (given bool, errno syscall.Errno)
	// awaitInput has the splice from s go on when there is something to read.
	awaitInput(s Sock, sl *slot)
	// awaitRoom has the sending or splicing to s go on when there is room. An errno says that it cannot be waited for.
	awaitRoom(s Sock, sl *slot) syscall.Errno
	// awaitConns is told of a listener that has had its share, or has nothing. An errno says that it cannot be waited for.
	awaitConns(l *listener) syscall.Errno
	// ignoreConns has no more told of a listener.
	ignoreConns(l *listener) error
	// relieve gives back descriptors that are of no use now, and reports whether there were any.
	relieve() bool
}

// turn is an entry of the run queue: a socket, not whoever has its slot later.
type turn struct {
	sock Sock
	gen  uint32
}

// open makes the core that own embeds; parkFd is for its parker, which closes it.
func (e *core) open(own engine, parkFd int32, bufferLimit int64) (err error) {
	if e.parker, err = newParker(own, parkFd); err != nil {
		return err
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		e.parker.close()
		return fmt.Errorf("netio: eventfd: %w", err)
	}
	e.own, e.wakeFd, e.base, e.watchFor = own, int32(fd), time.Now(), watchTime
	e.buffers, e.listeners = NewBuffers(bufferLimit), map[int32]*listener{}
	return nil
}

// enqueue puts s into the run queue once.
func (e *core) enqueue(s Sock, sl *slot) {
	if sl.flags&queued == 0 {
		sl.flags |= queued
		e.run = append(e.run, turn{s, sl.gen})
	}
}

// compact drops what Next has taken from the run queue.
func (e *core) compact() {
	if e.runHead > 0 {
		e.run = append(e.run[:0], e.run[e.runHead:]...)
		e.runHead = 0
	}
}

// nextTurn takes the next socket of the batch from the run queue; nil: there is none.
func (e *core) nextTurn() (Sock, *slot) {
	for e.runHead < e.runBatch {
		t := e.run[e.runHead]
		e.runHead++
		if sl := e.slots.at(t.sock); !sl.stale(t.gen) {
			sl.flags &^= queued
			return t.sock, sl
		}
	}
	return NoSock, nil
}

// clock is the time now; Now is that of the last Wait.
func (e *core) clock() Time { return Time(time.Since(e.base)) }

func (e *core) Now() Time         { return e.now }
func (e *core) Buffers() *Buffers { return e.buffers }

func (e *core) ParkAtOnce() { e.watchFor = 0 }

func (e *core) Stats() EngineStats {
	return EngineStats{Socks: e.slots.open, Pipes: e.pipes.made, IdlePipes: len(e.pipes.idle)}
}

func (e *core) Wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shut {
		return // the descriptor may be another file's by now
	}
	sysCount(e.wakeFd)
	if e.bellFd != 0 {
		sysCount(e.bellFd)
	}
}

// shutting closes all sockets, at the first call: the caller releases then.
func (e *core) shutting() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shut {
		return false
	}
	e.shut = true
	for i := range e.slots.pages {
		for j := range e.slots.pages[i] {
			if e.slots.pages[i][j].gen&1 == 1 {
				e.own.Close(Sock(i<<pageBits|j), true)
			}
		}
	}
	return true
}

// rest waits until something has ended, at most until the clock shows deadline: it watches, and parks when nothing comes.
// It parks at once when there is no socket and the last time that took long, and after a Wait in vain. An errno is the
// engine's.
func (e *core) rest(deadline Time) syscall.Errno {
	begun := e.clock()
	if begun >= deadline {
		_, errno := e.own.block(0)
		return errno
	}
	empty := e.slots.open == 0
	watched := begun.Add(e.watchFor)
	if e.quiet || empty && e.sparse {
		watched = begun
	}
	e.quiet = false
	for now := begun; now < deadline; now = e.clock() {
		watch := min(deadline, watched).Sub(now)
		if watch <= 0 {
			watch = 0
			e.parker.park(deadline.Sub(now))
		}
		// EINTR is how the world is stopped, here.
		if some, errno := e.own.block(watch); some || errno != 0 && errno != unix.EINTR {
			if empty {
				e.sparse = e.clock().Sub(begun) > e.watchFor
			}
			return errno
		}
	}
	e.quiet = true
	return 0
}

// release frees what the core owns; nothing is open, and the kernel is done with all of it.
func (e *core) release() {
	e.spares.shut()
	e.pipes.shut()
	e.buffers.shut()
	e.parker.close()
	sysClose(e.wakeFd)
}
