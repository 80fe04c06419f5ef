//go:build linux

package balancer

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// ending is one way for a conn to end.
type ending struct {
	name  string
	want  string // Termination
	edit  func(*Config)
	conn  func(r *rig, c *net.TCPConn) // the client's and, by arrival, the backend's part
	after time.Duration                // not earlier
	reset bool                         // the client sees a RST at the end
}

// TestTermination has every way to end and its two letters.
func TestTermination(t *testing.T) {
	const short = 200 * time.Millisecond
	plain := hello{}.bytes()
	offer := hello{ticket: named("sixteen bytes nm", 1)}.bytes()
	greet := func(r *rig, c *net.TCPConn, sent []byte) arrival {
		write(r, c, sent)
		b := r.arrival()
		read(r, b, len(sent))
		return b
	}
	shaken := func(r *rig, c *net.TCPConn) arrival {
		b := greet(r, c, plain)
		r.talk(c, b, 1<<20, backend(answer{tls13: true}.bytes(), appData(100)), client(ccs(), appData(50)))
		return b
	}
	rst := func(c *net.TCPConn) { sendRST(c) }
	idle := func(c *Config) { c.IdleTimeout = short }
	half := func(c *Config) { c.HalfClosedTimeout = short }
	for _, test := range []ending{
		{name: "both FIN", want: "--", conn: func(r *rig, c *net.TCPConn) {
			b := shaken(r, c)
			sendFIN(c)
			_, _ = io.Copy(io.Discard, b)
			sendFIN(b)
		}},
		{name: "both FIN in the handshake", want: "--", conn: func(r *rig, c *net.TCPConn) {
			b := greet(r, c, plain)
			r.talk(c, b, 1<<20, backend(alert(2, 40)))
			sendFIN(b)
			_, _ = io.Copy(io.Discard, c)
			sendFIN(c)
		}},
		{name: "backend's FIN without a byte", want: "SA", conn: func(r *rig, c *net.TCPConn) {
			b := greet(r, c, plain)
			sendFIN(b)
			_, _ = io.Copy(io.Discard, c)
			sendFIN(c)
		}},
		{name: "backend's FIN without a byte, which the client resets", want: "SA", conn: func(r *rig, c *net.TCPConn) {
			b := greet(r, c, plain)
			sendFIN(b)
			_, _ = io.Copy(io.Discard, c)
			rst(c)
		}},
		{name: "client's FIN before the answer, of which there is none", want: "CA", conn: func(r *rig, c *net.TCPConn) {
			b := greet(r, c, plain)
			sendFIN(c)
			_, _ = io.Copy(io.Discard, b)
			sendFIN(b)
		}},
		{name: "client's RST before the answer", want: "CA", conn: func(r *rig, c *net.TCPConn) {
			b := greet(r, c, plain)
			rst(c)
			if _, err := io.Copy(io.Discard, b); !isReset(err) {
				r.Errorf("the backend got %v, want RST", err)
			}
		}},
		{name: "client's RST while its answer is held", want: "CA", conn: func(r *rig, c *net.TCPConn) {
			b := greet(r, c, offer)
			write(r, b, answer{}.bytes())
			r.await("held", func() bool { return r.b.Stats().BytesOut > 0 })
			rst(c)
		}},
		{name: "backend's RST before the answer", want: "SA", reset: true, conn: func(r *rig, c *net.TCPConn) {
			rst(greet(r, c, plain).TCPConn)
		}},
		{name: "client's RST", want: "CD", conn: func(r *rig, c *net.TCPConn) { shaken(r, c); rst(c) }},
		{name: "backend's RST", want: "SD", reset: true, conn: func(r *rig, c *net.TCPConn) { rst(shaken(r, c).TCPConn) }},
		{name: "client's RST behind the backend's FIN", want: "CL", conn: func(r *rig, c *net.TCPConn) {
			b := shaken(r, c)
			sendFIN(b)
			_, _ = io.Copy(io.Discard, c)
			rst(c)
		}},
		{name: "backend's RST behind the client's FIN", want: "SL", reset: true, conn: func(r *rig, c *net.TCPConn) {
			b := shaken(r, c)
			sendFIN(c)
			_, _ = io.Copy(io.Discard, b)
			rst(b.TCPConn)
		}},
		{name: "the backend owes an answer", want: "sA", edit: idle, after: short, reset: true, conn: func(r *rig, c *net.TCPConn) {
			greet(r, c, plain)
		}},
		{name: "the backend is silent", want: "sD", edit: idle, after: short, reset: true, conn: func(r *rig, c *net.TCPConn) {
			shaken(r, c)
		}},
		{name: "the client is silent", want: "cD", edit: idle, after: short, reset: true, conn: func(r *rig, c *net.TCPConn) {
			r.talk(c, shaken(r, c), 1<<20, backend(appData(10)))
		}},
		{name: "the backend does not end", want: "sL", edit: half, after: short, reset: true, conn: func(r *rig, c *net.TCPConn) {
			b := shaken(r, c)
			sendFIN(c)
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{b})
		}},
		{name: "the client does not end", want: "cL", edit: half, after: short, reset: false, conn: func(r *rig, c *net.TCPConn) {
			b := shaken(r, c)
			sendFIN(b)
			_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		}},
		{name: "killed", want: "KD", reset: true, conn: func(r *rig, c *net.TCPConn) {
			shaken(r, c)
			r.b.post(command{kind: commandKill})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			r.serveByHand()
			edits := []func(*Config){}
			if test.edit != nil {
				edits = append(edits, test.edit)
			}
			r.start(edits...)
			begun := time.Now()
			c := r.dial()
			test.conn(r, c)
			rec := r.ends(1, test.want)
			if rec.Total < test.after || time.Since(begun) < test.after {
				t.Errorf("ended after %v, want %v", rec.Total, test.after)
			}
			if test.reset {
				if _, err := io.Copy(io.Discard, c); !isReset(err) {
					t.Errorf("the client got %v, want RST", err)
				}
			}
		})
	}
}

// Bytes in either direction keep a conn, whole or half-closed; a conn lives on
// past its handshake's deadlines.
func TestTrafficKeepsConn(t *testing.T) {
	t.Parallel()
	const short = 2 * time.Second // and each turn comes after half of it: a busy machine has the other half
	for _, halfClosed := range []bool{false, true} {
		t.Run(fmt.Sprintf("half-closed %v", halfClosed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.serveByHand()
			r.start(func(c *Config) {
				c.IdleTimeout, c.HalfClosedTimeout = short, short
				c.HelloTimeout, c.HoldTimeout, c.ConnectTimeout = short, short, short
			})
			c := r.dial()
			greeting := hello{}.bytes()
			write(t, c, greeting)
			b := r.arrival()
			read(t, b, len(greeting))
			r.talk(c, b, 1<<20, backend(answer{tls13: true}.bytes()))
			if halfClosed {
				sendFIN(c)
				_, _ = io.Copy(io.Discard, struct{ io.Reader }{b})
			}
			tick := time.NewTicker(short / 2)
			for range 4 {
				<-tick.C
				r.talk(c, b, 1<<20, backend(appData(1)))
			}
			tick.Stop()
			b.Close()
			c.Close()
			if rec := r.ends(1, "--"); rec.Total < 2*short {
				t.Errorf("lived for %v", rec.Total)
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
