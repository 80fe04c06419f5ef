package integration

import (
	"context"
	wire "encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

const tenantFile = `
listeners:
  - address: ADDR
    routes:
      - {names: [SERVER], pool: good}
      - {names: [attack.example], pool: bad}
pools:
  - {name: good, backends: [A, B, C], checks: {interval: 200ms}}
  - {name: bad, backends: [BAD], probe: {enabled: off}}
`

// One tenant's backend issues tickets in masses: in one handshake, and in as many as its own client asks for. The
// sessions of another pool in the same tables stay, and the share of each is shown.
func TestIntegrationTenant(t *testing.T) {
	const (
		clients = 150
		atOnce  = 200_000 // tickets of one handshake; the table has 33,340 slots
		shakes  = 45_000  // handshakes of one ticket
	)
	servers, cert := three(t, farm.NginxConfig{NoTickets: true, QuietLog: true}, farm.NewECDSA)
	bad := startHostileBackend(t, "127.0.0.1:0")
	addr := testkit.FreeAddr(t)
	h := startFiled(t, addr, fill(tenantFile, "ADDR", addr, "SERVER", farm.ServerName, "BAD", bad.ln.Addr().String(),
		"A", servers[0].Addr(), "B", servers[1].Addr(), "C", servers[2].Addr()))
	good := users(t, addr, clients, idUser(cert))
	each := func(when string) {
		t.Helper()
		var c tally
		for _, i := range rand.Perm(clients) { // round robin would find the homes by itself
			r, err := good[i].Get(t.Context(), addr)
			testkit.Check(t, err)
			c.add(r)
		}
		t.Logf("%s: %v", when, &c)
		if c.accepted != clients {
			t.Errorf("%s: %d of %d sessions were resumed", when, c.accepted, clients)
		}
	}
	each("before")

	bad.tickets.Store(atOnce)
	bad.attack(t, addr, 1)
	each("after one handshake with many tickets")
	m := h.metrics(t)
	if n := m[`homing_pool_excess_answers_total{pool="bad"}`]; n != 1 {
		t.Errorf("%v answers of the backend are said to be in excess, want 1", n)
	}
	if n := m[`homing_table_pool_entries{pool="bad",table="sessions"}`]; n != 0 {
		t.Errorf("%v entries of a handshake that did not come to its end", n)
	}

	bad.tickets.Store(1)
	began := time.Now()
	bad.attack(t, addr, shakes)
	t.Logf("%d handshakes in %v", shakes, time.Since(began))
	each("after many handshakes with one ticket")
	m = h.metrics(t)
	share := func(pool string) (entries, evicted float64) {
		return m[`homing_table_pool_entries{pool="`+pool+`",table="sessions"}`], m[`homing_table_pool_evictions_total{pool="`+pool+`",table="sessions"}`]
	}
	goodHas, goodLost := share("good")
	badHas, badLost := share("bad")
	t.Logf("good has %v and lost %v, bad has %v and lost %v", goodHas, goodLost, badHas, badLost)
	if goodHas < clients || goodLost != 0 || badHas < 20_000 || badLost < 1000 {
		t.Error("the shares are not shown as they are")
	}
}

// hostileBackend answers each hello with a handshake that issues any number of tickets, each said to live for a week.
type hostileBackend struct {
	ln      net.Listener
	tickets atomic.Int64
	serial  atomic.Uint64
	conns   sync.WaitGroup
}

func startHostileBackend(t *testing.T, addr string) *hostileBackend {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	testkit.Check(t, err)
	b := &hostileBackend{ln: ln}
	b.conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			b.conns.Go(func() { b.serve(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		b.conns.Wait()
	})
	return b
}

func (b *hostileBackend) serve(conn *net.TCPConn) {
	defer conn.Close()
	_ = conn.SetLinger(0) // keeps ports out of TIME_WAIT
	buf := make([]byte, 4096)
	if n, err := conn.Read(buf); err != nil || n < 5 {
		return // a check
	}
	if _, err := conn.Write(b.answer()); err == nil {
		_, _ = io.Copy(io.Discard, conn) // until the client has it all and goes
	}
}

// answer is a ServerHello of TLS 1.2, the tickets and a ChangeCipherSpec with what could be a Finished.
func (b *hostileBackend) answer() []byte {
	hello := append(wire.BigEndian.AppendUint16(nil, 0x0303), make([]byte, 32)...) // the random
	hello = append(hello, 0, 0xc0, 0x2b, 0, 0, 4, 0, 35, 0, 0)                     // no session ID, a suite, no compression, session_ticket
	messages := handshakeMessage(2, hello)
	for range b.tickets.Load() {
		ticket := wire.BigEndian.AppendUint32(nil, 7*24*60*60)
		ticket = wire.BigEndian.AppendUint16(ticket, 40)
		ticket = wire.BigEndian.AppendUint64(ticket, b.serial.Add(1)*0x9e3779b97f4a7c15)
		messages = append(messages, handshakeMessage(4, append(ticket, make([]byte, 32)...))...)
	}
	var out []byte
	for len(messages) > 0 {
		n := min(len(messages), 1<<14)
		out = append(append(out, 22, 3, 3, byte(n>>8), byte(n)), messages[:n]...)
		messages = messages[n:]
	}
	out = append(out, 20, 3, 3, 0, 1, 1)
	return append(append(out, 22, 3, 3, 0, 40), make([]byte, 40)...)
}

func handshakeMessage(kind byte, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// attack is n conns to the backend through homing, each of which reads the whole answer.
func (b *hostileBackend) attack(t *testing.T, addr string, n int64) {
	t.Helper()
	var left atomic.Int64
	left.Store(n)
	var group sync.WaitGroup
	errs := make(chan error, 16)
	for range cap(errs) {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := b.visit(t.Context(), tlsclient.RandomLoopback(), addr); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
}

func (b *hostileBackend) visit(ctx context.Context, from *net.TCPAddr, addr string) error {
	conn, err := tlsclient.Dial(ctx, from, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // keeps ports out of TIME_WAIT
	}
	err = errors.Join(conn.SetDeadline(time.Now().Add(30*time.Second)), write(conn, helloFor("attack.example")))
	if err != nil {
		return err
	}
	finished := append([]byte{22, 3, 3, 0, 40}, make([]byte, 40)...)
	tail := make([]byte, 0, 2*len(finished))
	for buf := make([]byte, 64<<10); string(tail) != string(finished); {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		tail = append(tail, buf[max(0, n-len(finished)):n]...)
		tail = append(tail[:0], tail[max(0, len(tail)-len(finished)):]...)
	}
	return nil
}

// helloFor is the least that is a ClientHello of TLS 1.2 with a name, ready to take a ticket.
func helloFor(name string) []byte {
	entry := append([]byte{0, byte(len(name) >> 8), byte(len(name))}, name...)
	list := append([]byte{byte(len(entry) >> 8), byte(len(entry))}, entry...)
	extensions := append([]byte{0, 0, byte(len(list) >> 8), byte(len(list))}, list...)
	extensions = append(extensions, 0, 35, 0, 0)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0xc0, 0x2b, 1, 0, byte(len(extensions)>>8), byte(len(extensions)))
	message := handshakeMessage(1, append(body, extensions...))
	return append([]byte{22, 3, 1, byte(len(message) >> 8), byte(len(message))}, message...)
}
