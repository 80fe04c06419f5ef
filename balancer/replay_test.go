//go:build linux

package balancer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// TestReplayOfFailedConnect is rule (a) of section 3.4: a backend that refuses
// the connection costs the client nothing, whatever it sends. Three of the four
// backends refuse; they are found out one after another.
func TestReplayOfFailedConnect(t *testing.T) {
	for _, test := range []struct {
		name string
		sent func(ticket []byte) []byte
	}{
		{"fresh hello", func([]byte) []byte { return hello{}.bytes() }},
		{"session ID", func([]byte) []byte { return hello{id: fixed('i')}.bytes() }},
		{"ticket", func(t []byte) []byte { return hello{ticket: t}.bytes() }},
		{"PSK", func(t []byte) []byte { return hello{psks: [][]byte{t}}.bytes() }},
		{"PSK and early data", func(t []byte) []byte {
			return join(hello{psks: [][]byte{t}, early: true}.bytes(), appData(1000))
		}},
		{"ticket and a later byte", func(t []byte) []byte { return join(hello{ticket: t}.bytes(), []byte{21}) }},
		{"no TLS", func([]byte) []byte { return []byte("GET / HTTP/1.0\r\n\r\n") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			for range 3 {
				r.unserved()
			}
			r.serveByHand()
			r.startPool(pool.Options{Fall: 1000})
			for i := 0; r.b.Stats().Replays < 3; i++ {
				if i == 50 {
					t.Fatal("no backend has refused")
				}
				c := r.dialFrom(source(i))
				sent := test.sent(named(keyName(i), i))
				write(t, c, sent)
				b := r.arrival()
				if got := read(t, b, len(sent)); !bytes.Equal(got, sent) {
					t.Error("the replay has other bytes")
				}
				write(t, b, []byte("answer"))
				read(t, c, 6)
				c.Close()
				b.Close()
				rec := r.last(i + 1)
				if rec.Backend.String() != r.servers[3].addr {
					t.Errorf("backend %v", rec.Backend)
				}
			}
			if s := r.b.Stats(); s.ConnectFailures != s.Replays || s.SecondChances != 0 || s.Connects != s.Accepted+s.Replays {
				t.Errorf("%d failures, %d replays, %d connects of %d conns", s.ConnectFailures, s.Replays, s.Connects, s.Accepted)
			}
		})
	}
}

// A home that refuses connections is a reason by itself.
func TestReplayOfHome(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.serveByHand()
	r.startPool(pool.Options{Fall: 1000})
	home := r.teachID(fixed('i'))
	home.ln.Close()
	offer := hello{id: fixed('i')}.bytes()
	c := r.dial()
	write(t, c, offer)
	b := r.arrival()
	if got := read(t, b, len(offer)); !bytes.Equal(got, offer) || b.server == home {
		t.Error("the hello did not go to the other backend")
	}
	r.talk(c, b, 1<<20, backend(answer{}.bytes(), certificate(10)))
	c.Close()
	b.Close()
	rec := r.last(2)
	if rec.Lost != LostDown || rec.Source != affinity.SourceFresh || rec.Tries != 2 || rec.Verdict != VerdictRefused {
		t.Errorf("lost %v, source %v, %d tries, verdict %v", rec.Lost, rec.Source, rec.Tries, rec.Verdict)
	}
	if s := r.b.Stats(); s.Lost[LostDown] != 1 || s.Replays != 1 {
		t.Errorf("lost %v, %d replays", s.Lost, s.Replays)
	}
}

// teachID lets a backend issue a session ID and returns it.
func (r *rig) teachID(id []byte) *server {
	r.Helper()
	return r.teach(hello{}, backend(answer{id: id}.bytes(), certificate(10), ccs()))
}

// teachTicket lets a backend issue a ticket and returns it.
func (r *rig) teachTicket(ticket []byte) *server {
	r.Helper()
	return r.teach(hello{ticket: []byte{}}, backend(answer{}.bytes(), certificate(10), newTicket(300, ticket), ccs()))
}

func (r *rig) teach(h hello, turns ...turn) *server {
	r.Helper()
	return r.teachFrom(0, h, turns...)
}

func (r *rig) teachFrom(from int, h hello, turns ...turn) *server {
	r.Helper()
	n := len(r.ended(0))
	var addr netip.Addr
	if from > 0 {
		addr = source(from)
	}
	c := r.dialFrom(addr)
	write(r, c, h.bytes())
	b := r.arrival()
	read(r, b, len(h.bytes()))
	r.talk(c, b, 1<<20, turns...)
	c.Close()
	b.Close()
	r.ended(n + 1)
	return b.server
}

// deafServer takes no connection and refuses none: its queue is full.
func (r *rig) deafServer() *server {
	r.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		r.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		r.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		r.Fatal(err)
	}
	s := &server{rig: r, addr: fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port), index: byte(len(r.servers))}
	c, err := net.Dial("tcp", s.addr) // fills the queue
	if err != nil {
		r.Fatal(err)
	}
	r.track(c)
	r.servers = append(r.servers, s)
	return s
}

// One try that times out has a third of the connect timeout; all together have
// the whole.
func TestConnectTimeout(t *testing.T) {
	const timeout = 600 * time.Millisecond
	t.Run("another backend", func(t *testing.T) {
		r := newRig(t)
		r.deafServer()
		r.serveByHand()
		r.startPool(pool.Options{Fall: 1000}, func(c *Config) { c.ConnectTimeout = timeout })
		sent := hello{}.bytes()
		for i := 0; r.b.Stats().Replays == 0; i++ {
			begun := time.Now()
			c := r.dial()
			write(t, c, sent)
			b := r.arrival()
			if got := read(t, b, len(sent)); !bytes.Equal(got, sent) {
				t.Error("the replay has other bytes")
			}
			c.Close()
			if took := time.Since(begun); r.b.Stats().Replays > 0 && took < timeout/3 {
				t.Errorf("gave the deaf backend up after %v, want %v", took, timeout/3)
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		r := newRig(t)
		for range 4 {
			r.deafServer()
		}
		const timeout = 3 * time.Second // so that three times as long is told from a busy machine
		r.startPool(pool.Options{Fall: 1000}, func(c *Config) { c.ConnectTimeout = timeout })
		begun := time.Now()
		c := r.dial()
		write(t, c, hello{}.bytes())
		_, err := c.Read(make([]byte, 1))
		if took := time.Since(begun); !isReset(err) || took < timeout || took > 2*timeout {
			t.Errorf("%v after %v, want a RST after %v", err, took, timeout)
		}
		if rec := r.ends(1, "sC"); rec.Tries != 3 || rec.ConnectErr != "connection timed out" {
			t.Errorf("%d tries, the last %q", rec.Tries, rec.ConnectErr)
		}
		if s := r.b.Stats(); s.ConnectFailures != 3 || s.Unroutable != 1 {
			t.Errorf("%d failures, %d unroutable", s.ConnectFailures, s.Unroutable)
		}
	})
}

// isReset says whether err tells of a RST.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// While the second backend is asked the client goes on: its bytes follow the
// hello, its FIN follows them, and its RST ends the conn.
func TestClientGoesOnDuringReplay(t *testing.T) {
	for _, test := range []struct {
		name     string
		more     string
		fin, rst bool
	}{
		{name: "bytes", more: "more"},
		{name: "bytes and FIN", more: "more", fin: true},
		{name: "FIN", fin: true},
		{name: "RST", rst: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			one, deaf, three := r.serveByHand(), r.deafServer(), r.serveByHand()
			r.start(func(c *Config) { c.HoldTimeout, c.ConnectTimeout = patience, 600*time.Millisecond })
			offer := hello{ticket: r.ticketFor(one, deaf, three)}.bytes()
			c := r.dial()
			write(t, c, offer)
			first := r.arrival()
			read(t, first, len(offer))
			first.Close()
			r.await("the deaf backend is asked", func() bool { return r.b.Stats().Connects == 2 })
			write(t, c, []byte(test.more))
			if test.fin {
				sendFIN(c)
			}
			if test.rst {
				sendRST(c)
				r.ends(1, "CC")
				return
			}
			second := r.arrival()
			want := append(offer, test.more...)
			if got := read(t, second, len(want)); !bytes.Equal(got, want) {
				t.Error("the third backend got other bytes")
			}
			if test.fin {
				if _, err := second.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the third backend got %v, want FIN", err)
				}
			}
			r.talk(c, second, 1<<20, backend(answer{}.bytes(), certificate(100)))
			second.Close()
			c.Close()
			if rec := r.ends(1, "--"); rec.Tries != 3 || rec.BytesIn != uint64(len(want)) {
				t.Errorf("%d tries, %d bytes in", rec.Tries, rec.BytesIn)
			}
		})
	}
}

// isClosed says whether err tells of a connection that this side has closed.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
