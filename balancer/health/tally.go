package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// tally counts the checks in a row that contradict a backend's state.
type tally struct {
	rise, fall int  // constant
	up         bool // the state that row contradicts
	row        int  // 0 <= row < rise or fall
}

// add counts a check. up is the backend's state before it: when somebody else has changed that, the count starts again.
// It says whether the state is to change now.
func (t *tally) add(up, ok bool) bool {
	if t.up != up {
		t.up, t.row = up, 0
	}
	if ok == up {
		t.row = 0
		return false
	}
	t.row++
	need := t.rise
	if up {
		need = t.fall
	}
	if t.row < need {
		return false
	}
	t.row = 0
	return true
}

// why words the reason of a change for the log; err is the last check's.
func (t *tally) why(err error) string {
	if err == nil {
		return inARow(t.rise, "succeeded")
	}
	if t.fall == 1 {
		return "a check failed: " + cause(err)
	}
	return inARow(t.fall, "failed") + ", the last: " + cause(err)
}

func inARow(n int, what string) string {
	if n == 1 {
		return "a check " + what
	}
	return fmt.Sprintf("%d checks in a row %s", n, what)
}

// shortage says that a check failed for want of something on this machine, which tells nothing about the backend.
//
// It reads the system's text, for only netio may know errno values; a text that it does not know counts against the
// backend. That something is forbidden tells of the backend when connect says it: a route or a policy for its address.
func shortage(err error) bool {
	if err == nil {
		return false
	}
	switch cause(err) {
	case "too many open files", // EMFILE
		"too many open files in system",   // ENFILE
		"cannot assign requested address", // EADDRNOTAVAIL: no local port is free
		"cannot allocate memory",          // ENOMEM
		"no buffer space available":       // ENOBUFS
		return true
	case "operation not permitted", "permission denied": // EPERM, EACCES
		call, ok := errors.AsType[*os.SyscallError](err)
		return ok && call.Syscall != "connect"
	}
	return false
}

// cause is the innermost text of a network error: "connection refused" and not the address and the verbs around it,
// which the log line has already.
func cause(err error) string {
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout() {
		return "timeout"
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return strings.TrimSpace(err.Error())
		}
		err = inner
	}
}
