//go:build linux

package balancer

import (
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"homing/balancer/pool"
)

// mallocs is the number of heap objects this process has made so far.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// costsNothing says that once, which is about so many conns, makes no heap object for each of them. What the process
// does by the clock counts too, four or five objects a second; on a busy machine the same conns take more seconds.
func costsNothing(t *testing.T, times, conns int, once func()) {
	t.Helper()
	runtime.GC()
	began, before := time.Now(), mallocs()
	for range times {
		once()
	}
	n, took := mallocs()-before, time.Since(began)
	if most := uint64(times*conns)/20 + uint64(10*took.Seconds()); n > most {
		t.Errorf("%d heap objects for %d conns in %v, want %d at most", n, times*conns, took, most)
	}
}

// bareConn is a blocking socket used without the runtime, so that a test can be client and backend and allocate
// nothing.
type bareConn int

func (c bareConn) write(t testing.TB, b []byte) {
	if n, err := syscall.Write(int(c), b); n != len(b) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
}

func (c bareConn) read(t testing.TB, b []byte) {
	for len(b) > 0 {
		n, err := syscall.Read(int(c), b)
		if err == syscall.EINTR {
			continue // the runtime's signals, as the socket has a timeout
		}
		if n <= 0 || err != nil {
			t.Fatalf("read: %d, %v", n, err)
		}
		b = b[n:]
	}
}

func (c bareConn) close() { syscall.Close(int(c)) }

// bareDial connects to a port of 127.0.0.1.
func bareDial(t testing.TB, sa *syscall.SockaddrInet4) bareConn {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	timeout := syscall.NsecToTimeval(patience.Nanoseconds())
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout)
	if err := syscall.Connect(fd, sa); err != nil {
		t.Fatal(err)
	}
	return bareConn(fd)
}

// bareAccept takes the next connection of a listener, without its address, for which syscall.Accept allocates.
func bareAccept(t testing.TB, fd int) bareConn {
	for {
		n, _, errno := syscall.Syscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(nil)), 0, syscall.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			return bareConn(n)
		case syscall.EINTR:
		default:
			t.Fatal(errno)
		}
	}
}

// bareListener is the listening socket of a server, blocking.
func bareListener(t testing.TB, s *server) int {
	f, err := s.ln.File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(f.Fd())) // Fd makes it blocking
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	t.Cleanup(func() { syscall.Close(fd) })
	timeout := syscall.NsecToTimeval(patience.Nanoseconds())
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout)
	return fd
}

// TestAllocations: a conn, from accept to close, costs no heap object: fresh, with an offer that is held, and with
// bytes that are relayed. What may be allocated is the growth of pools and the runtime's own.
func TestAllocations(t *testing.T) {
	ticket := named("sixteen bytes nm", 1)
	for i, test := range []struct {
		name           string
		sent, answered []byte
	}{
		{"fresh", hello{}.bytes(), join(answer{}.bytes(), certificate(3000))},
		{"fresh TLS 1.3", hello{tls13: true, id: fixed('i'), names: []string{"a.test"}}.bytes(), join(answer{tls13: true, id: fixed('i')}.bytes(), appData(3000))},
		{"ticket accepted", hello{ticket: ticket}.bytes(), join(answer{}.bytes(), ccs(), finished())},
		{"ticket refused", hello{ticket: ticket}.bytes(), join(answer{}.bytes(), certificate(3000))},
		{"PSK accepted", hello{psks: [][]byte{ticket}}.bytes(), join(answer{tls13: true, psk: 1}.bytes(), appData(200))},
		{"records of one byte", records(22, hello{psks: [][]byte{ticket}}.message(), 1), join(answer{tls13: true, psk: 1}.bytes(), appData(200))},
		{"no TLS", []byte("GET / HTTP/1.0\r\n\r\n"), []byte("HTTP/1.0 204 No Content\r\n\r\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			s := r.queueServer()
			ln := bareListener(t, s)
			r.startPool(pool.Options{}, func(c *Config) { c.ConnLog = nil })
			r.teachBare(ln, ticket)
			to := &syscall.SockaddrInet4{Port: int(r.b.Addrs()[0].IP().Port()), Addr: [4]byte{127, 0, 0, 1}}
			buf := make([]byte, 1<<16)
			once := func() {
				c := bareDial(t, to)
				c.write(t, test.sent)
				b := bareAccept(t, ln)
				b.read(t, buf[:len(test.sent)])
				b.write(t, test.answered)
				c.read(t, buf[:len(test.answered)])
				for range 3 {
					c.write(t, buf[:1000])
					b.read(t, buf[:1000])
					b.write(t, buf[:1000])
					c.read(t, buf[:1000])
				}
				c.close()
				b.close()
			}
			for range 100 { // pools and tables grow
				once()
			}
			conns := 300
			if i == 0 {
				conns = 1000
			}
			costsNothing(t, conns, 1, once)
			s.ln.Close()
		})
	}
}

// teachBare lets the only backend issue a ticket.
func (r *rig) teachBare(ln int, ticket []byte) {
	c := r.dial()
	write(r, c, hello{ticket: []byte{}}.bytes())
	b := bareAccept(r, ln)
	b.write(r, join(answer{}.bytes(), certificate(10), newTicket(3600, ticket), ccs()))
	r.await("the ticket is learned", func() bool { return r.b.Stats().IssuedTickets == 1 })
	b.close()
	c.Close()
}

// TestRelayAllocations: the steady state of many conns costs nothing at all.
func TestRelayAllocations(t *testing.T) {
	const conns = 500
	r := newRig(t)
	r.serveByHand()
	r.start()
	var clients, servers []*net.TCPConn
	greeting := hello{}.bytes()
	for range conns {
		c := r.dial()
		write(t, c, greeting)
		b := r.arrival()
		read(t, b, len(greeting))
		clients, servers = append(clients, c), append(servers, b.TCPConn)
	}
	buf := make([]byte, 4000)
	round := func() {
		for i := range clients {
			for _, pair := range [][2]*net.TCPConn{{clients[i], servers[i]}, {servers[i], clients[i]}} {
				if _, err := pair[0].Write(buf); err != nil {
					t.Fatal(err)
				}
				for have := 0; have < len(buf); {
					n, err := pair[1].Read(buf[have:])
					if err != nil {
						t.Fatal(err)
					}
					have += n
				}
			}
		}
	}
	round() // buffers grow
	costsNothing(t, 5, conns, round)
	s := r.b.Stats()
	if s.BufferBytes != 0 || s.Handshakes != 0 {
		t.Errorf("%d bytes of buffers, %d handshakes in the steady state", s.BufferBytes, s.Handshakes)
	}
}
