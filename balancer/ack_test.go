//go:build linux

package balancer

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"
)

// TestSmallWrites: a plain client, and a plain server, that say the first thing in small writes, with Nagle's algorithm
// on, are not kept waiting for ACKs, which would take 40 ms for each side. The best of many counts, so that a busy
// machine makes no difference.
func TestSmallWrites(t *testing.T) {
	const conns, pieces = 20, 4
	say := func(c net.Conn, b []byte) {
		for range pieces {
			if _, err := c.Write(b); err != nil {
				t.Error(err)
			}
		}
	}
	for _, mode := range []TLSMode{TLSAuto, TLSOff} {
		for _, greets := range []bool{false, true} {
			if greets && mode != TLSOff {
				continue
			}
			t.Run(fmt.Sprintf("%v, the server greets: %v", mode, greets), func(t *testing.T) {
				r := newRig(t)
				request, answer := []byte("ask me "), []byte("answer ")
				r.serve(func(c *net.TCPConn) {
					_ = c.SetNoDelay(false) // an open socket takes it
					if greets {
						say(c, answer)
					}
					read(t, c, pieces*len(request))
					say(c, answer)
					_, _ = c.Read(make([]byte, 1)) // until the client closes
				})
				r.start(func(c *Config) { c.Listeners[0].TLS = mode })
				best := patience
				for range conns {
					c := r.dial()
					_ = c.SetNoDelay(false)
					begun := time.Now()
					if greets {
						read(t, c, pieces*len(answer))
					}
					say(c, request)
					if got := read(t, c, pieces*len(answer)); !bytes.Equal(got, bytes.Repeat(answer, pieces)) {
						t.Errorf("the client got %q", got)
					}
					best = min(best, time.Since(begun))
					c.Close()
				}
				t.Logf("%v", best)
				if best > 20*time.Millisecond {
					t.Errorf("the first exchange takes %v", best)
				}
			})
		}
	}
}
