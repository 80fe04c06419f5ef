package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// checkKind is how an agent finds out whether its backend works.
type checkKind uint8

const (
	checkTCP checkKind = iota
	checkTLS
)

// watch checks the backend until ctx is done, and sends each change; the first that it is up comes with the first
// success.
func (a *agent) watch(ctx context.Context, states chan<- bool) {
	o := a.options
	up, streak, rise := false, 0, 1
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := o.check.once(ctx, o.backend.String(), o.checkTimeout)
		if ctx.Err() != nil {
			return
		}
		timer.Reset(o.checkInterval)
		if (err == nil) == up {
			streak = 0
			continue
		}
		streak++
		if up && streak < o.fall || !up && streak < rise {
			continue
		}
		up, streak, rise = !up, 0, o.rise
		if err != nil {
			a.log.Warn("the backend does not answer", slog.String("backend", o.backend.String()), slog.Any("error", err))
		}
		select {
		case states <- up:
		case <-ctx.Done():
			return
		}
	}
}

// once is one check.
func (k checkKind) once(ctx context.Context, addr string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1} // it does not live long enough to be probed
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // no TIME_WAIT every second; without it the check holds as well
	}
	if k == checkTCP {
		return nil
	}
	// The certificate is for the clients to judge: here it only matters that the server speaks TLS.
	secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	return secured.HandshakeContext(ctx)
}
