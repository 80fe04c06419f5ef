package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
)

// hostOf is the peer's address without the port, which is another one each time.
func hostOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}

// complain logs why a stream ended or did not open: of a peer each reason once a minute, of strangers one of all of
// them, or whoever has many addresses would fill the log.
func (r *Replicator) complain(who string, stranger bool, what string, err error) {
	if err == nil || errors.Is(err, errEnded) {
		return
	}
	// Without the ports, which are others each time.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	kind := what + " of strangers"
	if !stranger {
		kind = who + " " + what + " " + err.Error()
	}
	r.quiet.Say(slog.LevelWarn, kind, what, slog.String("peer", who), slog.Any("error", err))
}
