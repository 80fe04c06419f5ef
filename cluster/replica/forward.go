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

// A process that was replaced still has conns, and learns from them. What lies in tables it shares with its heir is
// there at once; ticket keys are not, nor do the heir's peers hear of anything. So it forwards each fact over a stream
// that the two have, in the frames of replication:
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
	ring  *ring
	waker waker

	// Atomic: facts that were sent, and times that the ring overwrote some before: the ticket keys were sent again.
	sent, lost atomic.Uint64
}

// NewForwarder makes one that holds back the last 65,536 facts until Run sends them.
func NewForwarder() *Forwarder { return &Forwarder{ring: newRing(forwardRing), waker: newWaker()} }

// Learned takes a fact. It is for affinity.Config.Fact: it never blocks.
func (f *Forwarder) Learned(fact affinity.Fact) {
	f.ring.push(&fact, 1)
	f.waker.wake()
}

// Run sends an export of the ticket keys, or of all if the heir wants that, and what is learned, until ctx is done and
// all that was learned has been sent. open is the number of conns. It returns why the heir can be told nothing any
// more, if so.
func (f *Forwarder) Run(ctx context.Context, heir net.Conn, store *affinity.Store, open func() int) error {
	x := &forwarding{outbox: newOutbox(f.ring, store), f: f, seed: store.Seed(), open: open, exporting: true}
	var want [1]byte
	stop := closeWith(ctx, heir)
	if _, err := heir.Read(want[:]); err != nil {
		return fmt.Errorf("forward to the heir: %w", err)
	}
	stop()
	if want[0] != wantWhole {
		x.export = store.ExportKeys()
	}
	timer := time.NewTimer(openEvery)
	defer timer.Stop()
	for {
		if err := x.step(); err != nil {
			return err
		}
		if len(x.out) > 0 {
			_, err := write(heir, x.out, forwardWrite)
			if err != nil {
				return fmt.Errorf("forward to the heir: %w", err)
			}
			x.out = x.out[:0]
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		f.waker.park(ctx, timer, x.told.Add(openEvery), func() bool { return f.ring.ready(x.cursor) })
	}
}

// forwarding is the state of Run.
type forwarding struct {
	outbox
	f         *Forwarder
	seed      affinity.Seed
	open      func() int
	exporting bool
	told      time.Time
}

var errForwardSeed = errors.New("this process took another seed: its heir finds nothing of what it learns")

// step appends what is to be sent next.
func (x *forwarding) step() error {
	if x.store.Seed() != x.seed {
		return errForwardSeed
	}
	n, lost := x.appendNew()
	x.f.sent.Add(uint64(n))
	if lost {
		x.f.lost.Add(1)
		x.cursor = x.ring.head.Load()
		if !x.exporting {
			x.export, x.exporting = x.store.ExportKeys(), true
		}
	}
	if x.exporting {
		x.appendPart(x.store.Now())
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
	x := following{cfg: cfg, seed: cfg.Store.Seed()}
	frames := newFrameReader(elder)
	var facts []affinity.Fact
	for {
		t, payload, err := frames.next()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("cluster: the elder's facts: %w", err)
		}
		n, _, got, err := t.parse(payload, facts[:0])
		facts = got
		if err == nil {
			err = x.take(ctx, t, n, facts)
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("cluster: the elder's facts: %s: %w", t, err)
		}
	}
}

// following is the state of Follow.
type following struct {
	cfg   FollowConfig
	seed  affinity.Seed
	parts uint64
	whole bool
}

// take is one frame.
func (x *following) take(ctx context.Context, t frameType, n uint64, facts []affinity.Fact) error {
	switch t {
	case frameFacts:
		x.merge(ctx, facts, x.cfg.Learned)
	case framePart:
		if x.parts++; n != x.parts {
			return fmt.Errorf("part %d after %d", n, x.parts-1)
		}
		x.merge(ctx, facts, nil)
	case frameDone:
		if n != x.parts {
			return fmt.Errorf("%d parts, %d came", n, x.parts)
		}
		if x.whole {
			return nil
		}
		x.whole = true
		if err := x.cfg.Store.Published(ctx); err != nil {
			return err
		}
		x.cfg.Whole()
	case frameOpen:
		if x.cfg.Open != nil {
			x.cfg.Open(n)
		}
	case frameHello, frameAck, frameResync:
		return errForeign
	}
	return nil
}

func (x *following) merge(ctx context.Context, facts []affinity.Fact, learned func(affinity.Fact)) {
	if x.cfg.Store.Seed() != x.seed {
		return // nobody would find it
	}
	x.cfg.Store.Merge(ctx, facts, x.cfg.Store.Now())
	for i := range facts {
		if learned != nil {
			learned(facts[i])
		}
	}
}
