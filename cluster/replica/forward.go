package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"homing/balancer/affinity"
)

// A process that was replaced still has conns, and learns from them. What lies in tables it shares with its heir is there
// at once; ticket keys are not, nor do the heir's peers hear of anything. So it forwards each fact over a stream that the
// two have, in the frames of replication:
//
//	elder                                 heir
//	                 ◄──────────────────  one byte: what it needs first
//	  part..., done  ──────────────────►  all ticket keys, or everything if the heir has tables of its own
//	  facts          ──────────────────►  merged, and shared with the peers
//	  open           ──────────────────►  conns that the elder still has, every second
//
// The stream is one of the machine's own: nothing is acknowledged, and the end of either process is its end.
const (
	// forwardRing is how many facts wait for the heir, 40 bytes each: 0.65 s at 100,000 a second, which a process that
	// takes no new conns never learns.
	forwardRing = 1 << 16

	// forwardWrite bounds the wait for an heir that takes nothing; it is as good as gone then.
	forwardWrite = 10 * time.Second

	// What an heir needs first.
	wantKeys  = 'k'
	wantWhole = 'w'

	// openEvery is how often the number of conns is told, which is a sign of life too.
	openEvery = time.Second
)

// Forwarder sends an heir what this process still learns. It never makes a loop wait.
type Forwarder struct {
	// Static.
	ring *ring

	waker waker

	// Atomic.
	sent, lost atomic.Uint64
}

// NewForwarder makes one that holds back the last 65,536 facts until Run sends them.
func NewForwarder() *Forwarder { return &Forwarder{ring: newRing(forwardRing), waker: newWaker()} }

// Learned takes a fact. It is for affinity.Config.Fact: it never blocks.
func (f *Forwarder) Learned(fact affinity.Fact) {
	f.ring.push(&fact, 1)
	f.waker.wake()
}

// ForwarderStats counts facts.
type ForwarderStats struct {
	Sent uint64 // to the heir, those of the export not counted
	Lost uint64 // times that the ring overwrote facts before they were sent: the ticket keys were sent again
}

// Stats may be called by any goroutine.
func (f *Forwarder) Stats() ForwarderStats { return ForwarderStats{f.sent.Load(), f.lost.Load()} }

// Run sends an export of the ticket keys, or of all if the heir wants that, and what is learned, until ctx is done and all
// that was learned has been sent. open is the number of conns. It returns why the heir can be told nothing any more, if so.
func (f *Forwarder) Run(ctx context.Context, heir net.Conn, store *affinity.Store, open func() int) error {
	x := &forwarding{f: f, heir: heir, store: store, seed: store.Seed(), open: open, batch: make([]affinity.Fact, 0, batchFacts)}
	var want [1]byte
	stop := closeWith(ctx, heir)
	if _, err := heir.Read(want[:]); err != nil {
		return fmt.Errorf("forward to the heir: %w", err)
	}
	stop()
	if want[0] != wantWhole {
		x.export = store.ExportKeys()
	}
	x.exporting = true
	timer := time.NewTimer(openEvery)
	defer timer.Stop()
	for {
		if err := x.step(); err != nil {
			return err
		}
		if len(x.out) > 0 {
			if err := x.write(); err != nil {
				return fmt.Errorf("forward to the heir: %w", err)
			}
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		f.park(ctx, timer, x.cursor, x.told.Add(openEvery))
	}
}

func (f *Forwarder) park(ctx context.Context, timer *time.Timer, cursor uint64, until time.Time) {
	f.waker.parked.Store(true)
	defer f.waker.parked.Store(false)
	if f.ring.ready(cursor) {
		return
	}
	timer.Reset(time.Until(until))
	select {
	case <-ctx.Done():
	case <-f.waker.ch:
	case <-timer.C:
	}
}

// forwarding is the state of Run.
type forwarding struct {
	// Static.
	f     *Forwarder
	heir  net.Conn
	store *affinity.Store
	seed  affinity.Seed
	open  func() int

	export    affinity.Cursor
	exporting bool
	parts     uint64
	cursor    uint64 // sequence of the last fact sent
	told      time.Time
	batch     []affinity.Fact
	out       []byte
}

var errForwardSeed = errors.New("this process took another seed: its heir finds nothing of what it learns")

// step appends what is to be sent next.
func (x *forwarding) step() error {
	if x.store.Seed() != x.seed {
		return errForwardSeed
	}
	facts, lost := x.f.ring.read(x.cursor, x.batch[:0])
	switch {
	case lost:
		x.f.lost.Add(1)
		x.cursor = x.f.ring.head.Load()
		if !x.exporting {
			x.export, x.exporting = x.store.ExportKeys(), true
		}
	case len(facts) > 0:
		x.out = appendBatch(x.out, frameFacts, x.cursor+1, facts)
		x.cursor += uint64(len(facts))
		x.f.sent.Add(uint64(len(facts)))
	}
	if x.exporting {
		part := x.store.Export(&x.export, x.batch[:0], x.store.Now())
		if len(part) > 0 {
			x.parts++
			x.out = appendBatch(x.out, framePart, x.parts, part)
		}
		if x.export.Done() {
			x.exporting = false
			x.out = appendNumbers(x.out, frameDone, x.parts)
		}
	}
	if now := time.Now(); now.Sub(x.told) >= openEvery {
		x.told = now
		x.out = appendNumbers(x.out, frameOpen, uint64(x.open()))
	}
	return nil
}

func (x *forwarding) write() error {
	defer func() { x.out = x.out[:0] }()
	if err := x.heir.SetWriteDeadline(time.Now().Add(forwardWrite)); err != nil {
		return err
	}
	_, err := x.heir.Write(x.out)
	return err
}

// FollowConfig is what an heir does with what its elder sends.
type FollowConfig struct {
	Store   *affinity.Store     // its Run must be running
	Tables  bool                // the store shares no tables with the elder: it wants everything first
	Learned func(affinity.Fact) // gets what the elder learns; nil: nobody
	Whole   func()              // called once, when all of the first export is there for the loops to see
	Open    func(conns uint64)  // what the elder said of its conns; nil: nobody
}

// Follow merges what an elder sends until it ends, which is no error, or ctx is done.
func Follow(ctx context.Context, elder io.ReadWriteCloser, cfg FollowConfig) error {
	defer closeWith(ctx, elder)()
	want := []byte{wantKeys}
	if cfg.Tables {
		want[0] = wantWhole
	}
	if _, err := elder.Write(want); err != nil {
		return fmt.Errorf("cluster: ask the elder: %w", err)
	}
	seed := cfg.Store.Seed()
	frames := newFrameReader(elder)
	var facts []affinity.Fact
	parts, whole := uint64(0), false
	for {
		t, payload, err := frames.next()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("cluster: the elder's facts: %w", err)
		}
		var n uint64
		switch t {
		case frameFacts, framePart:
			if n, facts, err = parseBatch(payload, facts[:0]); err != nil {
				break
			}
			if t == framePart {
				if parts++; n != parts {
					err = fmt.Errorf("part %d after %d", n, parts-1)
					break
				}
			}
			if cfg.Store.Seed() != seed {
				break // nobody would find it
			}
			cfg.Store.Merge(ctx, facts, cfg.Store.Now())
			if t == frameFacts && cfg.Learned != nil {
				for i := range facts {
					cfg.Learned(facts[i])
				}
			}
		case frameDone:
			if err = parseNumbers(payload, &n); err == nil && n != parts {
				err = fmt.Errorf("%d parts, %d came", n, parts)
			}
			if err == nil && !whole {
				whole = true
				if err = cfg.Store.Published(ctx); err == nil {
					cfg.Whole()
				}
			}
		case frameOpen:
			if err = parseNumbers(payload, &n); err == nil && cfg.Open != nil {
				cfg.Open(n)
			}
		case frameHello, frameAck, frameResync:
			err = errors.New("not for this stream")
		default:
			err = errors.New("unknown to this version")
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("cluster: the elder's facts: %s: %w", t, err)
		}
	}
}
