package tlsparse

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"sync"
	"time"
)

// A tap passes connections on to a server and keeps what the clients send: sent
// up to the server's first byte, then after it.
type tap struct {
	addr  string
	mu    sync.Mutex
	conns []*tapped
}

type tapped struct {
	answered      bool
	before, after bytes.Buffer
}

// serve starts an s_server with a tap in front of it.
func (r *recorder) serve(args ...string) *tap {
	r.t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	r.check(err)
	backend := probe.Addr().String()
	probe.Close()
	ctx, cancel := context.WithCancel(r.t.Context())
	r.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_server", "-accept", backend, "-cert", r.cert, "-www", "-quiet"}, args...)...)
	r.check(cmd.Start())
	r.t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for range 500 {
		if c, err := net.Dial("tcp", backend); err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	r.check(err)
	r.t.Cleanup(func() { ln.Close() })
	tp := &tap{addr: ln.Addr().String()}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", backend)
			if err != nil {
				client.Close()
				continue
			}
			c := new(tapped)
			tp.mu.Lock()
			tp.conns = append(tp.conns, c)
			tp.mu.Unlock()
			go tp.pass(server, client, c, false)
			go tp.pass(client, server, c, true)
		}
	}()
	return tp
}

func (tp *tap) pass(dst, src net.Conn, c *tapped, fromServer bool) {
	defer dst.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		tp.mu.Lock()
		switch {
		case fromServer:
			c.answered = c.answered || n > 0
		case c.answered:
			c.after.Write(buf[:n])
		default:
			c.before.Write(buf[:n])
		}
		tp.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}
