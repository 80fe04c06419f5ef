package integration

import (
	"crypto/tls"
	endian "encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// plan is what the two ends of one conn do. It follows from the seed and the conn's number alone.
type plan struct {
	client, server part
}

// part is what one end does: what it sends, how, and how it ends.
type part struct {
	lead []byte // sent first; the client's holds the conn's number at idAt
	body []byte // a window of the noise, so that a byte in a wrong place or of a wrong conn is noticed

	seed    uint64
	chunk   int           // bytes per write, at most
	gulp    int           // bytes per read, at most
	pauses  int           // of 1,000 writes or reads, so many wait
	late    time.Duration // before the first read
	gate    int           // bytes sent before the other end must have been heard; 0: none
	resetAt int           // reset once so many bytes are sent; -1: never
	deafAt  int           // reset once so many bytes are read; -1: never
	mss     int           // TCP_MAXSEG: a small one gives homing a small send buffer; 0: the kernel's
}

func (p *part) size() int { return len(p.lead) + len(p.body) }

// at returns the bytes from offset i on, up to n of them.
func (p *part) at(i, n int) []byte {
	if i < len(p.lead) {
		return p.lead[i:min(i+n, len(p.lead))]
	}
	i -= len(p.lead)
	return p.body[i:min(i+n, len(p.body))]
}

const (
	// idAt is where a client's lead holds the conn's number: in a ClientHello these are the first bytes of its random
	// (RFC 8446, Section 4.1.2), behind the headers of record and message and the version.
	idAt    = 5 + 4 + 2
	leadMin = idAt + 8
	maxBody = 4 << 20
)

// exchanges are the leads that plans draw on.
type exchanges struct {
	noise   []byte
	records []transcript
}

// transcript is all that the two ends of a real handshake have sent.
type transcript struct {
	client, server []byte
	hello          int // length of the client's first flight
}

// newExchanges records handshakes of crypto/tls: fresh and resumed, of both versions, and one with a HelloRetryRequest.
func newExchanges(t *testing.T, r *rand.ChaCha8) *exchanges {
	t.Helper()
	cert := newECDSA(t)
	pair, err := cert.TLS()
	testkit.Check(t, err)
	x := &exchanges{noise: make([]byte, 3*maxBody)}
	_, _ = r.Read(x.noise) // never fails
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version}
		client := &tls.Config{ServerName: farm.ServerName, RootCAs: farm.Roots(cert), ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for range 2 { // the second is a resumption
			x.records = append(x.records, record(t, client, server))
		}
	}
	retry := &tls.Config{Certificates: []tls.Certificate{pair}, CurvePreferences: []tls.CurveID{tls.CurveP521}}
	client := &tls.Config{ServerName: farm.ServerName, RootCAs: farm.Roots(cert)}
	x.records = append(x.records, record(t, client, retry))
	return x
}

// record makes one handshake and an exchange of one byte, which brings the ticket.
func record(t *testing.T, client, server *tls.Config) transcript {
	t.Helper()
	ln := testkit.Listen(t, "tcp", "127.0.0.1:0")
	defer ln.Close()
	var ca, cb tape
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		cb.Conn = conn
		if _, err := tls.Server(&cb, server).Write([]byte{1}); err != nil {
			t.Error(err)
		}
	})
	conn, err := tlsclient.Dial(t.Context(), nil, ln.Addr().String())
	testkit.Check(t, err)
	ca.Conn = conn
	defer ca.Close()
	if _, err := tls.Client(&ca, client).Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	return transcript{client: ca.all, server: cb.all, hello: ca.first}
}

// tape keeps what is written.
type tape struct {
	net.Conn
	all   []byte
	first int
}

func (c *tape) Write(b []byte) (int, error) {
	c.all = append(c.all, b...)
	if c.first == 0 {
		c.first = len(b)
	}
	return c.Conn.Write(b)
}

// plan draws conn number id.
func (x *exchanges) plan(seed, id uint64) *plan {
	r := rand.New(rand.NewPCG(seed, id))
	p := &plan{client: x.part(r), server: x.part(r)}
	c, s := &p.client, &p.server
	switch k := r.IntN(10); {
	case k < 4: // not TLS
		c.lead = append([]byte("hello there"), make([]byte, 8)...)
	case k < 5: // TLS, but broken
		c.lead = x.window(r, 5+4+40+r.IntN(600))
		n := len(c.lead) - 5
		copy(c.lead, []byte{22, 3, 1, byte(n >> 8), byte(n), 1, 0, 0, 40, 3, 3})
	default:
		rec := x.records[r.IntN(len(x.records))]
		c.lead, s.lead = append([]byte(nil), rec.client...), rec.server
		switch r.IntN(4) {
		case 0: // the hello alone, and an answer that is not TLS
			c.lead, s.lead = c.lead[:rec.hello], nil
		case 1: // the server's flight is cut
			s.lead = s.lead[:r.IntN(len(s.lead))]
		}
		if r.IntN(2) == 0 && s.size() > 0 {
			c.gate = rec.hello
		}
		if r.IntN(3) == 0 {
			c.lead, c.gate = splitRecord(r, c.lead), 0
		}
	}
	endian.BigEndian.PutUint64(c.lead[idAt:], id)
	// Tiny pieces are for small streams.
	for _, d := range []struct{ from, to *part }{{c, s}, {s, c}} {
		d.from.chunk = max(1<<r.IntN(18), d.from.size()/2000)
		d.to.gulp = max(1<<r.IntN(18), d.from.size()/2000)
	}
	if r.IntN(10) < 3 { // somebody resets
		a := c
		if r.IntN(2) == 0 {
			a = s
		}
		if r.IntN(2) == 0 {
			a.resetAt = r.IntN(a.size() + 1)
		} else {
			a.deafAt = r.IntN(c.size() + s.size() - a.size() + 1)
		}
	}
	return p
}

// part draws what does not depend on the other end.
func (x *exchanges) part(r *rand.Rand) part {
	p := part{seed: r.Uint64(), resetAt: -1, deafAt: -1}
	size := 0
	switch k := r.IntN(100); {
	case k < 10:
	case k < 60:
		size = r.IntN(4 << 10)
	case k < 85:
		size = r.IntN(64 << 10)
	case k < 95:
		size = r.IntN(512 << 10)
	default:
		size = r.IntN(maxBody + 1)
	}
	p.body = x.window(r, size)
	if r.IntN(3) == 0 {
		p.pauses = r.IntN(100)
	}
	if r.IntN(5) == 0 {
		p.late = time.Duration(r.IntN(300)) * time.Millisecond
	}
	if r.IntN(2) == 0 {
		p.mss = 536 + r.IntN(8000)
	}
	return p
}

// window cuts n bytes of the noise from anywhere; the caller must not write to what plans share.
func (x *exchanges) window(r *rand.Rand, n int) []byte {
	from := r.IntN(len(x.noise) - n)
	if n < 4096 {
		return append([]byte(nil), x.noise[from:from+n]...)
	}
	return x.noise[from : from+n]
}

// splitRecord cuts the client's first record into two (RFC 8446, Section 5.1: a message may span records).
func splitRecord(r *rand.Rand, stream []byte) []byte {
	n := int(endian.BigEndian.Uint16(stream[3:]))
	cut := leadMin - 5 + r.IntN(n-leadMin+5)
	if cut == 0 || cut >= n {
		return stream
	}
	out := append([]byte(nil), stream[:5+cut]...)
	endian.BigEndian.PutUint16(out[3:], uint16(cut))
	out = append(out, stream[0], stream[1], stream[2], byte((n-cut)>>8), byte(n-cut))
	return append(out, stream[5+cut:]...)
}
