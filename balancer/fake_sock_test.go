//go:build linux

package balancer

import (
	"net/netip"
	"slices"
	"syscall"

	"homing/balancer/internal/netio"
)

// fakeSock is one socket and what its peer has done.
type fakeSock struct {
	id       netio.Sock
	name     string
	tag      uint32
	peer     netip.AddrPort
	in       [][]byte
	fin, rst bool // behind in
	first    []byte

	connecting, connected bool
	connectErr            syscall.Errno
	reading, sent         bool
	splice                *fakeSock
	stuck                 bool   // the peer does not read
	rest                  []byte // of a Send that did not end
	restErr               syscall.Errno
	deaf                  bool // the peer acknowledges nothing
	unacked               int
	acked                 uint64
	finSent, closed       bool
	bad                   bool // no room for a Send
}

// connectEnds says whether a connect comes to its end: with the opening gone, where the engine sends that.
func (s *fakeSock) connectEnds() bool {
	return s.connecting && (s.connectErr != 0 || s.connected && (s.first == nil || !s.stuck))
}

// receive ends the reading of s, if there is anything to be read.
func (s *fakeSock) receive() (done netio.Completion) {
	if !s.reading && s.splice == nil || !s.readable() {
		return done
	}
	done = netio.Completion{Op: netio.OpRecv, Sock: s.id}
	if s.splice != nil {
		done.Op = netio.OpSplice
	}
	switch {
	case len(s.in) > 0:
		n := min(len(s.in[0]), netio.RecvSize)
		done.Buf, done.N = slices.Clone(s.in[0][:n]), n
		if s.in[0] = s.in[0][n:]; len(s.in[0]) == 0 {
			s.in = s.in[1:]
		}
	case s.rst:
		done.Errno = netio.ErrReset
	}
	s.reading = false
	return done
}

func (s *fakeSock) readable() bool { return len(s.in) > 0 || s.fin || s.rst }

// connects has a client come.
func (e *fakeEngine) connects(name string, peer netip.AddrPort) *fakeSock {
	s := e.add(&fakeSock{name: name, peer: peer, connected: true})
	e.accepts = append(e.accepts, s)
	return s
}

// gets gives b to the peer of s.
func (e *fakeEngine) gets(s *fakeSock, b []byte) {
	e.say("to %s: %s", s.name, e.text(b))
	s.acked += uint64(len(b))
	if s.deaf {
		s.unacked += len(b)
		s.acked -= uint64(len(b))
	}
}

// takes ends the time in which a peer does not read.
func (e *fakeEngine) takes(s *fakeSock) {
	s.stuck = false
	if s.rest != nil {
		e.gets(s, s.rest)
		s.rest, s.sent = nil, true
		e.touch(s)
		if s.finSent {
			e.say("fin to %s", s.name)
		}
	}
}

// named is the open socket that a script calls so; nil: there is none.
func (e *fakeEngine) named(name string) *fakeSock {
	for _, s := range slices.Backward(e.socks) {
		if s.name == name && !s.closed {
			return s
		}
	}
	return nil
}

func (e *fakeEngine) add(s *fakeSock) *fakeSock {
	s.id = netio.Sock(len(e.socks))
	e.socks = append(e.socks, s)
	return s
}

// touch notes that something has happened to s.
func (e *fakeEngine) touch(s *fakeSock) {
	if !slices.Contains(e.ready, s) {
		e.ready = append(e.ready, s)
	}
}
