//go:build linux

package balancer

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// A client's RST that shows first when it is written to, while its own bytes
// wait for a slow backend, must not reach the backend as FIN.
func TestResetFoundByWriting(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.Listeners[0].TLS = TLSOff })
	c := r.dial()
	b := r.arrival()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	blocked := make(chan struct{})
	go func() {
		defer close(blocked)
		_, _ = c.Write(sent) // until nobody takes more
	}()
	r.stalls(func() uint64 { return r.b.Stats().BytesIn })
	c.SetLinger(0)
	c.Close()
	<-blocked
	write(t, b, []byte("x"))
	r.await("x is read", func() bool { return r.b.Stats().BytesOut == 1 })
	got, err := io.ReadAll(b)
	if !isReset(err) || !bytes.HasPrefix(sent, got) {
		t.Errorf("the backend got %d bytes and %v, want a prefix of %d and RST", len(got), err, len(sent))
	}
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
		return same > 200 // of at least 200 us each
	})
	return last
}

var _ = net.ErrClosed
