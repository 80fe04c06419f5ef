//go:build linux

package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// patience ends every wait of these tests: long enough for a busy machine, and never part of what is tested.
const patience = 20 * time.Second

// rig is a Balancer between scripted backends and clients of the test's own. When the test ends it checks that nothing
// is left: no conn, buffer, descriptor or goroutine.
type rig struct {
	testing.TB
	b       *Balancer
	pool    *pool.Pool   // of all servers that are in no other
	pools   []*pool.Pool // the others
	store   *affinity.Store
	addr    string
	servers []*server
	kill    func() // ends Run's context
	ran     chan error
	handled sync.WaitGroup // handlers of all servers
	arrived chan arrival   // connections of serveByHand
	over    chan struct{}  // closed when the test ends

	mu      sync.Mutex
	records []*ConnRecord
	conns   []net.Conn // of clients and servers, closed at the end
	stopped bool
}

// server is one scripted backend.
type server struct {
	rig     *rig
	ln      *net.TCPListener
	addr    string
	index   byte
	taken   atomic.Int32 // connections
	spec    pool.Spec    // without the address
	backend *pool.Backend
}

func newRig(t testing.TB) *rig {
	t.Helper()
	warm, err := net.Listen("tcp", "127.0.0.1:0") // the runtime's own poller counts as nobody's leak
	if err != nil {
		t.Fatal(err)
	}
	warm.Close()
	fds, goroutines := openFDs(t), runtime.NumGoroutine()
	r := &rig{TB: t, arrived: make(chan arrival, 1024), over: make(chan struct{})}
	t.Cleanup(func() {
		r.stop()
		r.hangUp()
		close(r.over)
		for _, s := range r.servers {
			s.ln.Close()
		}
		r.handled.Wait()
		r.await("no descriptor left", func() bool { return openFDs(t) <= fds })
		r.await("no goroutine left", func() bool { return runtime.NumGoroutine() <= goroutines })
	})
	return r
}

// openFDs is the number of descriptors of this process.
func openFDs(t testing.TB) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// track gives c a deadline and closes it at the end of the test.
func (r *rig) track(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(patience)) // an open socket takes any
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
}

// start runs a balancer before the servers; edit changes its configuration.
func (r *rig) start(edit ...func(*Config)) *rig {
	r.Helper()
	return r.startPool(pool.Options{}, edit...)
}

func (r *rig) startPool(opt pool.Options, edit ...func(*Config)) *rig {
	r.Helper()
	r.prepare(opt, edit...)
	r.run()
	return r
}

// prepare makes everything but does not run it.
func (r *rig) prepare(opt pool.Options, edit ...func(*Config)) {
	r.Helper()
	var rest []*server
	for _, s := range r.servers {
		if s.backend == nil {
			rest = append(rest, s)
		}
	}
	var err error
	r.pool = r.makePool("test", opt, rest...)
	if r.store, err = affinity.NewStore(affinity.Config{Seed: 1, TableEntries: 1 << 14, ClientEntries: 1 << 12}); err != nil {
		r.Fatal(err)
	}
	engine := EngineAuto
	if name := os.Getenv("HOMING_ENGINE"); name != "" { // make test runs all with each
		for engine = EngineEpoll; engine.String() != name; engine-- {
			if engine == EngineAuto {
				r.Fatalf("HOMING_ENGINE=%s is none", name)
			}
		}
	}
	cfg := Config{
		Listeners: []Listener{{Addr: "127.0.0.1:0", Default: r.pool}},
		Store:     r.store,
		Engine:    engine,
		ConnLog: func(rec *ConnRecord) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.records = append(r.records, rec)
		},
	}
	for _, f := range edit {
		f(&cfg)
	}
	if r.b, err = New(cfg); err != nil {
		r.Fatal(err)
	}
	r.addr = r.b.Addrs()[0].String()
}

// newPool makes a pool of servers beside the rig's own.
func (r *rig) newPool(name string, opt pool.Options, servers ...*server) *pool.Pool {
	r.Helper()
	p := r.makePool(name, opt, servers...)
	r.pools = append(r.pools, p)
	return p
}

func (r *rig) makePool(name string, opt pool.Options, servers ...*server) *pool.Pool {
	r.Helper()
	var specs []pool.Spec
	for _, s := range servers {
		s.spec.Addr = s.addr
		specs = append(specs, s.spec)
	}
	p, err := pool.New(name, specs, opt)
	if err != nil {
		r.Fatal(err)
	}
	for _, s := range servers {
		for _, b := range p.Snapshot().All() {
			if b.Addr.String() == s.addr {
				s.backend = b
			}
		}
	}
	return p
}

// withPool changes the options of the first listener's pool.
func withPool(edit func(*pool.Options)) func(*Config) {
	return func(c *Config) {
		p := c.Listeners[0].Default
		var specs []pool.Spec
		for _, b := range p.Snapshot().All() {
			specs = append(specs, pool.Spec{Addr: b.Addr.String(), Weight: b.Weight(), MaxConns: b.MaxConns()})
		}
		opt := *p.Snapshot().Options()
		edit(&opt)
		if err := p.Reconfigure(specs, opt); err != nil {
			panic(err)
		}
	}
}

// run starts what prepare has made.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var helpers sync.WaitGroup
	helpers.Go(func() { r.store.Run(ctx) })
	running, kill := context.WithCancel(context.Background())
	r.kill, r.ran = kill, make(chan error, 1)
	go func() { r.ran <- r.b.Run(running) }()
	r.Cleanup(func() {
		r.stop()
		if err := <-r.ran; err != nil {
			r.Errorf("Run: %v", err)
		}
		kill()
		cancel()
		helpers.Wait()
		if err := r.store.Close(); err != nil {
			r.Errorf("closing the store: %v", err)
		}
		s := r.b.Stats()
		if s.Open != 0 || s.Handshakes != 0 || s.BufferBytes != 0 {
			r.Errorf("after Run: %d conns, %d handshakes, %d bytes of buffers left", s.Open, s.Handshakes, s.BufferBytes)
		}
	})
}

// stop closes all conns of the test, waits for the balancer to notice, and ends it. Once.
func (r *rig) stop() {
	if r.stopped || r.b == nil {
		return
	}
	r.stopped = true
	r.hangUp()
	if !r.Failed() {
		r.idle()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience/4)
	defer cancel()
	if err := r.b.Shutdown(ctx); err != nil {
		r.Errorf("Shutdown: %v, with %d conns open", err, r.b.Stats().Open)
	}
}

// hangUp closes every connection of the test.
func (r *rig) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// idle waits until nothing is open and checks that nothing is held.
func (r *rig) idle() {
	r.Helper()
	r.await("no conn, handshake or buffer left", func() bool {
		s := r.b.Stats()
		return s.Open == 0 && s.Handshakes == 0 && s.BufferBytes == 0
	})
	for _, p := range append(r.pools, r.pool) {
		for _, b := range p.Snapshot().All() {
			if b.Open() != 0 {
				r.Errorf("pool %s: backend %s still has %d conns", p.Name(), b.Addr, b.Open())
			}
		}
	}
}

// await polls until ok, at most for patience.
func (r *rig) await(what string, ok func() bool) {
	r.Helper()
	for i, deadline := 0, time.Now().Add(patience); !ok(); i++ {
		if i < 50 {
			runtime.Gosched() // most things happen at once
			continue
		}
		if time.Now().After(deadline) {
			if r.b != nil {
				r.Logf("stats: %+v", r.b.Stats())
			}
			if r.stopped {
				buf := make([]byte, 1<<20)
				r.Logf("goroutines:\n%s", buf[:runtime.Stack(buf, true)])
			}
			r.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// settle returns once every loop has finished all that had happened before.
func (r *rig) settle() {
	r.Helper()
	for range 2 { // the second command is taken in a later batch than the first
		for _, l := range r.b.loops {
			l.post(command{kind: 0xff}) // nothing that obey knows
		}
		for _, l := range r.b.loops {
			r.await("loop takes commands", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.commands) == 0
			})
		}
	}
}

// ended waits until n conns have ended and returns their records.
func (r *rig) ended(n int) []*ConnRecord {
	r.Helper()
	r.await(fmt.Sprintf("%d records", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.records) >= n
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*ConnRecord(nil), r.records...)
}

// last is the record of the n-th conn, counted from 1, which was the last.
func (r *rig) last(n int) *ConnRecord {
	r.Helper()
	return r.ended(n)[n-1]
}

// ends checks the Termination of the n-th conn.
func (r *rig) ends(n int, want string) *ConnRecord {
	r.Helper()
	rec := r.last(n)
	if got := rec.Termination.String(); got != want {
		r.Errorf("conn %d ended with %q, want %q", n, got, want)
	}
	return rec
}

// known is what has been learned of the pool.
func (r *rig) known() *affinity.Pool { return r.store.Pool(r.pool.Hash()) }

// now is the time of the store's entries.
func now() uint32 { return uint32(time.Now().Unix()) }

// isReset says whether err tells of a RST.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// sendFIN ends what c says; the other side may have ended it already.
func sendFIN(c interface{ CloseWrite() error }) { _ = c.CloseWrite() }

// sendRST ends c at once.
func sendRST(c interface {
	SetLinger(sec int) error
	Close() error
},
) {
	_ = c.SetLinger(0) // cannot fail on an open socket
	_ = c.Close()
}

// read takes exactly n bytes.
func read(t testing.TB, c io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if got, err := io.ReadFull(c, b); err != nil {
		t.Errorf("read %d of %d bytes: %v", got, n, err)
	}
	return b
}

func write(t testing.TB, c io.Writer, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Errorf("write: %v", err)
	}
}

// takesTurns checks that of conns that come one by one each loop gets a part, where all take from one queue.
func (r *rig) takesTurns(dial func()) {
	r.Helper()
	const conns, least = 300, 10 // seen: 60 to 214 of three loops, and 1 of one that had no turn
	for range conns {
		dial()
	}
	for i, l := range r.b.loops {
		if n := l.count.accepted.Load(); n < least {
			r.Errorf("loop %d of %d got %d of %d conns", i, len(r.b.loops), n, conns)
		}
	}
}
