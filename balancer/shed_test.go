//go:build linux

package balancer

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
)

// dialSmall connects with so small segments that the balancer's send buffer, which the kernel sizes by them, holds less
// than two receive buffers.
func (r *rig) dialSmall() *net.TCPConn {
	r.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var mss, window error
		err := raw.Control(func(fd uintptr) {
			mss = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
			window = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		})
		return errors.Join(err, mss, window)
	}}
	c, err := d.DialContext(context.Background(), "tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	r.track(c)
	return c.(*net.TCPConn)
}

// TestSlowReadersShedNobody: clients that do not read fill the buffers up to a bound and are reset beyond it; those
// with no hello yet, or with a part of one, do not suffer for it.
func TestSlowReadersShedNobody(t *testing.T) {
	const memory = 256 << 10
	r := newRig(t)
	r.serveByHand()
	r.start(func(c *Config) { c.BufferMemory = memory })
	silent, slow := r.dial(), r.dial()
	sent := paddedTo(hello{names: []string{"a.test"}}, 7000)
	write(t, slow, sent[:6000])
	r.await("read", func() bool { return r.b.Stats().BytesIn == 6000 })

	var senders sync.WaitGroup
	defer senders.Wait()
	defer r.hangUp()
	for range 64 {
		write(t, r.dialSmall(), []byte("not TLS"))
		b := r.arrival()
		read(t, b, len("not TLS"))
		senders.Go(func() { _, _ = b.Write(make([]byte, 1<<20)) }) // until the test ends
	}
	r.await("the buffers are full", func() bool { return r.b.Stats().Terminations[CauseResource][PhaseData] > 0 })
	r.settle()
	// The kernel takes a little of their rests yet, so that it need not be all.
	if n := r.b.Stats().BufferBytes; n < memory/2 || n > memory*3/2+8<<10 {
		t.Errorf("%d bytes of buffers for slow readers, limit %d", n, memory)
	}

	write(t, slow, sent[6000:])
	read(t, r.arrival(), len(sent))
	for i := range 8 {
		c := r.dial()
		r.await("accepted", func() bool { return r.b.Stats().Accepted == uint64(2+64+i+1) })
		r.settle()
		write(t, c, sent[:3000])
		r.settle()
		write(t, c, sent[3000:])
		read(t, r.arrival(), len(sent))
	}
	write(t, silent, sent)
	read(t, r.arrival(), len(sent))
	if s := r.b.Stats(); s.Shed != 0 {
		t.Errorf("%d conns were shed", s.Shed)
	}
}
