package proc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are drawn below Linux's ephemeral range (32,768 and up, ip(7)): a port from inside it may be taken by an outgoing
// conn while its program is down, and the restart would then fail.
const (
	firstPort = 20000
	lastPort  = 32000
)

// FreeAddrs returns so many different addresses on 127.0.0.1 that nothing listens on, for TCP or UDP. Another process may
// take one before it is used; with ports drawn at random that has not been seen.
func FreeAddrs(ctx context.Context, n int) ([]string, error) {
	addrs := make([]string, 0, n)
	var lc net.ListenConfig
	for range 100 + 10*n {
		if len(addrs) == n {
			return addrs, nil
		}
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort))
		tcp, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		// Held until all are drawn, so that none is drawn twice.
		defer func() { _ = tcp.Close() }()
		udp, err := lc.ListenPacket(ctx, "udp", addr)
		if err != nil {
			continue
		}
		defer func() { _ = udp.Close() }()
		addrs = append(addrs, addr)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, errors.New("no free ports on 127.0.0.1: too many programs listen between ports 20000 and 32000")
}
