package judge

import (
	"net/netip"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// FuzzCalls makes calls as no Assembler would, in any order, with answers of any bytes: nothing panics, and findings can be
// made at any time, whose sums and bounds hold.
func FuzzCalls(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x10\x20\x30\x40"))
	f.Add([]byte{0, 1, 0, 2, 0, 0, 3, 1, 0, 4, 0, 0, 5, 2, 0, 6})
	f.Add(append([]byte{1, 0, 3, 90}, serverHello(true, nil, noise("r", 32), ext(41, []byte{0, 0}))...))
	f.Add(append([]byte{1, 9, 3, 90}, serverHello(false, noise("id", 32), noise("r", 32))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := New(Config{Seed: 1, Sessions: 100, Clients: 100, MaxServices: 4, MaxNames: 4, MaxRows: 8})
		testkit.Check(t, err)
		defer func() { testkit.Check(t, j.Free()) }()
		next := func() byte {
			if len(b) == 0 {
				return 0
			}
			c := b[0]
			b = b[1:]
			return c
		}
		var conns [4]*side
		now := time.Unix(1_000_000, 0)
		for len(b) > 0 {
			op, i := next(), next()
			now = now.Add(time.Duration(int8(next())) * time.Second)
			if conns[i%4] == nil {
				c := &side{Conn: &flow.Conn{Server: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, i / 4}), 443)}}
				if i%8 < 4 {
					c.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 1)
				}
				c.parser.Reset()
				conns[i%4] = c
			}
			c := conns[i%4]
			c.Now = now
			switch op % 8 {
			case 0:
				j.Open(c.Conn)
			case 1, 2:
				c.Hellos++
				h := fuzzHello(next())
				j.Hello(c.Conn, &h, int(i))
			case 3:
				c.Retried = c.Retried || i > 200
				c.Flight = int(i)
				n := min(int(next()), len(b))
				answers(j, c, b[:n])
				b = b[n:]
			case 4:
				j.Replied(c.Conn)
			case 5:
				c.Settled = i%3 == 0
				j.Close(c.Conn, flow.End(next()%uint8(flow.NumEnds)))
				conns[i%4] = nil
			case 6:
				j.NotTLS(c.Conn, tlsparse.Status(i%4))
			case 7:
				checkFindings(t, j.Findings())
			}
		}
		checkFindings(t, j.Findings())
	})
}

func answers(j *Judge, c *side, b []byte) {
	for range 100 {
		n, ev := c.parser.Next(b)
		c.said = append(c.said, b[:n]...)
		b = b[n:]
		if ev == tlsparse.EventNone {
			return
		}
		c.Said = c.said
		j.Answer(c.Conn, &c.parser, ev)
		c.Said = nil
	}
}

// fuzzHello is one of some hellos.
func fuzzHello(n byte) (h tlsparse.Hello) {
	m := helloBytes{tls13: n&1 != 0, early: n&2 != 0, random: "r"}
	switch n >> 2 & 3 {
	case 1:
		m.id = "id"
	case 2:
		m.ticket = "K.1"
	case 3:
		m.psk = "K.2"
	}
	if n&16 != 0 {
		m.name = "a.example"
	}
	msg := record(22, m.message())
	var p tlsparse.Client
	p.Reset(0)
	p.Next(msg)
	p.Parse(msg, make([]byte, tlsparse.DefaultHelloLimit), &h)
	h.ManyNames = n&32 != 0
	return h
}

func checkFindings(t *testing.T, f *Findings) {
	t.Helper()
	check := func(what string, o *Outcome) {
		var why uint64
		for _, n := range o.Why {
			why += n
		}
		p := o.Homing
		if why != o.Refused || o.Lost+o.DoubtfulIDs != o.Refused || o.Accepted+o.Refused != o.Offers || o.Fresh+o.Offers != o.Handshakes ||
			p.Low < 0 || p.Low > p.Accepted+1e-9 || p.Accepted > p.High+1e-9 || p.High > float64(o.Offers)+1e-9 {
			t.Errorf("%s: %+v", what, o)
		}
	}
	check("total", &f.Total)
	var certificates uint64
	for _, c := range f.Costs.Certificates {
		certificates += c.Handshakes
	}
	if certificates != f.Costs.Handshakes {
		t.Errorf("certificates of %d handshakes, want %d", certificates, f.Costs.Handshakes)
	}
	for i := range f.Rows {
		check("row", &f.Rows[i].Outcome)
	}
	for i := range f.Servers {
		check(f.Servers[i].Address, &f.Servers[i].Outcome)
	}
}
