//go:build linux

package netio

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// stuffed is a Splice whose sink takes no more: bytes are in its pipe.
type stuffed struct {
	from, to     Sock
	source, sink *net.TCPConn
	fed          chan error
	moved        int // by Splices that ended
}

const stuffing = 1 << 20

func (r *rig) stuff() *stuffed {
	r.t.Helper()
	f := &stuffed{fed: make(chan error, 1)}
	f.from, f.source = r.accepted()
	f.to, f.sink = r.acceptedSmall()
	r.jam(f)
	return f
}

// jam lets the sources send more than the ways to their sinks hold, until all
// sinks are full.
func (r *rig) jam(flows ...*stuffed) {
	r.t.Helper()
	for _, f := range flows {
		go func() { f.fed <- feed(f.source, 10, stuffing, stuffing) }()
		r.Splice(f.from, f.to)
	}
	again := func() (moved bool) {
		for _, f := range flows { // some bytes have found their way
			if i := slices.IndexFunc(r.ended, func(c Completion) bool { return c.Op == OpSplice && c.Sock == f.from && c.N > 0 }); i >= 0 {
				f.moved += r.ended[i].N
				r.ended = slices.Delete(r.ended, i, i+1)
				r.Splice(f.from, f.to)
				moved = true
			}
		}
		return moved
	}
	r.until("the sinks are full", func() bool {
		if again() || r.busyPipes() < len(flows) {
			return false
		}
		r.settle() // a sink's kernel may make room once more
		return !again() && r.busyPipes() == len(flows)
	})
}

// back is the opposite flow, with a source of its own.
func (f *stuffed) back() *stuffed {
	return &stuffed{from: f.to, to: f.from, source: f.sink, sink: f.source, fed: f.fed}
}

func (r *rig) busyPipes() int { s := r.Stats(); return s.Pipes - s.IdlePipes }

func testSpliceSinkFull(t *testing.T, open opener) {
	r := newRig(t, open)
	f := r.stuff()
	r.Recv(f.to) // the other flow goes on meanwhile
	r.quiet("the sink is full")
	write(t, f.sink, []byte("x"))
	if c := r.take(OpRecv, f.to); string(c.Buf) != "x" {
		t.Errorf("got %+v", c)
	}
	drunk := make(chan error, 1)
	go func() { drunk <- drink(f.sink, 10, stuffing, 1<<16) }()
	c := r.take(OpSplice, f.from)
	for moved := f.moved + c.N; moved < stuffing; moved += c.N {
		if c = r.splice(f.from, f.to); c.Errno != 0 || c.N == 0 {
			t.Fatalf("after %d bytes: %+v", moved, c)
		}
	}
	r.Shutdown(f.to)
	for _, end := range []chan error{f.fed, drunk} {
		if err := <-end; err != nil {
			t.Error(err)
		}
	}
	if s := r.Stats(); s.Pipes != 1 || s.IdlePipes != 1 {
		t.Errorf("the pipe is empty and should wait for the next flow: %+v", s)
	}
}

// The bytes in the pipe of a sink that died must never reach another conn.
func testSpliceSinkReset(t *testing.T, open opener) {
	for _, listening := range []bool{true, false} {
		t.Run(fmt.Sprintf("listening=%t", listening), func(t *testing.T) {
			r := newRig(t, open)
			f := r.stuff()
			if listening { // a relay reads the other flow too
				r.Recv(f.to)
				r.quiet("the sink is full")
			}
			abort(t, f.sink)
			if c := r.take(OpSplice, f.from); !c.Sink || c.Errno != unix.ECONNRESET && c.Errno != unix.EPIPE {
				t.Errorf("got %+v", c)
			}
			if s := r.Stats(); s.Pipes != 0 {
				t.Errorf("a pipe with bytes is kept: %+v", s)
			}
			// Whichever of the two calls met the RST first, reading tells it.
			if !listening {
				r.Recv(f.to)
			}
			if c := r.take(OpRecv, f.to); c.Errno != unix.ECONNRESET {
				t.Errorf("reading the sink: %+v, want ECONNRESET", c)
			}
			// The source is alive and may be copied from.
			if c := r.recv(f.from); c.N == 0 {
				t.Errorf("reading the source: %+v", c)
			}
			r.Close(f.from, true)
			r.settle()
			t.Logf("feeding: %v", <-f.fed) // reset, or sent in time
			r.wantClean(t)
		})
	}
}

// wantClean splices through a fresh pair and fails if another flow's bytes come.
func (r *rig) wantClean(t *testing.T) {
	t.Helper()
	const total = 3 << 20
	from, source := r.accepted()
	to, sink := r.connected()
	ends := make(chan error, 2)
	go func() { ends <- feed(source, 11, total, 1<<16) }()
	go func() { ends <- drink(sink, 11, total, 1<<16) }()
	for {
		c := r.splice(from, to)
		if c.Errno != 0 {
			t.Fatalf("a second flow: %+v", c)
		}
		if c.N == 0 {
			break
		}
	}
	r.Shutdown(to)
	for range 2 {
		if err := <-ends; err != nil {
			t.Errorf("a second flow: %v", err)
		}
	}
	r.Close(from, false)
	r.Close(to, false)
}

// The source's end, orderly or not, waits behind the bytes that the sink has no
// room for yet.
func testSpliceEndBehindFullSink(t *testing.T, open opener) {
	for _, reset := range []bool{false, true} {
		t.Run(fmt.Sprintf("reset=%t", reset), func(t *testing.T) {
			r := newRig(t, open)
			from, source := r.accepted()
			to, sink := r.acceptedSmall()
			want := noiseBytes(12, 60_000)
			write(t, source, want)
			r.until("the source's bytes are here", func() bool { return inFlight(t, source) == 0 })
			r.Splice(from, to)
			r.until("the sink is full", func() bool { return r.busyPipes() == 1 })
			if reset {
				abort(t, source)
			} else {
				closeWrite(t, source)
			}
			r.quiet("the sink is full")
			drunk := make(chan []byte)
			go func() {
				b := make([]byte, len(want))
				n, _ := io.ReadFull(sink, b) // the comparison tells
				drunk <- b[:n]
			}()
			moved, end := 0, r.take(OpSplice, from)
			for ; end.N > 0; end = r.splice(from, to) {
				moved += end.N
			}
			if moved != len(want) || !bytes.Equal(<-drunk, want) {
				t.Errorf("moved %d bytes of %d, or others", moved, len(want))
			}
			if reset && end.Errno != unix.ECONNRESET || !reset && end.Errno != 0 || end.Sink {
				t.Errorf("reset %t: got %+v", reset, end)
			}
		})
	}
}

// Both sides send and nobody reads: each socket is a full sink and a source at
// once. Then both read.
func testSpliceBothWaysFull(t *testing.T, open opener) {
	r := newRig(t, open)
	ends := make(chan error, 4)
	a, peerA := r.acceptedSmall()
	b, peerB := r.acceptedSmall()
	f := &stuffed{from: a, to: b, source: peerA, sink: peerB, fed: ends}
	r.jam(f, f.back())
	r.quiet("both sinks are full")
	for _, p := range []*net.TCPConn{peerA, peerB} {
		go func() { ends <- drink(p, 10, stuffing, 1<<14) }()
	}
	for open := 2; open > 0; {
		c := r.take(OpSplice, NoSock)
		to := a
		if c.Sock == a {
			to = b
		}
		if c.Errno != 0 {
			t.Fatalf("got %+v", c)
		}
		if c.N == 0 {
			r.Shutdown(to)
			open--
			continue
		}
		r.Splice(c.Sock, to)
	}
	for range 4 {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

// A Splice ends without a word when either end is closed; its pipe goes, if
// bytes are in it, and the sockets' names may be used again at once.
func testSpliceClosed(t *testing.T, open opener) {
	for _, tt := range []struct {
		name        string
		source      bool // the source is closed first
		full, both  bool
		other       bool // the other end is closed too
		pipesBefore int
	}{
		{name: "source", source: true, other: true},
		{name: "sink", other: true},
		{name: "source of a full sink", source: true, full: true, other: true, pipesBefore: 1},
		{name: "full sink", full: true, other: true, pipesBefore: 1},
		{name: "source only", source: true, full: true, pipesBefore: 1},
		{name: "sink only", full: true, pipesBefore: 1},
		{name: "both ways", source: true, full: true, both: true, other: true, pipesBefore: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, open)
			f := &stuffed{fed: make(chan error, 2)}
			f.from, f.source = r.acceptedSmall()
			f.to, f.sink = r.acceptedSmall()
			switch {
			case tt.full:
				flows := []*stuffed{f}
				if tt.both {
					flows = append(flows, f.back())
				}
				r.jam(flows...)
			default:
				f.fed <- nil
				r.Splice(f.from, f.to)
				r.settle()
			}
			if n := r.busyPipes(); n != tt.pipesBefore {
				t.Fatalf("%d pipes in use, want %d", n, tt.pipesBefore)
			}
			first, second := f.to, f.from
			if tt.source {
				first, second = f.from, f.to
			}
			r.Close(first, true)
			if n := r.busyPipes(); n != 0 {
				t.Errorf("%d pipes in use after one end was closed", n)
			}
			if tt.other {
				r.Close(second, true)
			}
			// This one may have the first's name.
			s, peer := r.accepted()
			r.Recv(s)
			r.quiet("nothing was sent")
			write(t, peer, []byte("x"))
			if c := r.take(OpRecv, s); string(c.Buf) != "x" {
				t.Errorf("got %+v", c)
			}
			r.wantClean(t)
			if !tt.other { // the end that is open is like any other socket
				if tt.source {
					go func() { _, _ = io.Copy(io.Discard, f.sink) }() // until it is closed: it may be full
				}
				if r.send(second, []byte("x")); tt.source {
					write(t, f.sink, []byte("x"))
				}
				if c := r.recv(second); c.N == 0 {
					t.Errorf("got %+v", c)
				}
				r.Close(second, true)
			}
			r.settle()
			t.Logf("feeding: %v", <-f.fed) // reset, or sent in time
		})
	}
}
