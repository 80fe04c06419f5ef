//go:build linux

package balancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/balancer/internal/netio"
	"homing/balancer/netaddr"
)

// fakeEngine is a netio.Engine without a kernel: what peers do is put into it, what the loop does comes out as lines,
// and time passes when the test says so. It holds the loop to the contract of netio.Engine: no operation on a closed
// socket, no second one of a kind, nothing kept of a lent buffer.
type fakeEngine struct {
	t       testing.TB
	buffers *netio.Buffers
	now     netio.Time
	until   netio.Time // Wait lets time pass up to here
	woken   bool
	shut    bool
	alone   bool // Connect sends nothing by itself

	socks     []*fakeSock
	accepts   []*fakeSock // connections that no listener has taken
	listening []uint32    // tags of listeners
	failures  []syscall.Errno
	acceptErr syscall.Errno
	ready     []*fakeSock // in the order of their events
	batch     []fakeDone
	lent      []byte

	out      []string
	showAcks bool
	text     func([]byte) string // says what bytes are
	backend  func(netaddr.Addr) string
}

// fakeDone is a completion, and of which socket it is; nil: of none.
type fakeDone struct {
	netio.Completion
	of *fakeSock
}

func newFakeEngine(t testing.TB, limit int64) *fakeEngine {
	return &fakeEngine{t: t, buffers: netio.NewBuffers(limit), now: netio.Time(time.Second)}
}

func (e *fakeEngine) say(format string, args ...any) {
	e.out = append(e.out, fmt.Sprintf(format, args...))
}

// of is the open socket of a name in the engine.
func (e *fakeEngine) of(s netio.Sock) *fakeSock {
	e.t.Helper()
	if int(s) >= len(e.socks) || e.socks[s].closed {
		e.t.Fatalf("an operation on socket %d, which is not open", s)
	}
	return e.socks[s]
}

// open is the number of open sockets.
func (e *fakeEngine) open() (n int) {
	for _, s := range e.socks {
		if !s.closed {
			n++
		}
	}
	return n
}

func (e *fakeEngine) Listen(_ int, tag uint32, _ bool) error {
	e.listening = append(e.listening, tag)
	return nil
}

func (e *fakeEngine) Unlisten(int) error {
	e.listening = nil
	return nil
}

func (e *fakeEngine) Tag(s netio.Sock, tag uint32) { e.of(s).tag = tag }

func (e *fakeEngine) Connect(src netio.Source, to netaddr.Addr, first []byte, tag uint32) (netio.Sock, bool, syscall.Errno) {
	if len(e.failures) > 0 {
		errno := e.failures[0]
		e.failures = e.failures[1:]
		e.say("connect %s: %v", e.backend(to), errno)
		return netio.NoSock, false, errno
	}
	name := e.backend(to)
	from := ""
	if src.Addr.IsValid() {
		from = " from " + src.Addr.String()
	}
	for _, s := range e.socks {
		if c, n, ok := strings.Cut(s.name, " "); ok && c == "client" && !s.closed && s.tag>>1 == tag>>1 {
			name += "/" + n
		}
	}
	e.say("connect %s%s", name, from)
	s := e.add(&fakeSock{name: name, tag: tag, connecting: true})
	if len(first) == 0 || e.alone {
		return s.id, false, 0
	}
	s.first = slices.Clone(first)
	return s.id, true, 0
}

func (e *fakeEngine) Local(netio.Sock) netip.AddrPort {
	return netip.MustParseAddrPort("203.0.113.1:443")
}

func (e *fakeEngine) Recv(id netio.Sock) {
	s := e.of(id)
	if s.reading || s.splice != nil || s.connecting {
		e.t.Fatalf("Recv of %s, which is being read or connected", s.name)
	}
	s.reading = true
	e.touch(s)
}

func (e *fakeEngine) Send(id netio.Sock, b []byte) (bool, syscall.Errno) {
	s := e.of(id)
	switch {
	case s.connecting || s.finSent || s.rest != nil:
		e.t.Fatalf("Send to %s, which has had its FIN, is being connected or has not taken the last one", s.name)
	case len(b) == 0:
		e.t.Fatalf("Send of nothing to %s", s.name)
	case s.rst:
		return false, syscall.EPIPE
	case s.bad:
		return false, netio.ErrNoBuffer
	case s.stuck:
		s.rest = slices.Clone(b)
		return false, 0
	}
	e.gets(s, b)
	return true, 0
}

func (e *fakeEngine) Splice(from, to netio.Sock) {
	s, sink := e.of(from), e.of(to)
	if s.reading || s.splice != nil {
		e.t.Fatalf("Splice of %s, which is being read", s.name)
	}
	s.splice = sink
	e.touch(s)
}

func (e *fakeEngine) Shutdown(id netio.Sock) {
	s := e.of(id)
	if !s.finSent && s.rest == nil {
		e.say("fin to %s", s.name)
	}
	s.finSent = true
}

func (e *fakeEngine) Close(id netio.Sock, reset bool) {
	s := e.of(id)
	s.closed = true
	how := "close"
	if reset {
		how = "reset"
	}
	e.say("%s %s", how, s.name)
	for _, other := range e.socks {
		if other.splice == s {
			other.splice = nil
		}
	}
}

func (e *fakeEngine) HasInput(id netio.Sock) bool {
	s := e.of(id)
	collected := func(d fakeDone) bool { return d.of == s && (d.Op == netio.OpRecv || d.Op == netio.OpSplice) }
	return s.readable() || slices.ContainsFunc(e.batch, collected)
}

func (e *fakeEngine) Unsent(id netio.Sock) int {
	if s := e.of(id); !s.rst {
		return s.unacked
	}
	return 0
}

func (e *fakeEngine) Ack(id netio.Sock) {
	if s := e.of(id); e.showAcks {
		e.say("ack %s", s.name)
	}
}

func (e *fakeEngine) Acked(id netio.Sock) uint64 { return e.of(id).acked }

func (e *fakeEngine) Persist(id netio.Sock, _ netio.Options) { e.of(id) }

// Wait collects what has ended, one completion a socket and kind, or lets time pass.
func (e *fakeEngine) Wait(deadline netio.Time) error {
	e.reclaim()
	if e.batch = e.collect(); len(e.batch) == 0 {
		e.now = max(e.now, min(deadline, e.until))
	}
	return nil
}

// reclaim spoils what was lent.
func (e *fakeEngine) reclaim() {
	for i := range e.lent {
		e.lent[i] = 0xdd
	}
	e.lent = nil
}

func (e *fakeEngine) collect() (all []fakeDone) {
	add := func(s *fakeSock, c netio.Completion) { all = append(all, fakeDone{c, s}) }
	if e.woken {
		e.woken = false
		add(nil, netio.Completion{Op: netio.OpWake})
	}
	if len(e.listening) > 0 {
		for _, s := range e.accepts {
			add(nil, netio.Completion{Op: netio.OpAccept, Tag: e.listening[0], Sock: s.id, Peer: s.peer})
		}
		e.accepts = nil
		if e.acceptErr != 0 {
			add(nil, netio.Completion{Op: netio.OpAccept, Tag: e.listening[0], Errno: e.acceptErr})
			e.acceptErr = 0
		}
	}
	ready := e.ready
	e.ready = nil
	for _, s := range ready {
		if s.closed {
			continue
		}
		if s.connectEnds() {
			s.connecting = false
			if s.first != nil && s.connected {
				e.gets(s, s.first)
			}
			add(s, netio.Completion{Op: netio.OpConnect, Errno: s.connectErr})
		}
		if s.sent || s.restErr != 0 {
			add(s, netio.Completion{Op: netio.OpSend, Errno: s.restErr})
			s.sent, s.restErr = false, 0
		}
		if done := s.receive(); done.Op != netio.OpNone {
			add(s, done)
		}
	}
	return all
}

func (e *fakeEngine) Next(c *netio.Completion) bool {
	e.reclaim()
	for len(e.batch) > 0 {
		next := e.batch[0]
		e.batch = e.batch[1:]
		*c = next.Completion
		if s := next.of; s != nil {
			if s.closed {
				continue // meanwhile
			}
			c.Tag = s.tag
			if c.Op == netio.OpSplice {
				if c.N > 0 {
					e.gets(s.splice, c.Buf)
				}
				s.splice, c.Buf = nil, nil
			}
		}
		e.lent = c.Buf
		return true
	}
	return false
}

// pending says whether Wait would return anything at once.
func (e *fakeEngine) pending() bool {
	if e.woken || len(e.listening) > 0 && (len(e.accepts) > 0 || e.acceptErr != 0) {
		return true
	}
	return slices.ContainsFunc(e.ready, func(s *fakeSock) bool {
		return !s.closed && (s.connectEnds() || s.sent || s.restErr != 0 ||
			(s.reading || s.splice != nil) && s.readable())
	})
}

func (e *fakeEngine) Now() netio.Time          { return e.now }
func (e *fakeEngine) Bound() bool              { return false }
func (e *fakeEngine) ParkAtOnce()              {}
func (e *fakeEngine) Wake()                    { e.woken = true }
func (e *fakeEngine) Buffers() *netio.Buffers  { return e.buffers }
func (e *fakeEngine) Stats() netio.EngineStats { return netio.EngineStats{Socks: e.open()} }
func (e *fakeEngine) Shut()                    { e.shut = true }
