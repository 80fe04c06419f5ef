package integration

import (
	"bytes"
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

// connTime bounds one conn of the byte test: what is not over by then hangs.
const connTime = time.Minute

// outcome is what one end has met.
type outcome struct {
	sent, got int
	readEnd   error // io.EOF is the FIN
	writeEnd  error
	fin       bool   // has sent FIN, before any reset of its own
	reset     bool   // has reset the conn itself
	bad       string // the first wrong byte
}

// sawReset reports whether the kernel has told this end of a RST; it tells once, whichever call comes first.
func (o *outcome) sawReset() bool {
	return errors.Is(o.readEnd, syscall.ECONNRESET) || errors.Is(o.writeEnd, syscall.ECONNRESET) || errors.Is(o.writeEnd, syscall.EPIPE)
}

func (o *outcome) String() string {
	return fmt.Sprintf("sent %d, got %d, read %v, write %v, fin %v, reset %v", o.sent, o.got, o.readEnd, o.writeEnd, o.fin, o.reset)
}

// peer is one end of a conn at work.
type peer struct {
	conn  *net.TCPConn
	own   *part
	other *part
	heard chan struct{} // closed at the first byte or the end

	mu  sync.Mutex
	out outcome
}

// play does what the part says and returns when both directions have ended. The first got bytes are read already.
func play(conn *net.TCPConn, own, other *part, got int) *outcome {
	defer conn.Close()
	p := &peer{conn: conn, own: own, other: other, heard: make(chan struct{}), out: outcome{got: got}}
	if err := conn.SetDeadline(time.Now().Add(connTime)); err != nil {
		return &outcome{bad: err.Error()}
	}
	var wg sync.WaitGroup
	wg.Go(p.write)
	p.read()
	wg.Wait()
	return &p.out
}

// cut resets the conn.
func (p *peer) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.reset = true
	_ = p.conn.SetLinger(0) // may be closed
	_ = p.conn.Close()
}

func (p *peer) write() {
	r := rand.New(rand.NewPCG(p.own.seed, 1))
	total := p.own.size()
	for p.out.sent < total {
		if p.out.sent == p.own.resetAt {
			p.cut()
			return
		}
		if p.own.gate > 0 && p.out.sent == p.own.gate {
			<-p.heard
		}
		b := p.own.at(p.out.sent, 1+r.IntN(p.own.chunk))
		for _, stop := range []int{p.own.gate, p.own.resetAt} {
			if p.out.sent < stop && p.out.sent+len(b) > stop {
				b = b[:stop-p.out.sent]
			}
		}
		n, err := p.conn.Write(b)
		p.out.sent += n
		if err != nil {
			p.out.writeEnd = err
			return
		}
		if r.IntN(1000) < p.own.pauses {
			time.Sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
		}
	}
	if p.own.resetAt >= 0 {
		p.cut()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.reset {
		return
	}
	if err := p.conn.CloseWrite(); err != nil {
		// ENOTCONN: the conn was reset, which a read will tell unless it has.
		if !errors.Is(err, syscall.ENOTCONN) {
			p.out.writeEnd = err
		}
		return
	}
	p.out.fin = true
}

func (p *peer) read() {
	heard := sync.OnceFunc(func() { close(p.heard) })
	defer heard()
	r := rand.New(rand.NewPCG(p.own.seed, 2))
	time.Sleep(p.own.late)
	buf := make([]byte, p.own.gulp)
	for {
		if p.own.deafAt >= 0 && p.out.got >= p.own.deafAt {
			p.cut()
			return
		}
		n, err := p.conn.Read(buf[:1+r.IntN(len(buf))])
		for b := buf[:n]; len(b) > 0; {
			if p.out.got == p.other.size() {
				p.out.bad = fmt.Sprintf("%d bytes behind the last one, %d", len(b), p.out.got)
				p.cut()
				return
			}
			want := p.other.at(p.out.got, len(b))
			if !bytes.Equal(b[:len(want)], want) {
				p.out.bad = fmt.Sprintf("wrong bytes at offset %d to %d of %d", p.out.got, p.out.got+len(want), p.other.size())
				p.cut()
				return
			}
			p.out.got += len(want)
			b = b[len(want):]
		}
		if n > 0 {
			heard()
		}
		if err != nil {
			p.out.readEnd = err
			return
		}
		if r.IntN(1000) < p.own.pauses {
			time.Sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
		}
	}
}

// setMSS sets TCP_MAXSEG, 0 for the largest.
func setMSS(c syscall.RawConn, mss int) error {
	if mss == 0 {
		mss = 32767
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, mss)
	})
	return errors.Join(err, failed)
}

// byteServer is the backend: it knows each conn by the number in its first bytes.
type byteServer struct {
	listener *net.TCPListener
	plans    []*plan
	outcomes []atomic.Pointer[outcome]
	strange  atomic.Int64 // conns that ended before their number, but not without a byte
	running  sync.WaitGroup
}

func newByteServer(t *testing.T, plans []*plan) *byteServer {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	testkit.Check(t, err)
	s := &byteServer{listener: ln, plans: plans, outcomes: make([]atomic.Pointer[outcome], len(plans))}
	raw, err := ln.SyscallConn()
	testkit.Check(t, err)
	s.running.Go(func() {
		for i := 0; ; i++ {
			conn, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			s.running.Go(func() { s.serve(t, conn) })
			// For the conns to come: an accepted socket inherits it.
			if err := setMSS(raw, plans[i%len(plans)].server.mss); err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(func() { _ = ln.Close() })
	return s
}

func (s *byteServer) serve(t *testing.T, conn *net.TCPConn) {
	var start [leadMin]byte
	_ = conn.SetReadDeadline(time.Now().Add(connTime)) // cannot fail on an open conn
	if n, err := io.ReadFull(conn, start[:]); err != nil {
		if n > 0 {
			s.strange.Add(1)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a conn sent %d bytes and hung", n)
		}
		_ = conn.Close() // a check of homing's, or a client's early reset
		return
	}
	id := endian.BigEndian.Uint64(start[idAt:])
	if id >= uint64(len(s.plans)) {
		t.Errorf("a conn begins with %x", start)
		_ = conn.Close()
		return
	}
	p := s.plans[id]
	if want := p.client.at(0, leadMin); !bytes.Equal(start[:], want) {
		t.Errorf("conn %d begins with %x, want %x", id, start, want)
	}
	if !s.outcomes[id].CompareAndSwap(nil, play(conn, &p.server, &p.client, leadMin)) {
		t.Errorf("conn %d came twice", id)
	}
}

// wait returns when all conns of the server have ended.
func (s *byteServer) wait() {
	_ = s.listener.Close() // stops the accept loop
	s.running.Wait()
}

// call is the client's end of a conn.
func call(ctx context.Context, addr string, p *plan) (*outcome, error) {
	d := net.Dialer{Timeout: connTime}
	if p.client.mss > 0 {
		d.Control = func(_, _ string, c syscall.RawConn) error { return setMSS(c, p.client.mss) }
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return play(conn.(*net.TCPConn), &p.client, &p.server, 0), nil
}
