package replica

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// pair is an elder and an heir with tables of their own, and the stream between them.
type pair struct {
	t           *testing.T
	elder, heir *affinity.Store
	forwarder   *Forwarder
	from, to    net.Conn
	learned     atomic.Int64 // facts that the heir shares with its peers
	open        atomic.Int64
	whole       chan struct{}
	tables      bool // the heir wants everything
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, forwarder: NewForwarder(), whole: make(chan struct{})}
	p.from, p.to = net.Pipe()
	t.Cleanup(func() { p.from.Close(); p.to.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	store := func(fact func(affinity.Fact)) *affinity.Store {
		s, err := affinity.NewStore(affinity.Config{
			Seed: 7, SeedMade: 1, TableEntries: 20_000, ClientEntries: 2000,
			Fact: fact,
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() { s.Run(ctx) })
		t.Cleanup(func() {
			running.Wait()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	p.elder, p.heir = store(p.forwarder.Learned), store(nil)
	t.Cleanup(cancel)
	return p
}

// follow sets the heir's part going; what it returns gives the error that ends it.
func (p *pair) follow(ctx context.Context) chan error {
	ended := make(chan error, 1)
	go func() {
		ended <- Follow(ctx, p.to, FollowConfig{
			Store: p.heir, Tables: p.tables, Learned: func(affinity.Fact) { p.learned.Add(1) },
			Whole: sync.OnceFunc(func() { close(p.whole) }), Open: func(n uint64) { p.open.Store(int64(n)) },
		})
	}()
	return ended
}

func (p *pair) forward(ctx context.Context) chan error {
	ended := make(chan error, 1)
	go func() {
		err := p.forwarder.Run(ctx, p.from, p.elder, func() int { return 42 })
		p.from.Close()
		ended <- err
	}()
	return ended
}

// name makes a ticket key that backend id holds.
func name(s *affinity.Store, key string, id uint32) {
	p := s.Pool(1)
	for i := range byte(2) {
		ticket := make([]byte, 200)
		copy(ticket, key)
		ticket[16] = i
		p.IssuedTicket(p.HashIdent(ticket), 0, id, now())
	}
}

func keysOf(s *affinity.Store) int {
	c := s.ExportKeys()
	return len(s.Export(&c, make([]affinity.Fact, 0, 99), now()))
}

func exported(s *affinity.Store) (n int) {
	var c affinity.Cursor
	for part := make([]affinity.Fact, 0, 512); !c.Done(); part = part[:0] {
		part = s.Export(&c, part, now())
		n += len(part)
	}
	return n
}

// Ticket keys are there when the export is over, whole tables only where they were asked for, and what is learned
// afterwards follows until the elder ends, to the last fact.
func TestForward(t *testing.T) {
	for _, whole := range []bool{false, true} {
		p := newPair(t)
		name(p.elder, "the first name of", 3)
		testkit.Eventually(t, "the elder confirms the key", func() bool { return keysOf(p.elder) == 1 })
		p.elder.Pool(1).IssuedID(77, 3, now())
		p.forwarder = NewForwarder() // the hand-over begins here
		ctx, cancel := context.WithCancel(t.Context())
		p.tables = whole
		followed, forwarded := p.follow(t.Context()), p.forward(ctx)
		<-p.whole
		if n := keysOf(p.heir); n != 1 {
			t.Errorf("whole %v: %d keys", whole, n)
		}
		if n := exported(p.heir); whole && n < 2 || !whole && n != 1 {
			t.Errorf("whole %v: %d facts", whole, n)
		}
		if n := p.learned.Load(); n != 0 {
			t.Errorf("%d facts that the peers have are shared again", n)
		}
		testkit.Eventually(t, "the heir knows how many conns are open", func() bool { return p.open.Load() == 42 })
		const many = 5000
		for i := range many {
			p.forwarder.Learned(affinity.Fact{Kind: affinity.FactEntry, Key: sessionKey(i), ID: 5, Time: now() + 1000})
		}
		p.forwarder.Learned(affinity.Fact{Kind: affinity.FactKeyGone, Pool: 1, Key: 9, ID: 5, Time: now() - 1})
		p.forwarder.Learned(affinity.Fact{Kind: affinity.FactKeyHome, Length: 16, Pool: 1, Key: 9, ID: 5, Time: now()})
		cancel()
		if err := <-forwarded; err != nil {
			t.Error(err)
		}
		if err := <-followed; err != nil {
			t.Error(err)
		}
		if n := p.learned.Load(); n != many+2 {
			t.Errorf("whole %v: %d facts were shared, want %d", whole, n, many+2)
		}
		testkit.Eventually(t, "the second key", func() bool { return keysOf(p.heir) == 2 })
		if sent, lost := p.forwarder.sent.Load(), p.forwarder.lost.Load(); sent != many+2 || lost != 0 {
			t.Errorf("%d sent, lost %d times", sent, lost)
		}
	}
}

// An heir that takes nothing costs the elder's loops nothing: the oldest facts are lost, that is counted, and the keys
// are sent again.
func TestForwardOverflow(t *testing.T) {
	p := newPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	forwarded := p.forward(ctx) // nobody asks yet
	for i := range 2 * forwardRing {
		p.forwarder.Learned(affinity.Fact{Kind: affinity.FactEntry, Key: sessionKey(i), ID: 5, Time: now() + 1000})
	}
	name(p.elder, "a name that was lost", 3)
	testkit.Eventually(t, "the elder confirms the key", func() bool { return keysOf(p.elder) == 1 })
	for i := range 2 * forwardRing { // the ring has forgotten the key
		p.forwarder.Learned(affinity.Fact{Kind: affinity.FactEntry, Key: sessionKey(i), ID: 5, Time: now() + 1000})
	}
	followed := p.follow(t.Context())
	testkit.Eventually(t, "the key came", func() bool { return keysOf(p.heir) == 1 })
	cancel()
	if err := <-forwarded; err != nil {
		t.Error(err)
	}
	if err := <-followed; err != nil {
		t.Error(err)
	}
	if p.forwarder.lost.Load() == 0 {
		t.Error("nothing is lost")
	}
}

// Facts under another seed than the one of the hand-over go to nobody.
func TestForwardAnotherSeed(t *testing.T) {
	p := newPair(t)
	followed, forwarded := p.follow(t.Context()), p.forward(t.Context())
	<-p.whole
	if err := p.heir.Reseed(t.Context(), affinity.Seed{Value: 8, Made: 1}); err != nil {
		t.Fatal(err)
	}
	p.forwarder.Learned(affinity.Fact{Kind: affinity.FactEntry, Key: 9, ID: 5, Time: now() + 1000})
	testkit.Eventually(t, "sent", func() bool { return p.forwarder.sent.Load() == 1 })
	if err := p.elder.Reseed(t.Context(), affinity.Seed{Value: 9, Made: 1}); err != nil {
		t.Fatal(err)
	}
	p.forwarder.Learned(affinity.Fact{Kind: affinity.FactEntry, Key: 10, ID: 5, Time: now() + 1000})
	if err := <-forwarded; err != errForwardSeed {
		t.Errorf("the elder says %v", err)
	}
	if err := <-followed; err != nil {
		t.Error(err)
	}
	if n := exported(p.heir); n != 0 || p.learned.Load() != 0 {
		t.Errorf("the heir took %d facts, and shared %d", n, p.learned.Load())
	}
}

// Whatever comes instead of facts ends the stream with an error, and every prefix of a good one is waited for.
func TestFollowRefuses(t *testing.T) {
	fact := []affinity.Fact{{Kind: affinity.FactEntry, Key: 1, ID: 2, Time: now() + 99}}
	for why, bytes := range map[string][]byte{
		"not a frame":         []byte("GET / HTTP/1.1\r\n"),
		"a frame of a peer":   appendNumbers(nil, frameAck, 1, 2),
		"a type to come":      appendNumbers(nil, frameOpen+1, 1),
		"a part out of order": appendBatch(nil, framePart, 2, fact),
		"parts that are lost": appendNumbers(nil, frameDone, 3),
		"an odd number":       appendNumbers(nil, frameOpen, 1, 2),
		"half a frame":        appendNumbers(nil, frameOpen, 1)[:9],
	} {
		p := newPair(t)
		followed := p.follow(t.Context())
		go func() {
			_ = p.from.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = p.from.Read(make([]byte, 1))
			_, _ = p.from.Write(bytes)
			p.from.Close()
		}()
		if err := <-followed; err == nil {
			t.Errorf("%s: no error", why)
		}
	}
	p := newPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	followed := p.follow(ctx)
	_, _ = p.from.Read(make([]byte, 1))
	cancel()
	if err := <-followed; err != nil {
		t.Errorf("its end on purpose: %v", err)
	}
	// An elder that is broken off before the heir asks does not wait for that.
	p = newPair(t)
	ctx, cancel = context.WithCancel(t.Context())
	forwarded := p.forward(ctx)
	cancel()
	if err := <-forwarded; err == nil {
		t.Error("the elder says nothing of an heir that never asked")
	}
}
