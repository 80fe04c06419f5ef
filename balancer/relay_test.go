//go:build linux

package balancer

import (
	"bytes"
	"context"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/balancer/pool"
)

// tlsOff makes the first listener read nothing.
func tlsOff(c *Config) { c.Listeners[0].TLS = TLSOff }

// noise is n bytes that depend on seed alone.
func noise(seed uint64, n int64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return io.LimitReader(rand.NewChaCha8(key), n)
}

// crc reads all of in: its length and checksum.
func crc(in io.Reader) (n int64, sum uint64, err error) {
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	n, err = io.Copy(h, in)
	return n, h.Sum64(), err
}

// TestHalfClose: a FIN of one side goes on behind its data, and the other side may still say all it likes.
func TestHalfClose(t *testing.T) {
	for _, first := range []side{sideClient, sideBackend} {
		for _, size := range []int{0, 10, 3 << 20} {
			r := newRig(t)
			r.serveByHand()
			r.start(tlsOff)
			ends := [2]*net.TCPConn{sideClient: r.dial()}
			ends[sideBackend] = r.arrival().TCPConn
			for _, from := range []side{first, first.other()} {
				data := make([]byte, size)
				_, _ = io.ReadFull(noise(uint64(from), int64(size)), data)
				go func() {
					write(t, ends[from], data)
					sendFIN(ends[from])
				}()
				if got, err := io.ReadAll(ends[from.other()]); !bytes.Equal(got, data) || err != nil {
					t.Errorf("FIN of %v first, %d bytes: %v got %d and %v", first, size, from.other(), len(got), err)
				}
			}
			rec := r.ends(1, "--")
			if rec.BytesIn != uint64(size) || rec.BytesOut != uint64(size) {
				t.Errorf("%d bytes in, %d out, want %d", rec.BytesIn, rec.BytesOut, size)
			}
			r.stop()
		}
	}
}

// TestReset: a RST of one side is seen as RST by the other, behind the data that came before it, in the plain relay and
// while the handshake is read.
func TestReset(t *testing.T) {
	const before = 50_000
	for _, test := range []struct {
		name string
		from side
		tls  bool
		ends string
	}{
		{"client", sideClient, false, "CD"},
		{"backend", sideBackend, false, "SD"},
		{"client in its handshake", sideClient, true, "CD"},
		{"backend in its handshake", sideBackend, true, "SD"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.serveByHand()
			r.start(func(c *Config) {
				if !test.tls {
					tlsOff(c)
				}
			})
			c := r.dial()
			greeting := hello{}.bytes()
			write(t, c, greeting)
			b := r.arrival()
			read(t, b, len(greeting))
			r.talk(c, b, 1<<20, backend(answer{}.bytes(), certificate(10)))
			ends := [2]*net.TCPConn{c, b.TCPConn}
			data := make([]byte, before)
			r.talk(c, b, 1<<20, turn{test.from, data[:before/2]})
			// The second half may still be on its way when the RST comes.
			s := r.b.Stats()
			write(t, ends[test.from], data[before/2:])
			r.await("second half", func() bool {
				now := r.b.Stats()
				return now.BytesIn+now.BytesOut == s.BytesIn+s.BytesOut+before/2
			})
			sendRST(ends[test.from])
			got, err := io.ReadAll(ends[test.from.other()])
			if !isReset(err) || len(got) != before/2 {
				t.Errorf("the other side got %d bytes and %v, want %d and RST", len(got), err, before/2)
			}
			r.ends(1, test.ends)
		})
	}
}

// A backend's RST waits until a slow client has everything that came before it; what the client says meanwhile, or that
// it leaves, harms nobody. The client is slow either to the balancer, which keeps the rest of a send, or to the kernel.
func TestResetBehindUnreadData(t *testing.T) {
	flight := join(answer{}.bytes(), certificate(30<<10))
	for _, narrow := range []bool{false, true} {
		for name, leave := range map[string]func(*net.TCPConn){
			"reads":               func(*net.TCPConn) {},
			"reads late":          func(*net.TCPConn) { <-time.After(4 * lingerPoll) },
			"sends and reads":     func(c *net.TCPConn) { write(t, c, []byte("to nobody")) },
			"sends much":          func(c *net.TCPConn) { write(t, c, make([]byte, 100_000)) },
			"sends FIN and reads": func(c *net.TCPConn) { sendFIN(c) },
			"closes":              func(c *net.TCPConn) { c.Close() },
			"resets":              func(c *net.TCPConn) { sendRST(c) },
		} {
			for _, mode := range []TLSMode{TLSAuto, TLSOff} {
				r := newRig(t)
				r.serveByHand()
				r.prepare(pool.Options{}, func(c *Config) { c.Listeners[0].TLS = mode })
				if narrow {
					r.narrowSend()
				}
				r.run()
				c := r.dialNarrow()
				greeting := hello{}.bytes()
				write(t, c, greeting)
				b := r.arrival()
				read(t, b, len(greeting))
				write(t, b, flight)
				r.await("relayed", func() bool { return r.b.Stats().BytesOut == uint64(len(flight)) })
				sendRST(b)
				if !narrow {
					r.ends(1, "SD") // counted at once, but the client is not cut off
				}
				r.settle()
				leave(c)
				if name != "closes" && name != "resets" {
					if got, err := io.ReadAll(c); !isReset(err) || !bytes.Equal(got, flight) {
						t.Errorf("%s, narrow %v, tls: %v: the client got %d bytes and %v, want %d and RST", name, narrow, mode, len(got), err, len(flight))
					}
				}
				r.last(1)
				r.stop()
			}
		}
	}
}

// dialNarrow connects with a receive buffer so small that the balancer soon holds bytes that the client has not
// acknowledged.
func (r *rig) dialNarrow() *net.TCPConn {
	r.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		})
	}}
	c, err := d.DialContext(context.Background(), "tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	r.track(c)
	return c.(*net.TCPConn)
}

// stalls waits until count has begun and no longer grows.
func (r *rig) stalls(count func() uint64) uint64 {
	r.Helper()
	var last uint64
	same := 0
	r.await("a stall", func() bool {
		n := count()
		if n == last && n > 0 {
			same++
		} else {
			same = 0
		}
		last = n
		return same > 300 // of mostly 200 us each
	})
	return last
}

// A client's RST that shows first when it is written to, while its own bytes wait for a slow backend, must not reach
// the backend as FIN.
func TestResetFoundByWriting(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff)
	c := r.dial()
	b := r.arrival()
	blocked := make(chan struct{})
	go func() {
		defer close(blocked)
		_, _ = io.Copy(struct{ io.Writer }{c}, noise(1, 64<<20)) // until nobody takes more
	}()
	r.stalls(func() uint64 { return r.b.Stats().BytesIn })
	sendRST(c)
	<-blocked
	write(t, b, []byte("x"))
	r.await("x is read", func() bool { return r.b.Stats().BytesOut == 1 })
	n, sum, err := crc(b)
	if _, want, _ := crc(noise(1, n)); !isReset(err) || sum != want {
		t.Errorf("the backend got %d bytes and %v, want a prefix and RST", n, err)
	}
}

// TestSlowReader: who does not read stops who sends, at a bounded amount, in the kernel and here; and then gets every
// byte. Copied and spliced, both ways.
func TestSlowReader(t *testing.T) {
	const size = 24 << 20
	for _, from := range []side{sideClient, sideBackend} {
		r := newRig(t)
		r.serveByHand()
		r.start(tlsOff)
		ends := [2]*net.TCPConn{sideClient: r.dial()}
		ends[sideBackend] = r.arrival().TCPConn
		_ = ends[from.other()].SetReadBuffer(64 << 10)
		var sender sync.WaitGroup
		sender.Go(func() {
			if _, err := io.Copy(struct{ io.Writer }{ends[from]}, noise(1, size)); err != nil {
				t.Error(err)
			}
			sendFIN(ends[from])
		})
		relayed := func() uint64 { s := r.b.Stats(); return s.BytesIn + s.BytesOut }
		// A send buffer of 4 MiB, a pipe, and a reader's window.
		if n := r.stalls(relayed); n > 10<<20 {
			t.Errorf("%d bytes were taken for a reader that does not read", n)
		}
		if held := r.b.Stats().BufferBytes; held > 64<<10 {
			t.Errorf("%d bytes of buffers for one slow reader", held)
		}
		n, sum, err := crc(ends[from.other()])
		if _, want, _ := crc(noise(1, size)); n != size || sum != want || err != nil {
			t.Errorf("the slow reader got %d bytes of %d, %v, or other ones", n, size, err)
		}
		sender.Wait()
		ends[from.other()].Close()
		r.ends(1, "--")
		r.stop()
	}
}

// TestSplice: bulky flows go through pipes, both ways at once, byte for byte, and the pipes are used again.
func TestSplice(t *testing.T) {
	const size = 16 << 20
	r := newRig(t)
	r.serveByHand()
	r.start()
	for i := range 3 {
		c := r.dial()
		write(t, c, []byte("no hello"))
		b := r.arrival()
		read(t, b, 8)
		var both sync.WaitGroup
		for _, pair := range [][2]*net.TCPConn{{c, b.TCPConn}, {b.TCPConn, c}} {
			from, to := pair[0], pair[1]
			both.Go(func() {
				if _, err := io.Copy(struct{ io.Writer }{from}, noise(uint64(i), size)); err != nil {
					t.Error(err)
				}
				sendFIN(from)
			})
			both.Go(func() {
				n, sum, err := crc(to)
				if _, want, _ := crc(noise(uint64(i), size)); n != size || sum != want || err != nil {
					t.Errorf("%d bytes of %d, %v, or other ones", n, size, err)
				}
			})
		}
		both.Wait()
		rec := r.ends(i+1, "--")
		if rec.BytesIn != size+8 || rec.BytesOut != size {
			t.Errorf("%d bytes in, %d out", rec.BytesIn, rec.BytesOut)
		}
	}
	s := r.b.Stats()
	if s.Spliced < 3*2*size*3/4 {
		t.Errorf("%d of %d bytes spliced", s.Spliced, s.BytesIn+s.BytesOut)
	}
	if p := r.b.loops[0].eng.Stats(); p.Pipes > 2 || p.IdlePipes != p.Pipes {
		t.Errorf("%d pipes made, %d idle", p.Pipes, p.IdlePipes)
	}
}

// Small messages after a bulky time are copied again, and none is lost or late.
func TestThinAfterBulky(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff)
	c := r.dial()
	b := r.arrival()
	go func() { _, _ = io.Copy(struct{ io.Writer }{c}, noise(1, 1<<20)) }()
	read(t, b, 1<<20)
	for i := range 50 {
		r.talk(c, b, 1<<20, client([]byte{byte(i)}), backend([]byte{byte(i)}))
	}
	spliced := r.b.Stats().Spliced
	for i := range 50 {
		r.talk(c, b, 1<<20, client([]byte{byte(i)}), backend([]byte{byte(i)}))
	}
	if s := r.b.Stats(); s.Spliced != spliced || spliced == 0 {
		t.Errorf("%d bytes spliced, %d of them small ones", s.Spliced, s.Spliced-spliced)
	}
}

// A flow is bulky when most of what comes is large, though no chunk fills the buffer, and is not for many that are
// smaller.
func TestBulky(t *testing.T) {
	for _, test := range []struct {
		name  string
		sizes []int // of chunks, again and again
		want  bool
	}{
		{"large", []int{20_000}, true},
		{"large with ends", []int{20_000, 20_000, 20_000, 200}, true},
		{"small", []int{10_000}, false},
		{"mixed", []int{20_000, 10_000}, false},
		{"answers", []int{20_000, 20_000, 300, 300}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.serveByHand()
			r.start(tlsOff)
			c := r.dial()
			b := r.arrival()
			for range 12 * bulkyRuns {
				for _, n := range test.sizes {
					r.talk(c, b, n, backend(make([]byte, n)))
				}
			}
			if got := r.b.Stats().Spliced; got > 0 != test.want {
				t.Errorf("%d bytes spliced", got)
			}
		})
	}
}

// A client that reads slowly what was sent long ago is not idle.
func TestSlowReaderIsNotIdle(t *testing.T) {
	const short = 150 * time.Millisecond
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.IdleTimeout = short })
	c := r.dial()
	if err := c.SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	greeting := hello{}.bytes()
	write(t, c, greeting)
	b := r.arrival()
	read(t, b, len(greeting))
	r.talk(c, b, 1<<20, backend(answer{tls13: true}.bytes()))
	const size = 2 << 20
	go func() { _, _ = b.Write(make([]byte, size)) }() // a failure is a short count at the client
	tick := time.NewTicker(short / 10)
	defer tick.Stop()
	for range 64 { // 0.96 s, six times the timeout
		<-tick.C
		read(t, c, size/64)
	}
	b.Close()
	c.Close()
	r.ends(1, "--")
	r.stop()
}

// pending is the number of bytes that c has received and not read.
func pending(t testing.TB, c *net.TCPConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// narrowSend makes the kernel take little at a time from the balancer for a client. Before run.
func (r *rig) narrowSend() {
	fd := r.b.loops[0].inlets[0].fd
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096); err != nil {
		r.Fatal(err)
	}
}
