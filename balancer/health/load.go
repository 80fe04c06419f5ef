package health

import (
	"errors"
	"net"

	"homing/balancer/pool"
)

// A backend whose queue of connections is full lets checks wait like everybody else, and any client can fill it. So a
// check that has only waited, while conns came as far at that backend as the check was to come, says nothing against
// it: a dead backend lets nobody through.

// failure is a check that has failed.
type failure struct {
	err    error
	waited waited
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// waited is what a check was waiting for in vain when its time was over.
type waited uint8

const (
	waitedNone    waited = iota // it has failed otherwise
	waitedConnect               // for the connection
	waitedAnswer                // for the first word
)

func waitedIf(inVain bool, what waited) waited {
	if inVain {
		return what
	}
	return waitedNone
}

// hearing is a connection that notes whether its peer has said anything.
type hearing struct {
	net.Conn
	something bool
}

func (h *hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.something = h.something || n > 0
	return n, err
}

// progress is how many conns have come through at a backend.
type progress struct{ reached, answered uint64 }

func progressOf(b *pool.Backend) progress { return progress{b.Reached(), b.Answered()} }

// overtaken says that the check of a backend which ended with err has only waited, while conns came through: before is
// from when it began. What is asked of another port has another queue.
func (k *Check) overtaken(err error, b *pool.Backend, before progress) bool {
	if k.Port != 0 && !b.Addr.IsUnix() && b.Addr.IP().Port() != k.Port {
		return false
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		return false
	}
	switch f.waited {
	case waitedConnect:
		return b.Reached() != before.reached
	case waitedAnswer:
		return b.Answered() != before.answered
	case waitedNone:
	}
	return false
}
