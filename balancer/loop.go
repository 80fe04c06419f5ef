//go:build linux

package balancer

import (
	"context"
	"log/slog"
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
	young          order // all conns without a whole hello
	partial        order // those with a part of one
	partialBytes   int64 // of buffers that these hold
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
		young: order{which: young}, partial: order{which: partial},
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

// tell queues a record, or counts it as lost.
func (l *loop) tell(r record) {
	select {
	case l.b.records <- r:
	default:
		l.count.recordsDropped.Add(1)
	}
}

// say logs a line without waiting for the log.
func (l *loop) say(level slog.Level, text string, attrs ...slog.Attr) {
	logger := l.set.cfg.Log // of this generation
	l.tell(record{line: func() { logger.LogAttrs(context.Background(), level, text, attrs...) }})
}
