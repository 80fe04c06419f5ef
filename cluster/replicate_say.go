package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// hostOf is the peer's address without the port, which is another one each time.
func hostOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}

// sayEvery is how often the same thing about the same peer is said.
const sayEvery = time.Minute

// complain logs why a stream ended or did not open, unless it has just done so.
func (r *Replicator) complain(who, what string, err error) {
	if err == nil || errors.Is(err, errEnded) {
		return
	}
	// Without the ports, which are others each time.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	if r.unsaid(who + " " + what + " " + err.Error()) {
		r.log.Warn(what, slog.String("peer", who), slog.Any("error", err))
	}
}

// unsaid reports whether something has not been said for sayEvery, and notes that it
// is now.
func (r *Replicator) unsaid(something string) bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, known := r.quiet[something]; known && now.Sub(last) < sayEvery {
		return false
	}
	if len(r.quiet) >= maxPeers {
		clear(r.quiet) // said again too early rather than held for ever
	}
	r.quiet[something] = now
	return true
}
