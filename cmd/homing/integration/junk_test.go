package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// nameBytes is the length of the key's name at the front of a ticket of nginx.
const nameBytes = 16

// Junk with a known key name, or with a known session ID, changes nothing for good clients: nothing of theirs is
// refused, and no key, entry or backend is lost.
func TestIntegrationJunk(t *testing.T) {
	const hellos = 10_000
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	h := startHoming(t, addrs(servers))
	good12, good13, goodID := goUser(cert, tls.VersionTLS12), goUser(cert, tls.VersionTLS13), idUser(cert)
	list := users(t, h.addr, 9, good12)
	list = append(list, users(t, h.addr, 9, good13)...)
	list = append(list, users(t, h.addr, 9, goodID)...)
	reconnect(t, h.addr, list, 100) // learns the keys
	before := reconnect(t, h.addr, list, 100)
	known := h.metrics(t)
	t.Logf("before: %v", &before)
	if before.refused() > 0 {
		t.Fatalf("refused before there was any junk: %v", &before)
	}

	ticket12, ticket13, id := list[0].(*goClient), list[9].(*goClient), list[18].(*tlsclient.Client)
	knownName := func(i int) []byte {
		if i%2 == 0 {
			return junkTicket(t, ticket12)
		}
		return junkTicket(t, ticket13)
	}
	knownID, err := id.Hello()
	testkit.Check(t, err)
	for _, tt := range []struct {
		name    string
		sources int
		hello   func(i int) []byte
	}{
		{"known key name, one address", 1, knownName},
		{"known key name, 1,000 addresses", 1000, knownName},
		{"known session ID, 1,000 addresses", 1000, func(int) []byte { return knownID }},
	} {
		// Hellos are made beforehand: a client must not be used by two goroutines.
		junk := make([][]byte, hellos)
		for i := range junk {
			junk[i] = tt.hello(i)
		}
		ctx, stop := context.WithCancel(t.Context())
		var during tally
		var wg sync.WaitGroup
		wg.Go(func() { during = goodUntil(ctx, t, h.addr, list) })
		answers := inParallel(t, hellos, func(i int) (string, error) {
			return firstAnswer(t.Context(), h.addr, tlsclient.Loopback(1<<16+i%tt.sources), junk[i])
		})
		stop()
		wg.Wait()
		after := reconnect(t, h.addr, list, 100)
		t.Logf("%s: answers %v; good clients meanwhile: %v; afterwards: %v", tt.name, answers, &during, &after)
		if during.refused() > 0 || after.refused() > 0 {
			t.Errorf("%s: good clients lost %d meanwhile, %d afterwards", tt.name, during.refused(), after.refused())
		}
	}
	h.nothingLost(t, known, servers)
}

// goodUntil lets good clients reconnect until ctx is done.
func goodUntil(ctx context.Context, t *testing.T, addr string, list []user) tally {
	var c tally
	for i := 0; ctx.Err() == nil; i++ {
		r, err := list[i%len(list)].Get(context.WithoutCancel(ctx), addr)
		if err != nil {
			t.Errorf("a good client: %v", err)
			return c
		}
		c.add(r)
	}
	return c
}

// junkTicket is a hello of a real client, with all but the key's name in its ticket or PSK identity replaced.
func junkTicket(t *testing.T, c *goClient) []byte {
	t.Helper()
	hello, err := c.Hello()
	testkit.Check(t, err)
	ticket := c.Ticket()
	at := bytes.Index(hello, ticket)
	if at < 0 || len(ticket) <= nameBytes {
		t.Fatalf("no ticket in the hello")
	}
	if _, err := rand.Read(hello[at+nameBytes : at+len(ticket)]); err != nil {
		t.Fatal(err)
	}
	return hello
}

// firstAnswer sends a hello, waits for the first bytes that come back and hangs up. It returns their record type.
func firstAnswer(ctx context.Context, addr string, from *net.TCPAddr, hello []byte) (string, error) {
	conn, err := tlsclient.Dial(ctx, from, addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write(hello); err != nil {
		return "", err
	}
	var header [5]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return "", fmt.Errorf("a junk hello was not answered: %w", err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // keeps 30,000 conns out of TIME_WAIT
	}
	return fmt.Sprintf("record type %d", header[0]), nil
}

// nothingLost fails the test when homing knows less than before, or takes a backend for down.
func (h *homing) nothingLost(t *testing.T, before map[string]float64, servers []*farm.Nginx) {
	t.Helper()
	after := h.metrics(t)
	for _, n := range servers {
		if !h.up(t, n.Addr()) {
			t.Errorf("backend %s was marked down", n.Name())
		}
	}
	if n := after[`homing_ticket_keys_doubtful{pool="default"}`]; n > 0 {
		t.Errorf("%v ticket keys became doubtful", n)
	}
	seen := 0
	for name, was := range before {
		// The other tables are short-term memory, which may shrink by itself.
		if strings.HasPrefix(name, "homing_ticket_keys{") || name == `homing_table_entries{table="sessions"}` {
			seen++
			if after[name] < was {
				t.Errorf("%s fell from %v to %v", name, was, after[name])
			}
		}
	}
	if seen == 0 {
		t.Error("no metrics of the tables")
	}
}
