package integration

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// attack is all hostile clients together.
type attack struct {
	addr   string
	hellos [][]byte
	took   time.Duration

	mu        sync.Mutex
	unopened  map[string][]stretch // conns that could not be opened, by error
	closed    map[string][]stretch // of held clients: from connect to homing's close
	unclosed  map[string]int
	reading   atomic.Int64 // slow readers that have met the flooder
	gaveUp    atomic.Int64
	dialing   chan struct{} // bounds the conns being opened, so that times are homing's and not of a queue in here
	completed atomic.Int64  // junk conns
}

func newAttack(addr string, hellos [][]byte) *attack {
	return &attack{
		addr: addr, hellos: hellos, dialing: make(chan struct{}, 64),
		unopened: map[string][]stretch{}, closed: map[string][]stretch{}, unclosed: map[string]int{},
	}
}

// peaks are the highest values seen.
type peaks struct{ conns, buffers float64 }

// run lets everybody loose at once and returns when the last attacker has gone.
func (a *attack) run(t *testing.T, h *homing, groups [][]user) (good timedTally, worst peaks) {
	t.Helper()
	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	var beside, attacking, slow sync.WaitGroup
	beside.Go(func() { good = goodUntilDone(ctx, a.addr, groups) })
	beside.Go(func() {
		for ctx.Err() == nil {
			m := h.metrics(t)
			worst.conns = max(worst.conns, m["homing_conns_open"])
			worst.buffers = max(worst.buffers, m["homing_buffer_bytes"])
			time.Sleep(50 * time.Millisecond)
		}
	})
	release := make(chan struct{})
	for range slowReaders {
		slow.Go(func() { a.slowReader(t.Context(), release) })
	}
	for range silentConns {
		attacking.Go(func() {
			a.held(t.Context(), "silence", func(net.Conn) error { return nil })
		})
	}
	for _, kind := range junkKinds() {
		// Conns of one kind at once: both sides' descriptors have to suffice.
		width := min(kind.conns, fileLimit(t)/40)
		next := make(chan struct{})
		for range width {
			attacking.Go(func() {
				j := newJunkmaker(a.hellos)
				for range next {
					if kind.held {
						a.held(t.Context(), kind.name, func(c net.Conn) error { return kind.send(j, c) })
					} else {
						a.brief(t.Context(), func(c net.Conn) error { return kind.send(j, c) })
					}
					a.completed.Add(1)
				}
			})
		}
		attacking.Go(func() {
			for range kind.conns {
				next <- struct{}{}
			}
			close(next)
		})
	}
	attacking.Wait()
	testkit.Wait(testkit.Patience, func() bool { return a.reading.Load()+a.gaveUp.Load() == slowReaders })
	close(release)
	slow.Wait()
	a.took = time.Since(began)
	stop()
	beside.Wait()
	return good, worst
}

// open connects from an address of its own.
func (a *attack) open(ctx context.Context, control func(string, string, syscall.RawConn) error) *net.TCPConn {
	a.dialing <- struct{}{}
	defer func() { <-a.dialing }()
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: tlsclient.RandomLoopback(), Control: control}
	begin := time.Now()
	conn, err := d.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		why := errors.Unwrap(err).Error()
		a.unopened[why] = append(a.unopened[why], stretch{begin, time.Now()})
		return nil
	}
	tcp := conn.(*net.TCPConn)
	_ = tcp.SetLinger(0) // keeps ports out of TIME_WAIT
	return tcp
}

// brief is a client that says its piece, listens a little and hangs up, every other time with FIN before.
func (a *attack) brief(ctx context.Context, send func(net.Conn) error) {
	conn := a.open(ctx, nil)
	if conn == nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // cannot fail on an open conn
	if send(conn) == nil && a.completed.Load()%2 == 0 {
		_ = conn.CloseWrite() // homing may have hung up
	}
	untilClosed(conn, lingering)
}

// held is a client that waits for homing's patience to end.
func (a *attack) held(ctx context.Context, name string, send func(net.Conn) error) {
	conn := a.open(ctx, nil)
	if conn == nil {
		return
	}
	defer conn.Close()
	opened := time.Now()
	_ = conn.SetDeadline(opened.Add(heldPatience)) // cannot fail on an open conn
	_ = send(conn)                                 // homing may hang up meanwhile
	closed := untilClosed(conn, heldPatience)
	a.mu.Lock()
	defer a.mu.Unlock()
	if closed {
		a.closed[name] = append(a.closed[name], stretch{opened, time.Now()})
	} else {
		a.unclosed[name]++
	}
}

// slowReader asks for a flood, reads one byte of it, and nothing more until it is released.
func (a *attack) slowReader(ctx context.Context, release chan struct{}) {
	for {
		conn := a.open(ctx, func(_, _ string, c syscall.RawConn) error {
			// Small queues on homing's side, so that it meets the reader's slowness soon.
			err := setMSS(c, 1400)
			return errors.Join(err, c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			}), err)
		})
		if conn == nil {
			a.gaveUp.Add(1)
			return
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // cannot fail on an open conn
		var first [1]byte
		_, err := io.WriteString(conn, floodRequest)
		if err == nil {
			_, err = io.ReadFull(conn, first[:])
		}
		if err == nil && first[0] == 'F' {
			a.reading.Add(1)
			<-release
			_ = conn.Close()
			return
		}
		_ = conn.Close()
		select {
		case <-release:
			a.gaveUp.Add(1)
			return
		default: // it met nginx: once more
		}
	}
}

// heldPatience is how long a held client waits for homing's close. What is too long is judged by the machine's clock.
const heldPatience = 10 * helloTimeout

// mostOverdue is how late a close may be by that clock, which does not see how long homing waits for the attackers'
// processes: it was 1.2 s beside eight others that compute.
const mostOverdue = 2 * time.Second

// report checks the deadlines.
func (a *attack) report(t *testing.T, clock *machineClock) {
	t.Helper()
	for why, list := range a.unopened {
		// Where this process is so late, homing has closed the conn before it knows that it is open.
		list = slices.DeleteFunc(list, func(s stretch) bool { return clock.spoiled(s, helloTimeout) })
		if len(list) > 0 {
			t.Errorf("%d hostile clients could not connect: %s", len(list), why)
		}
	}
	for name, list := range a.closed {
		var times []time.Duration
		for _, one := range list {
			times = append(times, clock.took(one))
		}
		slices.Sort(times)
		least, most := times[0], times[len(times)-1]
		t.Logf("%s: %d conns closed after %v to %v", name, len(times), least.Round(time.Millisecond), most.Round(time.Millisecond))
		if most > helloTimeout+mostOverdue {
			t.Errorf("%s: a conn was open for %v, want at most %v", name, most, helloTimeout+mostOverdue)
		}
	}
	for name, n := range a.unclosed {
		t.Errorf("%s: %d conns were still open after %v", name, n, heldPatience)
	}
	t.Logf("%d conns of junk, %d silent, %d slow readers (%d gave up)", a.completed.Load(), silentConns, a.reading.Load(), a.gaveUp.Load())
	if a.reading.Load() < slowReaders*9/10 {
		t.Errorf("only %d of %d slow readers met the flood", a.reading.Load(), slowReaders)
	}
}

// startFlooder listens on addr and sends flood bytes to whoever asks for them.
func startFlooder(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	testkit.Check(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute)) // cannot fail on an open conn
				var ask [len(floodRequest)]byte
				if _, err := io.ReadFull(conn, ask[:]); err != nil || string(ask[:]) != floodRequest {
					return
				}
				if _, err := conn.Write(append([]byte("F"), make([]byte, flood)...)); err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, conn) // until the client has gone
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		running.Wait()
	})
}

// floodRequest is answered with an error by nginx, at once.
const floodRequest = "flood\r\n\r\n"
