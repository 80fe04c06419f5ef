package tlsparse

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var updateFlag = flag.Bool("update", false, "rewrite testdata/hellos.txt")

// A golden is a recorded hello.
type golden struct {
	name   string
	second bool
	stream []byte // ends with the hello
}

func loadGoldens(tb testing.TB) []golden {
	tb.Helper()
	files, err := filepath.Glob("testdata/hellos/*.hex")
	if err != nil || len(files) < 40 {
		tb.Fatalf("%d hellos, %v", len(files), err)
	}
	var gs []golden
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		stream, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".hex")
		gs = append(gs, golden{name, strings.HasSuffix(name, "-second"), stream})
	}
	return gs
}

func loadGolden(tb testing.TB, name string) golden {
	tb.Helper()
	for _, g := range loadGoldens(tb) {
		if g.name == name {
			return g
		}
	}
	tb.Fatalf("no hello %s", name)
	return golden{}
}

// A reading is everything that the client side says of a stream.
type reading struct {
	status  Status // of Next, or of Parse after Got
	end     int
	sslv2   bool
	tooLong bool
	hello   Hello // with slices of its own
}

func newClient(limit int, second bool) *Client {
	var c Client
	if second {
		c.ResetSecond(limit)
	} else {
		c.Reset(limit)
	}
	return &c
}

// finish collects what c says of stream after Next has answered st.
func finish(c *Client, stream []byte, st Status) reading {
	r := reading{status: st, sslv2: c.SSLv2(), tooLong: c.TooLong()}
	if st == Got {
		r.end = c.End()
		r.status = c.Parse(stream, make([]byte, c.limit), &r.hello)
	}
	return r
}

func read(stream []byte, limit int, second bool) reading {
	c := newClient(limit, second)
	return finish(c, stream, c.Next(stream))
}

// equal reports whether two readings are the same but for the end.
func (r *reading) equal(o *reading) bool {
	if r.status != o.status || r.sslv2 != o.sslv2 || r.tooLong != o.tooLong {
		return false
	}
	a, b := &r.hello, &o.hello
	return a.Version == b.Version && a.TLS13 == b.TLS13 && a.EarlyData == b.EarlyData && a.ECH == b.ECH &&
		a.HasTicket == b.HasTicket && a.HasPSK == b.HasPSK && a.ManyNames == b.ManyNames && a.NoHostName == b.NoHostName && a.Shape == b.Shape &&
		bytes.Equal(a.SessionID, b.SessionID) && bytes.Equal(a.Ticket, b.Ticket) && bytes.Equal(a.ALPN, b.ALPN) && bytes.Equal(a.KeyShares, b.KeyShares) &&
		bytes.Equal(a.ServerName(), b.ServerName()) && a.nPSKs == b.nPSKs && slices.EqualFunc(a.psks[:], b.psks[:], bytes.Equal)
}

// String shows the fields, one a line.
func (r *reading) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	line("%v, end %d, sslv2 %t, too long %t", r.status, r.end, r.sslv2, r.tooLong)
	if r.status != Got {
		return b.String()
	}
	h := &r.hello
	line("version %04x, tls13 %t, early data %t, ech %t, many names %t", h.Version, h.TLS13, h.EarlyData, h.ECH, h.ManyNames)
	line("name %q", h.ServerName())
	line("alpn %q", h.ALPN)
	line("session id %x", h.SessionID)
	line("ticket %t %x", h.HasTicket, h.Ticket)
	line("psk %t %d", h.HasPSK, h.PSKCount())
	for i := range min(h.PSKCount(), MaxPSK) {
		line("psk %d %x", i, h.PSK(i))
	}
	line("shape %016x", h.Shape)
	return b.String()
}

// differs says in which way a reading is not what the naive parser has read.
func (r *reading) differs(n naiveHello) string {
	h := &r.hello
	switch {
	case r.status != n.status, r.sslv2 != n.sslv2, r.tooLong != n.tooLong, r.end != n.end:
		return fmt.Sprintf("%v end %d, naive %v end %d", r.status, r.end, n.status, n.end)
	case r.status != Got:
		return ""
	case int(h.Version) != n.version, h.TLS13 != n.tls13, h.EarlyData != n.earlyData, h.ECH != n.ech,
		h.HasTicket != n.hasTicket, h.HasPSK != n.hasPSK, h.ManyNames != n.manyNames, h.NoHostName != n.noHostName:
		return "version or a flag"
	case !bytes.Equal(h.SessionID, n.sessionID), !bytes.Equal(h.Ticket, n.ticket), !bytes.Equal(h.ALPN, n.alpn):
		return "session ID, ticket or ALPN"
	case string(h.ServerName()) != n.name:
		return fmt.Sprintf("name %q, naive %q", h.ServerName(), n.name)
	case h.PSKCount() != len(n.psks):
		return "number of PSKs"
	case h.Shape != n.shape():
		return "shape"
	}
	for i, id := range n.psks {
		if i < MaxPSK && !bytes.Equal(h.PSK(i), id) || i >= MaxPSK && h.PSK(i) != nil {
			return fmt.Sprintf("PSK %d", i)
		}
	}
	return ""
}

// TestGolden compares what is read in the recorded hellos with
// testdata/hellos.txt, and with the naive parser.
func TestGolden(t *testing.T) {
	var got strings.Builder
	for _, g := range loadGoldens(t) {
		r := read(g.stream, 0, g.second)
		if r.status != Got || r.end != len(g.stream) {
			t.Errorf("%s: %v, end %d of %d", g.name, r.status, r.end, len(g.stream))
		}
		if d := r.differs(naiveClient(g.stream, DefaultHelloLimit, g.second)); d != "" {
			t.Errorf("%s: %s", g.name, d)
		}
		fmt.Fprintf(&got, "%s\n%s\n", g.name, &r)
	}
	const file = "testdata/hellos.txt"
	if *updateFlag {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wants := strings.Split(string(want), "\n\n")
	for i, paragraph := range strings.Split(got.String(), "\n\n") {
		if i >= len(wants) || paragraph != wants[i] {
			t.Errorf("not as in %s (-update rewrites it):\n%s", file, paragraph)
		}
	}
}

// TestGoldenKinds keeps the recorded hellos honest: each offers what its name says.
func TestGoldenKinds(t *testing.T) {
	for _, g := range loadGoldens(t) {
		r := read(g.stream, 0, g.second)
		h := &r.hello
		_, kind, _ := strings.Cut(g.name, "-")
		kind = strings.TrimSuffix(kind, "-second")
		kind = kind[strings.LastIndexByte(kind, '-')+1:]
		var ok bool
		switch kind {
		case "psk":
			ok = h.TLS13 && h.PSKCount() == 1 && len(h.PSK(0)) > 100
		case "early":
			ok = h.TLS13 && h.PSKCount() == 1 && h.EarlyData
		case "ticket":
			ok = len(h.Ticket) > 100 && !h.HasPSK
		case "id":
			ok = len(h.SessionID) == 32 && len(h.Ticket) == 0 && !h.TLS13
		default:
			// The session ID may be random: Go sends one to TLS 1.2 servers too.
			ok = len(h.Ticket) == 0 && !h.HasPSK
		}
		if !ok {
			t.Errorf("%s:\n%s", g.name, &r)
		}
		if name := string(h.ServerName()); name != "www.example.com" && g.name != "openssl-noname" {
			t.Errorf("%s: name %q", g.name, name)
		}
	}
}

// TestShape asserts that a client's resuming hello has the shape of its fresh
// one, and that different clients have different shapes.
func TestShape(t *testing.T) {
	shapes := map[string]uint64{}
	for _, g := range loadGoldens(t) {
		r := read(g.stream, 0, g.second)
		shapes[g.name] = r.hello.Shape
	}
	for resuming, fresh := range map[string]string{
		"openssl-tls13-psk":          "openssl-fresh",
		"openssl-tls13-early":        "openssl-fresh",
		"openssl-tls12-ticket":       "openssl-tls12-fresh",
		"openssl-tls12-id":           "openssl-tls12-fresh",
		"openssl-retried-second":     "openssl-retried",
		"openssl-retried-psk-second": "openssl-retried",
		"curl-tls13-psk":             "curl-fresh",
		"curl-tls12-id":              "curl-tls12-fresh",
		"gnutls-tls13-psk":           "gnutls-fresh",
		"gnutls-tls12-ticket":        "gnutls-tls12-fresh",
		"gnutls-tls12-id":            "gnutls-tls12-fresh",
		"go-tls13-psk":               "go-fresh",
		"go-tls12-ticket":            "go-tls12-fresh",
		"chrome-58-ticket":           "chrome-58-fresh",
		"chrome-100-psk":             "chrome-100-fresh",
		"chrome-112-psk":             "chrome-112-fresh",
		"chrome-114-psk":             "chrome-114-fresh",
		"chrome-115-pq-psk":          "chrome-115-pq-fresh",
	} {
		if shapes[resuming] != shapes[fresh] || shapes[fresh] == 0 {
			t.Errorf("%s %x, %s %x", resuming, shapes[resuming], fresh, shapes[fresh])
		}
	}
	programs := []string{"openssl-fresh", "openssl-tls12-fresh", "curl-fresh", "gnutls-fresh", "go-fresh", "chrome-100-fresh", "firefox-120-fresh", "safari-16-fresh"}
	byShape := map[uint64]string{}
	for _, name := range programs {
		if other, ok := byShape[shapes[name]]; ok {
			t.Errorf("%s has the shape of %s", name, other)
		}
		byShape[shapes[name]] = name
	}
}
