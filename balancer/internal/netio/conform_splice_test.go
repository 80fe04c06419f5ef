//go:build linux

package netio

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func testSplice(t *testing.T, open opener) {
	for _, tt := range []struct {
		name         string
		total        int
		write, read  int // largest chunks
		smallSink    bool
		smallSource  bool
		sinkAccepted bool
	}{
		{name: "bytes", total: 200, write: 3, read: 3},
		{name: "segments", total: 1 << 20, write: 3000, read: 1 << 16},
		{name: "bulk", total: 64 << 20, write: 1 << 20, read: 1 << 20},
		{name: "slow sink", total: 1 << 20, write: 1 << 16, read: 4000, smallSink: true, sinkAccepted: true},
		{name: "slow source", total: 1 << 20, write: 700, read: 1 << 16, smallSource: true},
		{name: "slow both", total: 1 << 19, write: 5000, read: 5000, smallSink: true, smallSource: true, sinkAccepted: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, open)
			from, source := r.accepted()
			if tt.smallSource {
				from, source = r.acceptedSmall()
			}
			var to Sock
			var sink *net.TCPConn
			switch {
			case tt.smallSink:
				to, sink = r.acceptedSmall()
			case tt.sinkAccepted:
				to, sink = r.accepted()
			default:
				to, sink = r.connected()
			}
			ends := make(chan error, 2)
			go func() { ends <- feed(source, 6, tt.total, tt.write) }()
			go func() { ends <- drink(sink, 6, tt.total, tt.read) }()
			moved := 0
			for {
				c := r.splice(from, to)
				if c.Errno != 0 {
					t.Fatalf("after %d bytes: %+v", moved, c)
				}
				if moved += c.N; c.N == 0 {
					break
				}
				if s := r.Stats(); s.Pipes != s.IdlePipes {
					t.Fatalf("a pipe is kept between two Splices: %+v", s)
				}
			}
			if moved != tt.total {
				t.Errorf("moved %d bytes of %d", moved, tt.total)
			}
			r.Shutdown(to)
			for range 2 {
				if err := <-ends; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func testSpliceSmallEnds(t *testing.T, open opener) {
	r := newRig(t, open)
	from, source := r.accepted()
	to, sink := r.connected()
	r.Splice(from, to)
	r.quiet("the source has sent nothing")
	if s := r.Stats(); s.Pipes != s.IdlePipes {
		t.Errorf("a flow that waits has a pipe: %+v", s)
	}
	write(t, source, []byte("one"))
	if c := r.take(OpSplice, from); c.N != 3 || c.Errno != 0 || c.Sock != from {
		t.Errorf("got %+v", c)
	}
	write(t, source, []byte("two"))
	closeWrite(t, source)
	r.settle()
	if c := r.splice(from, to); c.N != 3 || c.Errno != 0 {
		t.Errorf("got %+v", c)
	}
	for range 2 { // the end stays
		if c := r.splice(from, to); c.N != 0 || c.Errno != 0 {
			t.Errorf("got %+v, want the end", c)
		}
	}
	if got := read(t, sink, 6); string(got) != "onetwo" {
		t.Errorf("sink read %q", got)
	}
}

// What came before a RST is moved, then the RST is told, as one: a relay that
// took it for FIN would present a truncated stream as whole.
func testSpliceSourceReset(t *testing.T, open opener) {
	r := newRig(t, open)
	to, sink := r.connected()
	for _, before := range []int{0, 5, 60_000} {
		for _, early := range []bool{true, false} {
			from, source := r.accepted()
			if early && before == 0 {
				r.Splice(from, to)
				r.quiet("the source has sent nothing")
			}
			want := noiseBytes(8, before)
			write(t, source, want)
			r.until("the source's bytes are here", func() bool { return inFlight(t, source) == 0 })
			abort(t, source)
			if !early || before > 0 {
				r.Splice(from, to)
			}
			moved := 0
			for {
				c := r.take(OpSplice, from)
				if moved += c.N; c.N == 0 {
					if c.Errno != unix.ECONNRESET || c.Sink {
						t.Errorf("%d bytes: then %+v, want ECONNRESET", before, c)
					}
					break
				}
				r.Splice(from, to)
			}
			if moved != before || !bytes.Equal(read(t, sink, moved), want) {
				t.Errorf("moved %d bytes of %d, or others", moved, before)
			}
			r.Close(from, false)
		}
	}
}

func testSpliceBothWays(t *testing.T, open opener) {
	for _, slow := range []bool{false, true} {
		t.Run(fmt.Sprintf("slow=%t", slow), func(t *testing.T) {
			total, chunk := 16<<20, 1<<18
			r := newRig(t, open)
			get := r.accepted
			if slow {
				total, chunk, get = 1<<20, 5000, r.acceptedSmall
			}
			a, peerA := get()
			b, peerB := get()
			r.relay(t, a, b, peerA, peerB, total, chunk)
		})
	}
}

// relay splices a and b in both directions until both have ended.
func (r *rig) relay(t *testing.T, a, b Sock, peerA, peerB *net.TCPConn, total, chunk int) {
	t.Helper()
	ends := make(chan error, 4)
	for i, p := range []*net.TCPConn{peerA, peerB} {
		go func() { ends <- feed(p, byte(20+i), total, chunk) }()
		go func() { ends <- drink(p, byte(21-i), total, chunk) }()
	}
	r.Splice(a, b)
	r.Splice(b, a)
	for open := 2; open > 0; {
		c := r.take(OpSplice, NoSock)
		to := a
		if c.Sock == a {
			to = b
		}
		switch {
		case c.Errno != 0:
			t.Fatalf("got %+v", c)
		case c.N == 0:
			r.Shutdown(to)
			open--
		default:
			r.Splice(c.Sock, to)
		}
	}
	for range 4 {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

// A flow changes between copying and splicing at any point.
func testSpliceAndRecv(t *testing.T, open opener) {
	const total = 4 << 20
	for _, chunk := range []int{100_000, 700} {
		t.Run(fmt.Sprintf("chunk=%d", chunk), func(t *testing.T) {
			r := newRig(t, open)
			random := rand.New(rand.NewPCG(3, uint64(chunk)))
			from, source := r.accepted()
			to, sink := r.connected()
			ends := make(chan error, 2)
			size := min(total, chunk*1000)
			go func() { ends <- feed(source, 13, size, chunk) }()
			go func() { ends <- drink(sink, 13, size, 1<<16) }()
			for {
				var c Completion
				if random.IntN(2) == 0 {
					c = r.splice(from, to)
				} else if c = r.recv(from); c.N > 0 {
					r.send(to, c.Buf)
				}
				if c.Errno != 0 {
					t.Fatalf("got %+v", c)
				}
				if c.N == 0 {
					break
				}
			}
			r.Shutdown(to)
			for range 2 {
				if err := <-ends; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// splice(2) does not get past an urgent byte: such a flow is copied.
func testSpliceUrgent(t *testing.T, open opener) {
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprintf("early=%t", early), func(t *testing.T) {
			r := newRig(t, open)
			from, source := r.accepted()
			to, sink := r.connected()
			r.Recv(from) // known to the engine
			write(t, source, []byte("0"))
			r.take(OpRecv, from)
			if early {
				r.Splice(from, to)
				r.quiet("the source has sent nothing")
			}
			sendUrgent(t, source, "before", "after")
			if !early {
				r.settle()
				r.Splice(from, to)
			}
			copying := false
			for moved := 0; moved < len("beforeafter"); {
				var c Completion
				if copying {
					if c = r.recv(from); c.N > 0 {
						r.send(to, c.Buf)
					}
				} else if c = r.take(OpSplice, from); c.Errno == unix.ENOBUFS {
					copying = true
					continue
				} else {
					r.Splice(from, to)
				}
				if c.N == 0 {
					t.Fatalf("after %d bytes: %+v", moved, c)
				}
				moved += c.N
			}
			if got := read(t, sink, 11); string(got) != "beforeafter" {
				t.Errorf("sink read %q", got)
			}
			if !copying { // one is in flight
				write(t, source, []byte("x"))
				r.take(OpSplice, from)
			}
		})
	}
}

// A fast flow gives the others their turn: one Splice ends after a bounded
// number of bytes, however much there is.
func testSpliceShare(t *testing.T, open opener) {
	const total = 32 << 20
	r := newRig(t, open)
	from, source := r.accepted()
	to, sink := r.connected()
	ends := make(chan error, 2)
	go func() { ends <- feed(source, 14, total, 1<<20) }()
	go func() { ends <- drink(sink, 14, total, 1<<20) }()
	for {
		c := r.splice(from, to)
		if c.N > spliceBudget+pipeSize {
			t.Errorf("%d bytes in one Splice", c.N)
		}
		if c.N == 0 {
			break
		}
	}
	r.Shutdown(to)
	for range 2 {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

// Without a pipe nothing is consumed, and the flow is copied.
func testSpliceWithoutPipes(t *testing.T, open opener) {
	r := newRig(t, open)
	from, source := r.accepted()
	to, sink := r.connected()
	write(t, source, []byte("hello"))
	undo := noDescriptors(t)
	c := r.splice(from, to)
	undo()
	if c.Errno != unix.ENOBUFS || c.N != 0 || c.Sink {
		t.Fatalf("got %+v, want ENOBUFS", c)
	}
	if s := r.Stats(); s.Pipes != 0 {
		t.Errorf("left: %+v", s)
	}
	if c = r.recv(from); string(c.Buf) != "hello" {
		t.Fatalf("got %+v", c)
	}
	r.send(to, c.Buf)
	if got := read(t, sink, 5); string(got) != "hello" {
		t.Errorf("sink read %q", got)
	}
	// A descriptor is free again, and so is splicing.
	write(t, source, []byte("again"))
	if c = r.splice(from, to); c.N != 5 {
		t.Errorf("then: %+v", c)
	}
}

func testSpliceMisusePanics(t *testing.T, open opener) {
	r := newRig(t, open)
	a, _ := r.accepted()
	b, _ := r.acceptedSmall()
	c, _ := r.accepted()
	r.Recv(a)
	wantPanic(t, "Splice from a socket with a Recv", func() { r.Splice(a, c) })
	r.fill(b)
	wantPanic(t, "Splice to a socket with a Send", func() { r.Splice(c, b) })
	r.Splice(c, a)
	wantPanic(t, "Recv from a socket with a Splice", func() { r.Recv(c) })
	wantPanic(t, "Splice from a socket with a Splice", func() { r.Splice(c, a) })
	wantPanic(t, "Splice with a third socket", func() { r.Splice(b, a) })
	wantPanic(t, "Shutdown of a sink", func() { r.Shutdown(a) })
	wantPanic(t, "Send to a sink", func() { _, _ = r.Send(a, []byte("x")) })
}
