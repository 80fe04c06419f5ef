//go:build linux

package balancer

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
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
