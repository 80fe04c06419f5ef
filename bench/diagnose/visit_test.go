package diagnose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/bench/tlsserver"
)

// certificate makes one for the names, valid from so long ago for so long.
func certificate(t *testing.T, ago, valid time.Duration, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	from := time.Now().Add(-ago)
	cert, err := tlsserver.SelfSign(testkit.ECDSA(t), from, from.Add(valid), names...)
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Pair(t, cert), tlsserver.Roots(cert)
}

// listen accepts conns on loopback and lets serve have each.
func listen(t *testing.T, serve func(net.Conn)) Target {
	t.Helper()
	target, err := ParseTarget(testkit.Serve(t, serve))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func serveTLS(cfg *tls.Config) func(net.Conn) {
	return func(conn net.Conn) {
		c := tls.Server(conn, cfg)
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
}

const name = "www.example.org"

func run(t *testing.T, o Options, targets ...Target) *Report {
	t.Helper()
	r, err := Run(t.Context(), targets, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What goes wrong is told in one line that says what to do.
func TestWhatGoesWrongIsToldInOneLine(t *testing.T) {
	cert, roots := certificate(t, time.Hour, 2*time.Hour, name)
	old, oldRoots := certificate(t, 48*time.Hour, 24*time.Hour, name)
	early, earlyRoots := certificate(t, -24*time.Hour, 48*time.Hour, name)
	bare, bareRoots := certificate(t, time.Hour, 2*time.Hour)
	many, manyRoots := certificate(t, time.Hour, 2*time.Hour, "a.test", "b.test", "c.test", "d.test")
	with := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	asking := with(cert)
	asking.ClientAuth = tls.RequireAnyClientCert
	ancient := with(cert)
	ancient.MinVersion, ancient.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	strict := with(cert)
	strict.NextProtos = []string{"http/1.1"}
	choosy := with(cert)
	choosy.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no") }
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for _, tt := range []struct {
		what  string
		serve func(net.Conn)
		o     Options
		want  string
	}{
		{"plain HTTP", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, Options{}, "the port speaks plain HTTP: give the port of HTTPS"},
		{"SSH", func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") }, Options{}, `the port does not speak TLS: its answer begins "SSH-2.0`},
		{"silence", silent, Options{Timeout: 50 * time.Millisecond}, "connected, but no answer to a TLS 1.2 hello within 50ms"},
		{"a conn closed at once", func(net.Conn) {}, Options{}, "conn instead of a TLS 1.2 handshake"},
		{"TLS 1.1 alone", serveTLS(ancient), Options{Roots: roots}, "the server does not speak TLS 1.2"},
		{"another name", serveTLS(with(cert)), Options{Roots: roots, Name: "other.test"}, "the certificate is for www.example.org, not for other.test: give the name with --sni, or --insecure"},
		{"many names", serveTLS(with(many)), Options{Roots: manyRoots, Name: name}, "the certificate is for a.test, b.test, c.test, ..., not for"},
		{"no name", serveTLS(with(bare)), Options{Roots: bareRoots, Name: name}, "the certificate is for no name, not for"},
		{"no SNI", serveTLS(with(cert)), Options{Roots: roots}, "the certificate is for www.example.org, not for 127.0.0.1"},
		{"another authority", serveTLS(with(cert)), Options{Roots: oldRoots, Name: name}, "an authority that is not trusted here: give it with --ca FILE, or --insecure"},
		{"an old certificate", serveTLS(with(old)), Options{Roots: oldRoots, Name: name}, "the certificate was valid until " + time.Now().Add(-24*time.Hour).UTC().Format(time.DateOnly)},
		{"a certificate of tomorrow", serveTLS(with(early)), Options{Roots: earlyRoots, Name: name}, "the certificate is not valid before "},
		{"a client certificate", serveTLS(asking), Options{Roots: roots, Name: name}, "the server wants a client certificate"},
		{"no protocol in common", serveTLS(strict), Options{Roots: roots, Name: name, ALPN: []string{"smtp", "imap"}}, "the server speaks none of the protocols smtp,imap: see --alpn"},
		{"an alert", serveTLS(choosy), Options{Roots: roots, Name: name}, "the server ends the TLS 1.2 handshake: internal error"},
	} {
		r := run(t, tt.o, listen(t, tt.serve))
		if got := r.Nothing(); !strings.Contains(got, tt.want) || strings.Contains(got, "\n") || !r.Incomplete || r.Lost {
			t.Errorf("%s: %q, want %q in it (incomplete %v, lost %v)", tt.what, got, tt.want, r.Incomplete, r.Lost)
		}
	}
}

func TestConnectErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	target, _ := ParseTarget(addr)
	if got, want := run(t, Options{}, target).Nothing(), addr+": cannot connect: connection refused"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Run(ctx, []Target{target}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, o := range []Options{{Tries: -1}, {Tries: MaxTries + 1}, {Timeout: -1}} {
		if _, err := Run(t.Context(), []Target{target}, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// A real server of TLS 1.2 tickets and TLS 1.3, whose tickets name no key: crypto/tls gives no session IDs.
func TestRunAtCryptoTLS(t *testing.T) {
	cert, roots := certificate(t, time.Hour, 2*time.Hour, name, "127.0.0.1")
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, o := range []Options{{Roots: roots, Name: name}, {Roots: roots}, {Insecure: true, Name: "other.test"}} {
		r := run(t, o, listen(t, serveTLS(cfg)))
		if r.Lost || r.Incomplete || r.Caching != "Session resumption (caching): No (IDs empty)" ||
			r.Tickets != "Session resumption (tickets): Yes" || r.TLS13 != "Session resumption (TLS 1.3): Yes" {
			t.Errorf("%+v", r)
		}
		if a := &r.Addresses[0]; a.PSK.LifetimeSeconds != 7*86400 || len(a.keys()) != 0 || a.PSK.Stateful || a.PSK.PerHandshake != 1 {
			t.Errorf("%+v", a.PSK)
		}
	}
	// Two behind one address that share nothing.
	other := &tls.Config{Certificates: []tls.Certificate{cert}}
	var turn atomic.Int32
	r := run(t, Options{Roots: roots, Name: name}, listen(t, func(conn net.Conn) {
		serveTLS([]*tls.Config{cfg, other}[turn.Add(1)%2])(conn)
	}))
	if !r.Lost || r.Findings[0].Code != CodeApart {
		t.Errorf("%+v", r)
	}
}

// A server that gives its TLS 1.3 tickets only behind a request is asked for something.
// A server may put a session into its cache when it is done with the conn: nobody comes back before.
func TestNextConnWaitsForTheEndOfTheLast(t *testing.T) {
	cert, roots := certificate(t, time.Hour, 2*time.Hour, name)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var open, overlaps atomic.Int32
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}
		target := listen(t, func(conn net.Conn) {
			c := tls.Server(conn, cfg)
			if c.Handshake() != nil { // of the other version
				return
			}
			if open.Add(1) > 1 {
				overlaps.Add(1)
			}
			_, _ = io.Copy(io.Discard, c)
			time.Sleep(5 * time.Millisecond) // it stores the session
			open.Add(-1)
			_ = c.Close()
		})
		r := run(t, Options{Roots: roots, Name: name, Timeout: time.Minute}, target)
		if n := overlaps.Load(); n > 0 || r.Lost {
			t.Errorf("%s: %d conns began before the last had ended; lost %v", tls.VersionName(version), n, r.Lost)
		}
	}
}

func TestRunTalksWhereItMust(t *testing.T) {
	cert, roots := certificate(t, time.Hour, 2*time.Hour, name)
	// crypto/tls sends the ticket with its first flight, unless it waits for a certificate of the client's.
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert}
	requests := make(chan string, 100)
	r := run(t, Options{Roots: roots, Name: name}, listen(t, func(conn net.Conn) {
		shy := &shyConn{Conn: conn}
		c := tls.Server(shy, cfg)
		if c.Handshake() != nil {
			return
		}
		b := make([]byte, 1000)
		n, err := c.Read(b)
		if err != nil {
			return
		}
		requests <- string(b[:n])
		shy.mayTalk = true
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		_ = c.Close()
	}))
	select {
	case got := <-requests:
		if !strings.HasPrefix(got, "HEAD / HTTP/1.1\r\nHost: "+name+"\r\n") {
			t.Errorf("the request is %q", got)
		}
	default:
		t.Error("no request was sent")
	}
	if r.Lost || r.TLS13 != "Session resumption (TLS 1.3): Yes" || r.Addresses[0].PSK.Accepted != DefaultTries {
		t.Errorf("%+v", r)
	}
}

// shyConn keeps what a server writes behind its first flight until it may talk. The first write of crypto/tls in TLS 1.3 is
// the flight, the second the ticket.
type shyConn struct {
	net.Conn
	writes  int
	kept    []byte
	mayTalk bool
}

func (s *shyConn) Write(b []byte) (int, error) {
	s.writes++
	if s.writes > 1 && !s.mayTalk {
		s.kept = append(s.kept, b...)
		return len(b), nil
	}
	if len(s.kept) > 0 {
		if _, err := s.Conn.Write(s.kept); err != nil {
			return 0, err
		}
		s.kept = nil
	}
	return s.Conn.Write(b)
}

func TestParseTarget(t *testing.T) {
	for s, want := range map[string]Target{
		"www.example.org:8443":  {Host: "www.example.org", Port: 8443},
		"www.example.org":       {Host: "www.example.org", Port: 443},
		"192.0.2.1":             {Host: "192.0.2.1", Port: 443},
		"[2001:db8::1]:444":     {Host: "2001:db8::1", Port: 444},
		"[2001:db8::1]":         {Host: "2001:db8::1", Port: 443},
		"2001:db8::1":           {Host: "2001:db8::1", Port: 443},
		"www.example.org.:443":  {Host: "www.example.org.", Port: 443},
		"www.example.org:65535": {Host: "www.example.org", Port: 65535},
	} {
		want.Text = s
		if got, err := ParseTarget(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", ":443", "a:b", "a:0", "a:65536", "https://www.example.org/", "a b:443", "me@host:1", "a:1:2"} {
		if got, err := ParseTarget(s); err == nil || !strings.Contains(err.Error(), "is not HOST:PORT: write it as") {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	if got := (&Target{Host: "www.example.org."}).serverName(); got != "www.example.org" {
		t.Error(got)
	}
	if got := (&Target{Host: "192.0.2.1"}).serverName(); got != "" {
		t.Error(got)
	}
}

// zone is a Resolver.
type zone map[string][]netip.Addr

func (n zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if list := n[host]; list != nil {
		return list, nil
	}
	return nil, &net.DNSError{Name: host, IsNotFound: true}
}

func TestAddresses(t *testing.T) {
	ip := netip.MustParseAddr
	r := zone{
		"www.example.org": {ip("2001:db8::1"), ip("192.0.2.2"), ip("::ffff:192.0.2.1")},
		"alias.test":      {ip("192.0.2.1")},
	}
	var targets []Target
	for _, s := range []string{"www.example.org", "192.0.2.1:443", "alias.test", "www.example.org:443", "missing.test:443"} {
		target, err := ParseTarget(s)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	show := func(list []Address) string {
		var b strings.Builder
		for _, a := range list {
			b.WriteString(a.Addr + " " + a.Name + " " + a.Error + "\n")
		}
		return b.String()
	}
	want := "192.0.2.1:443 www.example.org \n192.0.2.2:443 www.example.org \n[2001:db8::1]:443 www.example.org \n" +
		"192.0.2.1:443  \n192.0.2.1:443 alias.test \nmissing.test:443 missing.test missing.test does not resolve: there is no such name\n"
	if got := show(addresses(t.Context(), r, targets, "")); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	// With one name for all, an address is examined once.
	want = "192.0.2.1:443 sni.test \n192.0.2.2:443 sni.test \n[2001:db8::1]:443 sni.test \nmissing.test:443 sni.test missing.test does not resolve: there is no such name\n"
	if got := show(addresses(t.Context(), r, targets, "sni.test")); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestTicketKeys(t *testing.T) {
	ticket := func(name string) []byte { return append([]byte(name), random(120)...) }
	const a, b = "sixteen bytes, a", "sixteen bytes, b"
	var ten [][]byte
	for range 40 {
		ten = append(ten, ticket(a))
	}
	same := ticket(a)
	for _, tt := range []struct {
		what    string
		tickets [][]byte
		want    int // keys
		bytes   int // of the name
	}{
		{"none", nil, 0, 0},
		{"one ticket tells nothing", [][]byte{ticket(a)}, 0, 0},
		{"nor does the same one twice", [][]byte{same, same}, 0, 0},
		{"two under one key", [][]byte{ticket(a), ticket(a)}, 1, 16},
		{"many under one key", ten, 1, 16},
		{"two under each of two", [][]byte{ticket(a), ticket(a), ticket(b), ticket(b)}, 2, 16},
		{"one under a further key", [][]byte{ticket(a), ticket(a), ticket(b)}, 2, 16},
		{"names of 4 bytes", [][]byte{ticket("abcd"), ticket("abcd"), ticket("efgh")}, 2, 4},
		{"no names", [][]byte{random(120), random(120), random(120)}, 0, 0},
		{"Schannel, two keys", [][]byte{ticket("\x00\x00\x00\x00the guid one"), ticket("\x00\x00\x00\x00the guid two")}, 0, 0},
		{"Schannel, one key", [][]byte{ticket("\x00\x00\x00\x00the guid one"), ticket("\x00\x00\x00\x00the guid one")}, 1, 16},
		{"entries in memory", [][]byte{random(32), random(32)}, 0, 0},
	} {
		got := named(tt.tickets, nameSize(tt.tickets), 1)
		if len(got) != tt.want || tt.want > 0 && len(got[0].Name) != 2*tt.bytes {
			t.Errorf("%s: %+v", tt.what, got)
		}
	}
	if got := named(append(ten, ticket(b)), 16, 1); len(got) != 2 || got[0].Tickets != 40 || got[1].Tickets != 1 {
		t.Errorf("the key with the most tickets comes first: %+v", got)
	}
	long, short := []Key{{Name: "aabbccdd11"}}, []Key{{Name: "aabbccdd"}}
	if !sameKey(long, short) || !sameKey(short, long) || sameKey(long, []Key{{Name: "aabbcc00"}}) || sameKey(nil, long) {
		t.Error("keys are not compared by what both names have")
	}
}

func TestSchannelIDs(t *testing.T) {
	id := func(slot uint16) []byte { return append([]byte{byte(slot), byte(slot >> 8), 0, 0}, random(28)...) }
	if !schannelIDs([][]byte{id(19974), id(7)}) || schannelIDs([][]byte{id(7)}) || schannelIDs([][]byte{id(7), id(20000)}) ||
		schannelIDs([][]byte{id(7), random(16)}) || schannelIDs(nil) {
		t.Error("Schannel's session IDs are not told from others")
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[int]string{59: "59 s", 60: "1 min", 90: "90 s", 300: "5 min", 7200: "2 h", 86400: "1 d", 604800: "7 d", 100800: "28 h"} {
		if got := duration(seconds); got != want {
			t.Errorf("%d: %s, want %s", seconds, got, want)
		}
	}
}
