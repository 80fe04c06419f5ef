package flow

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"homing/balancer/proxyheader"
	"homing/cmd/homing/internal/observe/capture"
	"homing/tlsparse"
)

// said is what one side says at a time.
type said struct {
	from side
	data []byte
}

// seen is a segment on its way.
type seen struct {
	from     side
	seq, ack uint32
	syn, fin bool
	rst, urg bool
	noACK    bool
	data     []byte
	after    time.Duration // since the segment before; 0: a millisecond
	cut      int           // bytes of the frame that are not captured
}

// ends are the endpoints of a conn in tests.
type ends struct{ client, server netip.AddrPort }

var usual = ends{netip.MustParseAddrPort("192.0.2.1:50000"), netip.MustParseAddrPort("198.51.100.2:443")}

// first sequence numbers: both streams wrap around in their first bytes.
const (
	clientISN = 0xffffff80
	serverISN = 0xffffffa0
)

// segments makes a whole conn of what is said, in segments of at most mss bytes.
func segments(talk []said, mss int) []seen {
	next := [2]uint32{clientISN + 1, serverISN + 1}
	all := []seen{
		{from: client, seq: clientISN, syn: true, noACK: true},
		{from: server, seq: serverISN, ack: clientISN + 1, syn: true},
		{from: client, seq: clientISN + 1, ack: serverISN + 1},
	}
	for _, t := range talk {
		for b := t.data; len(b) > 0; {
			n := min(len(b), mss)
			all = append(all, seen{from: t.from, seq: next[t.from], ack: next[t.from.other()], data: b[:n]})
			next[t.from] += uint32(n)
			b = b[n:]
		}
	}
	return append(all,
		seen{from: client, seq: next[client], ack: next[server], fin: true},
		seen{from: server, seq: next[server], ack: next[client] + 1, fin: true},
		seen{from: client, seq: next[client] + 1, ack: next[server] + 1})
}

// frame makes an Ethernet frame of a segment, with a wrong checksum, as of one whose sender leaves it to the card.
func (e ends) frame(tb testing.TB, s *seen) []byte {
	tb.Helper()
	return serialize(tb, append([]gopacket.SerializableLayer{ethernet(e)}, e.ip(s)...)...)
}

func ethernet(e ends) *layers.Ethernet {
	eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	if e.client.Addr().Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	return eth
}

// ip is the segment with its IP header.
func (e ends) ip(s *seen) []gopacket.SerializableLayer {
	from, to := e.client, e.server
	if s.from == server {
		from, to = to, from
	}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: s.seq, Ack: s.ack,
		SYN: s.syn, FIN: s.fin, RST: s.rst, ACK: !s.noACK, URG: s.urg, Window: 1000, Checksum: 0xbad,
	}
	if s.urg {
		tcp.Urgent = 1
	}
	if from.Addr().Is6() {
		return []gopacket.SerializableLayer{&layers.IPv6{
			Version: 6, NextHeader: layers.IPProtocolTCP, HopLimit: 64, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
		}, tcp, gopacket.Payload(s.data)}
	}
	return []gopacket.SerializableLayer{&layers.IPv4{
		Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
	}, tcp, gopacket.Payload(s.data)}
}

func serialize(tb testing.TB, all ...gopacket.SerializableLayer) []byte {
	tb.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		tb.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// recorder is a Handler that writes down what it is told.
type recorder struct {
	tb      testing.TB
	lines   []string
	tickets map[*Conn][]byte
	opened  map[*Conn]bool
	conns   []*Conn
	quiet   bool // the fuzz targets' and benchmarks': it only checks
}

func (r *recorder) say(c *Conn, format string, args ...any) {
	r.tb.Helper()
	if !r.opened[c] {
		r.tb.Errorf("%s: of a conn that is not open", fmt.Sprintf(format, args...))
	}
	if !r.quiet {
		r.lines = append(r.lines, fmt.Sprintf(format, args...))
	}
}

func (r *recorder) text() string { return strings.Join(r.lines, "\n") }

func (r *recorder) Open(c *Conn) {
	if r.opened == nil {
		r.opened, r.tickets = map[*Conn]bool{}, map[*Conn][]byte{}
	}
	r.opened[c] = true
	if !r.quiet {
		r.conns = append(r.conns, c)
	}
	r.say(c, "open")
}

func (r *recorder) Hello(c *Conn, h *tlsparse.Hello, size int) {
	r.say(c, "hello %d: %d bytes, %q, id %d, ticket %t %d, psks %d, from %v",
		c.Hellos, size, h.ServerName(), len(h.SessionID), h.HasTicket, len(h.Ticket), h.PSKCount(), c.Client)
}

func (r *recorder) NotTLS(c *Conn, status tlsparse.Status) { r.say(c, "no TLS: %d", status) }

func (r *recorder) Answer(c *Conn, s *tlsparse.Server, ev tlsparse.Event) {
	switch ev {
	case tlsparse.EventHello:
		_, psk := s.PSKAccepted()
		r.say(c, "answer: %x, id %d, psk %t, retried %t", s.Version(), len(s.SessionID()), psk, c.Retried)
	case tlsparse.EventTicketPart:
		r.tickets[c] = append(r.tickets[c], s.TicketPart()...)
	case tlsparse.EventTicket:
		r.say(c, "ticket: %x", sha256.Sum256(r.tickets[c]))
	case tlsparse.EventAlert:
		level, desc := s.Alert()
		r.say(c, "alert %d %d", level, desc)
	default:
		r.say(c, "event %d", ev)
	}
}

func (r *recorder) Replied(c *Conn) { r.say(c, "replied") }

func (r *recorder) Close(c *Conn, why End) {
	r.say(c, "close: %v, settled %t, flight %d", why, c.Settled, c.Flight)
	delete(r.opened, c)
	delete(r.tickets, c)
}

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// observe takes segments and returns what is told of them.
func observe(tb testing.TB, cfg Config, all []seen) (*recorder, *Assembler) {
	tb.Helper()
	r := &recorder{tb: tb}
	cfg.Handler = r
	a := New(cfg)
	feed(tb, a, usual, start, all)
	a.Flush()
	checkEmpty(tb, a)
	return r, a
}

// feed gives the segments to an assembler.
func feed(tb testing.TB, a *Assembler, e ends, at time.Time, all []seen) time.Time {
	tb.Helper()
	for i := range all {
		at = at.Add(max(all[i].after, time.Millisecond))
		b := e.frame(tb, &all[i])
		a.Packet(capture.Packet{Time: at, Data: b[:len(b)-all[i].cut], Length: len(b), LinkType: layers.LinkTypeEthernet})
	}
	return at
}

// checkEmpty says that an assembler that was flushed holds nothing.
func checkEmpty(tb testing.TB, a *Assembler) {
	tb.Helper()
	if s := a.Stats(); s.Open != 0 || s.Held != 0 || len(a.conns) != 0 {
		tb.Errorf("behind Flush: %d open, %d held, %d in the table", s.Open, s.Held, len(a.conns))
	}
	if n := a.libraryConns(); n != 0 {
		tb.Errorf("behind Flush the library holds %d conns", n)
	}
}

// certified makes a certificate for tests.
var certified = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "www.example.org"}, DNSNames: []string{"www.example.org"},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// speak has a client and a server of crypto/tls speak over a real connection, and returns what they said.
func speak(tb testing.TB, cc, sc *tls.Config) []said {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	var mu sync.Mutex
	var talk []said
	note := func(from side, b []byte) {
		mu.Lock()
		defer mu.Unlock()
		if n := len(talk); n > 0 && talk[n-1].from == from {
			talk[n-1].data = append(talk[n-1].data, b...)
			return
		}
		talk = append(talk, said{from, bytes.Clone(b)})
	}
	done := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		conn := tls.Server(&noted{raw, func(b []byte) { note(server, b) }}, sc)
		defer conn.Close()
		b := make([]byte, 4)
		if _, err = io.ReadFull(conn, b); err == nil {
			_, err = conn.Write(bytes.Repeat([]byte("pong"), 1000))
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	defer raw.Close()
	conn := tls.Client(&noted{raw, func(b []byte) { note(client, b) }}, cc)
	if _, err := conn.Write([]byte("ping")); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		tb.Fatal(err)
	}
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	return talk
}

// speakAgain is speak where the server sends a HelloRetryRequest: until its ChangeCipherSpec, which it sends at once, comes
// before the second hello.
func speakAgain(tb testing.TB, cc, sc *tls.Config) []said {
	tb.Helper()
	for range 100 {
		talk := speak(tb, cc, sc)
		if bytes.HasSuffix(talk[1].data, []byte{recordChangeCipherSpec, 3, 3, 0, 1, 1}) && len(talk[2].data) > 100 {
			return talk
		}
	}
	tb.Fatal("the server's ChangeCipherSpec always comes late")
	return nil
}

// noted tells of what is written.
type noted struct {
	net.Conn
	note func([]byte)
}

func (n *noted) Write(b []byte) (int, error) {
	n.note(b)
	return n.Conn.Write(b)
}

// handshakes are real ones, and conns that are none.
var handshakes = sync.OnceValue(func() map[string][]said { return map[string][]said{} })

// recorded makes the conns that the tests take apart, once.
func recorded(tb testing.TB) map[string][]said {
	tb.Helper()
	all := handshakes()
	if len(all) > 0 {
		return all
	}
	cert := certified()
	cc := func(version uint16) *tls.Config {
		return &tls.Config{
			InsecureSkipVerify: true, ServerName: "www.example.org", MinVersion: version, MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(2),
		}
	}
	sc := &tls.Config{Certificates: []tls.Certificate{cert}}
	old, latest := cc(tls.VersionTLS12), cc(tls.VersionTLS13)
	all["TLS 1.2, full"] = speak(tb, old, sc)
	all["TLS 1.2, ticket"] = speak(tb, old, sc)
	all["TLS 1.3, full"] = speak(tb, latest, sc)
	all["TLS 1.3, PSK"] = speak(tb, latest, sc)
	retry := sc.Clone()
	retry.CurvePreferences = []tls.CurveID{tls.CurveP384}
	again := cc(tls.VersionTLS13)
	again.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
	fresh := again.Clone()
	fresh.ClientSessionCache = nil
	all["TLS 1.3, retried"] = speakAgain(tb, fresh, retry)
	speak(tb, again, retry)
	all["TLS 1.3, retried, PSK"] = speakAgain(tb, again, retry)
	proxied := all["TLS 1.3, full"]
	header := []byte("PROXY TCP4 203.0.113.9 203.0.113.1 4711 443\r\n")
	all["PROXY, version 1"] = append([]said{{client, append(header, proxied[0].data...)}}, proxied[1:]...)
	v2, err := proxyheader.Append(nil, proxyheader.V2, &proxyheader.Header{
		Client: netip.MustParseAddrPort("203.0.113.9:4711"), Local: netip.MustParseAddrPort("203.0.113.1:443"), Name: []byte("www.example.org"),
	})
	if err != nil {
		tb.Fatal(err)
	}
	all["PROXY, version 2"] = append([]said{{client, append(v2, proxied[0].data...)}}, proxied[1:]...)
	local, err := proxyheader.Append(nil, proxyheader.V2, &proxyheader.Header{})
	if err != nil {
		tb.Fatal(err)
	}
	all["PROXY, for itself"] = append([]said{{client, append(local, proxied[0].data...)}}, proxied[1:]...)
	retried := all["TLS 1.3, retried, PSK"]
	early := bytes.Repeat(append([]byte{recordApplicationData, 3, 3, 0, 200}, make([]byte, 200)...), 20)
	all["TLS 1.3, retried, early data refused"] = append([]said{
		{client, slices.Concat(retried[0].data, early)}, retried[1], {client, slices.Concat(early, retried[2].data)},
	}, retried[3:]...)
	all["TLS 1.3, retried before it was asked for"] = append([]said{
		{client, slices.Concat(retried[0].data, retried[2].data)}, {server, slices.Concat(retried[1].data, retried[3].data)},
	}, retried[4:]...)
	all["TLS 1.3, retried, and no second hello"] = []said{retried[0], retried[1], {client, []byte{21, 3, 3, 0, 2, 2, 40}}, retried[3]}
	all["HTTP"] = []said{{client, []byte("GET / HTTP/1.1\r\nHost: www\r\n\r\n")}, {server, []byte("HTTP/1.1 200 OK\r\n\r\n")}}
	all["server speaks first"] = []said{{server, []byte("220 mail\r\n")}, {client, []byte("EHLO www\r\n")}, {server, []byte("250 mail\r\n")}}
	all["nothing"] = nil
	return all
}
