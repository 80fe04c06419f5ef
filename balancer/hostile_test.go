//go:build linux

package balancer

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

// junk is what a hostile client sends first: noise, or a hello that is cut short, damaged, oversized or stretched.
func junk(rng *rand.Rand) []byte {
	ticket := named(keyName(rng.IntN(50)), rng.IntN(1000))
	valid := hello{names: []string{"a.test"}, id: ticket[20:52], psks: [][]byte{ticket}, tls13: true}
	if rng.IntN(2) == 0 {
		valid.psks, valid.ticket = nil, ticket
	}
	b := valid.bytes()
	switch rng.IntN(6) {
	case 0:
		b = make([]byte, rng.IntN(3000))
		_, _ = io.ReadFull(noise(rng.Uint64(), int64(len(b))), b)
	case 1:
		b = b[:rng.IntN(len(b))]
	case 2:
		for range 1 + rng.IntN(5) {
			b[rng.IntN(len(b))] ^= byte(1 << rng.IntN(8))
		}
	case 3:
		b = paddedTo(valid, 17<<10+rng.IntN(40<<10))
	case 4:
		b = records(22, valid.message(), 1)
	}
	return b
}

// TestHostileInput: junk in every shape, clients that say nothing and clients that read nothing end by their deadlines,
// in bounded memory, while good clients find home as ever; and nothing of it is learned.
func TestHostileInput(t *testing.T) {
	const timeout = 500 * time.Millisecond
	const memory = 8 << 20
	r := newRig(t)
	for range 3 {
		r.serveTLS(true)
	}
	r.start(func(c *Config) {
		c.Loops, c.BufferMemory = 2, memory
		c.HelloTimeout, c.HalfClosedTimeout, c.HoldTimeout = timeout, timeout, timeout
	})
	good := r.browser(tls.VersionTLS12)
	home, _ := good.visit(source(1))
	r.settle()
	before := r.store.Stats()

	var hostile sync.WaitGroup
	seeds := make(chan uint64)
	for range 16 {
		hostile.Go(func() {
			for seed := range seeds {
				rng := rand.New(rand.NewPCG(seed, 3))
				c, err := r.tryDial(source(1000 + int(seed)))
				if err != nil {
					if !errors.Is(err, syscall.ECONNRESET) { // on a busy machine its time is over before it knows that it is connected
						t.Error(err)
					}
					continue
				}
				_ = c.SetReadBuffer(4096) // smaller is harder on the balancer, and no more
				b := junk(rng)
				piece := 1 + rng.IntN(len(b)+1)
				if rng.IntN(4) == 0 {
					piece = 1
					b = b[:min(len(b), 50)]
				}
				for len(b) > 0 {
					n := min(piece, len(b))
					if _, err := c.Write(b[:n]); err != nil {
						break
					}
					b = b[n:]
				}
				switch rng.IntN(4) {
				case 0:
					c.Close()
				case 1:
					sendRST(c)
				case 2:
					sendFIN(c)
				} // or it stays, and reads nothing
			}
		})
	}
	var silent []*net.TCPConn
	for i := range hostileConns / 10 {
		if c, err := r.tryDial(source(5000 + i)); !errors.Is(err, syscall.ECONNRESET) {
			testkit.Check(t, err)
			silent = append(silent, c)
		}
	}
	for i := range hostileConns {
		seeds <- uint64(i)
		if i%20 == 0 {
			if server, resumed := good.visit(source(8000 + i)); !resumed || server != home {
				t.Errorf("visit %d: resumed %v at %d, home is %d", i, resumed, server, home)
			}
			if used := r.b.Stats().BufferBytes; used > 2*memory {
				t.Errorf("%d bytes of buffers, the limit is %d", used, memory)
			}
		}
	}
	close(seeds)
	hostile.Wait()
	for i, c := range silent {
		if _, err := c.Read(make([]byte, 1)); !isReset(err) {
			t.Errorf("silent client %d got %v, want RST", i, err)
		}
	}
	after := r.store.Stats()
	if n := after.Entries.Inserts - before.Entries.Inserts; n > 2*hostileConns/20+2 {
		t.Errorf("%d entries learned, the good client has had %d tickets", n, hostileConns/20+1)
	}
	if after.Clients.Inserts-before.Clients.Inserts > hostileConns/20+2 {
		t.Errorf("clients before %+v, after %+v", before.Clients, after.Clients)
	}
	for _, b := range r.pool.Snapshot().All() {
		if !b.Up() || b.Failures() != 0 {
			t.Errorf("backend %s: up %v, %d failures", b.Addr, b.Up(), b.Failures())
		}
	}
}
