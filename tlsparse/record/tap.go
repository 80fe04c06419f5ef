//go:build record

package main

import (
	"bytes"
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
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	r.check(err)
	backend := probe.Addr().String()
	probe.Close()
	cmd := exec.CommandContext(r.ctx, "openssl",
		append([]string{"s_server", "-accept", backend, "-cert", r.cert, "-www", "-quiet"}, args...)...)
	r.check(cmd.Start())
	r.servers.Go(func() { _ = cmd.Wait() }) // it is killed in the end
	for range 500 {
		if c, err := net.Dial("tcp", backend); err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	r.check(err)
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
