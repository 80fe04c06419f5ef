package testkit

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
)

// Serve listens on loopback until the test ends, handles each conn on a goroutine of its own, and closes it then.
func Serve(tb testing.TB, handle func(net.Conn)) (addr string) {
	tb.Helper()
	return ServeOn(tb, Listen(tb, "tcp", "127.0.0.1:0"), handle)
}

// ServeTLS is Serve behind TLS; the handshake is made by the first read or write.
func ServeTLS(tb testing.TB, config *tls.Config, handle func(net.Conn)) (addr string) {
	tb.Helper()
	return ServeOn(tb, tls.NewListener(Listen(tb, "tcp", "127.0.0.1:0"), config), handle)
}

// Listen listens until the test ends.
func Listen(tb testing.TB, network, addr string) net.Listener {
	tb.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() }) // it may be closed already
	return l
}

// ServeOn is Serve of what a listener accepts. It is closed when the test ends.
func ServeOn(tb testing.TB, l net.Listener, handle func(net.Conn)) (addr string) {
	tb.Cleanup(func() { _ = l.Close() }) // it may be closed already
	go Accept(l, handle)
	return l.Addr().String()
}

// Accept handles what a listener accepts until that is closed.
func Accept(l net.Listener, handle func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			handle(conn)
		}()
	}
}

// Silence takes all that a conn says, and says nothing.
func Silence(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) } // it ends with the conn

// Again is a listener's socket a second time, as another process gets it.
func Again(tb testing.TB, listener net.Listener) *net.TCPListener {
	tb.Helper()
	file, err := listener.(*net.TCPListener).File()
	Check(tb, err)
	defer file.Close()
	copied, err := net.FileListener(file)
	Check(tb, err)
	return copied.(*net.TCPListener)
}
