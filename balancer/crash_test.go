//go:build linux

package balancer

import (
	"bytes"
	"context"
	"homing/balancer/affinity"
	"homing/balancer/pool"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// dialNarrow connects with a receive buffer so small that the balancer soon
// holds bytes that the client has not acknowledged.
func (r *rig) dialNarrow() *net.TCPConn {
	r.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		})
	}}
	c, err := d.DialContext(context.Background(), "tcp", netip.MustParseAddrPort(r.addr).String())
	if err != nil {
		r.Fatal(err)
	}
	r.track(c)
	return c.(*net.TCPConn)
}

// narrowSend makes the kernel take little at a time from the balancer for a
// client. Before run.
func (r *rig) narrowSend() {
	fd := r.b.loops[0].listeners[0].fd
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096); err != nil {
		r.Fatal(err)
	}
}

func TestClientSendsWhileResetWaits(t *testing.T) {
	r := newRig(t)
	r.serve(func(c *net.TCPConn) {
		read(t, c, 1)
		write(t, c, make([]byte, 60<<10))
		r.await("relayed", func() bool { return r.b.Stats().BytesOut == 60<<10 })
		c.SetLinger(0)
	})
	r.start(func(c *Config) { c.Listeners[0].TLS = TLSOff })
	c := r.dialNarrow()
	write(t, c, []byte("x"))
	r.ended(1)
	write(t, c, []byte("y"))
	c.Close()
	r.settle()
}

// A client that takes what was held slower than the backend goes on to send.
func TestHoldTimeoutBeforeNarrowClient(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"fin": func(c *net.TCPConn) {},
		"rst": func(c *net.TCPConn) { c.SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			more := make(chan bool)
			offer := hello{ticket: make([]byte, 200)}.bytes()
			warnings := bytes.Repeat(alert(1, 112), 40<<10)
			r.serve(func(c *net.TCPConn) {
				read(t, c, len(offer))
				write(t, c, warnings)
				<-more
				write(t, c, certificate(100))
				r.await("read", func() bool { return r.b.Stats().BytesOut == uint64(len(warnings)+len(certificate(100))) })
				end(c)
			})
			r.prepare(pool.Options{}, func(c *Config) { c.HoldLimit, c.HoldTimeout = 1<<20, 100*time.Millisecond })
			r.narrowSend()
			r.run()
			c := r.dialNarrow()
			write(t, c, offer)
			r.await("released", func() bool { return r.b.Stats().Routes[affinity.SourceExplore] == 1 })
			close(more)
			r.await("read", func() bool { return r.b.Stats().BytesOut == uint64(len(warnings)+len(certificate(100))) })
			r.settle()
			want := join(warnings, certificate(100))
			got, err := io.ReadAll(c)
			if name == "fin" && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("got %d bytes and %v, want %d and a FIN", len(got), err, len(want))
			}
			if name == "rst" && (err == nil || !bytes.HasPrefix(want, got)) {
				t.Errorf("got %d bytes and %v, want a prefix of %d and a RST", len(got), err, len(want))
			}
		})
	}
}
