package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/netaddr"
	"homing/bench/testkit"
)

// The backend sees a client that shakes hands and says goodbye: no data, no reset, no error to log.
func TestHandshakeLeavesInOrder(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			ends := make(chan error, 1)
			s := serve(t, nil, func(s *server, c net.Conn) {
				conn := tls.Server(c, s.config)
				n, err := io.Copy(io.Discard, conn)
				if err == nil {
					err = conn.Close()
				}
				if n > 0 {
					err = fmt.Errorf("%d bytes of data", n)
				}
				ends <- err
			})
			ans, err := handshake(t.Context(), netaddr.MustParse(s.addr), offer{most: version})
			if err != nil || ans.version != version || ans.after != nil || len(ans.sessions) != 1 {
				t.Errorf("%+v, %v", ans, err)
			}
			if err := <-ends; err != nil {
				t.Errorf("the backend saw %v", err)
			}
		})
	}
}

// A server that speaks first, does not stop, and does not answer close_notify costs no more than the wait for a ticket.
func TestHandshakeWithTalkingServer(t *testing.T) {
	s := serve(t, named(keyA), func(s *server, c net.Conn) {
		conn := tls.Server(c, s.config)
		for {
			if _, err := fmt.Fprintln(conn, "220 ready"); err != nil {
				return
			}
		}
	})
	begun := time.Now()
	ans, err := handshake(t.Context(), netaddr.MustParse(s.addr), offer{most: tls.VersionTLS13})
	if err != nil || len(ans.sessions) != 1 || ans.after != nil {
		t.Errorf("%+v, %v", ans, err)
	}
	if d := time.Since(begun); d > 10*ticketWait { // and not as long as the server speaks
		t.Errorf("it took %v", d)
	}
}

func TestHandshakeCancelled(t *testing.T) {
	connected := make(chan struct{})
	s := serve(t, nil, func(s *server, c net.Conn) {
		_, _ = c.Read(make([]byte, 1)) // so that the client is beyond its connect
		close(connected)
		s.ignore(c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-connected; cancel() }()
	_, err := handshake(ctx, netaddr.MustParse(s.addr), offer{most: tls.VersionTLS13})
	if failed, ok := errors.AsType[*handshakeError](err); !ok || !failed.connected || !failed.silent() {
		t.Errorf("%v", err)
	}
}

func TestDescribe(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "remote error", Err: errors.New("tls: unrecognized name")}, "alert from the backend: unrecognized name"},
		{fmt.Errorf("read: %w", io.EOF), "the backend hung up"},
		{dialed(syscall.ECONNREFUSED), "connection refused"},
		{os.ErrDeadlineExceeded, "timeout"},
		{errors.New("tls: server selected unsupported curve"), "server selected unsupported curve"},
	} {
		if got := describe(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

// Every handshake is counted once.
func TestHandshakesCounted(t *testing.T) {
	s := serve(t, both(named(keyA), versions(tls.VersionTLS13, tls.VersionTLS13)), nil)
	lab := newLab(t, nil, s.addr)
	tg := lab.targets()[0]
	_, f := lab.round(tg)
	for h, want := range map[Handshake]uint64{
		{tls.VersionTLS13, HandshakeFull}: 1, {tls.VersionTLS13, HandshakeResumed}: 1, {tls.VersionTLS12, HandshakeFailed}: 1,
	} {
		if f.Handshakes[h] != want {
			t.Errorf("%s %s: %d, want %d", VersionName(h.Version), h.Result, f.Handshakes[h], want)
		}
	}
	if n := s.conns.Load(); n != 3 || len(f.Handshakes) != 3 {
		t.Errorf("%d conns, handshakes %v", n, f.Handshakes)
	}
}

// One refusal under a known key, and the backend's new one is known before the next ticket comes.
func TestRefusalLeadsToNewKey(t *testing.T) {
	s := serve(t, named(keyA), nil)
	lab := newLab(t, func(cfg *ProbeConfig) { cfg.Interval = time.Hour }, s.addr)
	background(t, lab.prober.Run, func() {})
	key := func(name string) func() bool {
		ident := lab.known.HashIdent(fmt.Appendf(nil, "%s%0100d", name, 0))
		return func() bool {
			var o affinity.Offer
			o.Kind = affinity.OfferPSK
			o.Add(ident)
			return lab.known.Find(&o, uint32(time.Now().Unix())).Source == affinity.SourceTicketKey
		}
	}
	testkit.Eventually(t, "the first key", key(keyA))
	s.rename(keyB)
	var old affinity.Offer
	old.Kind = affinity.OfferPSK
	old.Add(lab.known.HashIdent(fmt.Appendf(nil, "%s%0100d", keyA, 0)))
	lab.known.Refused(&old, affinity.SourceTicketKey, uint32(lab.pool.Snapshot().All()[0].ID), uint32(time.Now().Unix()))
	testkit.Eventually(t, "the second key", key(keyB))
}

// crypto/tls as a server gives each ticket a week.
func TestLifetime(t *testing.T) {
	const week = 7 * 24 * time.Hour
	s := serve(t, nil, nil)
	ans, err := handshake(t.Context(), netaddr.MustParse(s.addr), offer{most: tls.VersionTLS13})
	if err != nil || len(ans.sessions) != 1 {
		t.Fatal(ans, err)
	}
	for _, guess := range []time.Duration{0, time.Second, week - time.Second, week, week + time.Second} {
		if got := lifetime(ans.sessions[0], guess); got != week {
			t.Errorf("guessed %v, found %v", guess, got)
		}
	}
	for at, want := range map[time.Duration]bool{0: true, week: true, week + time.Second: false} {
		if got := offers(ans.sessions[0], probeTime().Add(at)); got != want {
			t.Errorf("offered after %v: %t", at, got)
		}
	}
}
