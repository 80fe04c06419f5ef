package integration

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// Backends that no real server is, each bad in its own way. What they do with a conn they do until the test ends.

// ill starts a listener that gives each conn to serve, by its number.
func ill(t *testing.T, serve func(c net.Conn, n int64)) string {
	t.Helper()
	var count atomic.Int64
	return testkit.Serve(t, func(c net.Conn) { serve(c, count.Add(1)) })
}

// hanging accepts and never says a word.
func hanging(t *testing.T) string {
	return testkit.Serve(t, testkit.Silence)
}

// hangsUp accepts and closes.
func hangsUp(t *testing.T) string { return testkit.Serve(t, func(net.Conn) {}) }

// speaking is a TLS server that answers a request. It waits before it says its first word, and is silent after its first
// record if it is mute; lame, it hangs up on every other conn.
type speaking struct {
	wait       time.Duration
	mute, lame bool
}

func (s speaking) start(t *testing.T, cert *farm.Certificate) string {
	t.Helper()
	cfg := &tls.Config{Certificates: []tls.Certificate{testkit.Pair(t, cert)}}
	return ill(t, func(c net.Conn, n int64) {
		if s.lame && n%2 == 0 {
			return
		}
		time.Sleep(s.wait) // that is what it is for
		if s.mute {
			c = &firstRecord{Conn: c}
		}
		conn := tls.Server(c, cfg)
		if conn.Handshake() != nil {
			_, _ = io.Copy(io.Discard, c) // mute, it waits for the client's answer
			return
		}
		buf := make([]byte, 4096)
		if _, err := conn.Read(buf); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nslow r TLSv1.3 127.0.0.1\n")
		}
		_ = conn.Close()
	})
}

// firstRecord is a conn of which one TLS record is written: the ServerHello.
type firstRecord struct {
	net.Conn
	written bool
}

func (c *firstRecord) Write(b []byte) (int, error) {
	if c.written || len(b) < 5 {
		return len(b), nil
	}
	c.written = true
	_, err := c.Conn.Write(b[:5+int(b[3])<<8+int(b[4])])
	return len(b), err
}

// choked is a listening socket whose queue is full and never emptied: the kernel answers no further SYN, as if a machine
// were gone.
func choked(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	testkit.Check(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	testkit.Check(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	testkit.Check(t, err)
	in4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatal("no IPv4 address")
	}
	addr := (&net.TCPAddr{IP: in4.Addr[:], Port: in4.Port}).String()
	for range 8 { // more than its queue takes: the last one is in vain
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue is not full")
	return ""
}
