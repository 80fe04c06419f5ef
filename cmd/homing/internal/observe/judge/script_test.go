package judge

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// Commit the result only if you understand every line of its diff.
var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScripts runs testdata/*.txt: blocks of commands, a line of dashes, and what they print. Servers are single capital
// letters or addresses, and F is a balancer before them. A ticket is KEY.NUMBER (see ticketOf); a session ID is any word.
//
//	accept A OPTIONS        a conn whose offer A accepts
//	refuse A OPTIONS        a conn of which A makes a full handshake, with an offer or without
//	fail A OPTIONS          A answers with an alert
//	end A WHY OPTIONS       A has not answered when nothing more is seen, for a reason of flow.End
//	tick 5s                 time passes; a conn takes 10 ms
//	given vip=F backend=A   what the flags say: first of all
//	see                     the findings
//
// Options: client=ADDR, name=N, tls12 (the client speaks no TLS 1.3), id=S, ticket=K.1, psk=K.1, early, retry (a
// HelloRetryRequest comes first), issue=K.1 or new=S (the ticket or session ID that A gives), by=F (the conn goes through
// F, whose both sides are seen), asked=B (the balancer has asked B before, which has not answered), v12 (A speaks no TLS
// 1.3), cert=KIND (of A, with v12 or tls12), unfinished, flight=BYTES, xN (so often; {} is the number).
func TestScripts(t *testing.T) {
	testkit.Scripts(t, *update, func(t *testing.T, out io.Writer) func([]string) {
		s := &script{T: t, out: out, now: time.Unix(1_800_000_000, 0)}
		return s.command
	})
}

type script struct {
	*testing.T
	out   io.Writer
	cfg   Config
	judge *Judge
	now   time.Time
	conns int
}

func server(letter string) netip.AddrPort {
	if len(letter) > 1 {
		return netip.AddrPortFrom(netip.MustParseAddr(letter), 443)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, letter[0]}), 443)
}

func (s *script) command(f []string) {
	if f[0] == "given" {
		for _, word := range f[1:] {
			what, who, _ := strings.Cut(word, "=")
			list := &s.cfg.Backends
			if what == "vip" {
				list = &s.cfg.VIPs
			}
			*list = append(*list, Endpoint{Addr: server(who).Addr()})
		}
		return
	}
	if s.judge == nil {
		s.cfg.Seed = 1
		var err error
		s.judge, err = New(s.cfg)
		testkit.Check(s, err)
		s.Cleanup(func() { testkit.Check(s, s.judge.Free()) })
	}
	switch f[0] {
	case "tick":
		d, err := time.ParseDuration(f[1])
		testkit.Check(s, err)
		s.now = s.now.Add(d)
	case "see":
		s.see()
	default:
		times := 1
		if i := slices.IndexFunc(f, func(w string) bool { return w[0] == 'x' && !strings.Contains(w, "=") }); i > 0 {
			n, err := strconv.Atoi(f[i][1:])
			testkit.Check(s, err)
			times, f = n, slices.Delete(slices.Clone(f), i, i+1)
		}
		for i := range times {
			words := slices.Clone(f)
			for w := range words {
				words[w] = strings.ReplaceAll(words[w], "{}", strconv.Itoa(i))
			}
			s.conn(words)
		}
	}
}

// options are the words of a command by their names.
func options(words []string) map[string]string {
	o := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		o[k] = v
	}
	return o
}

// side is one conn that is seen.
type side struct {
	*flow.Conn
	parser tlsparse.Server
	said   []byte
}

// conn is a conn from its begin to its end, or two, where both sides of a balancer are seen.
func (s *script) conn(f []string) {
	o := options(f[2:])
	_, tls12 := o["tls12"]
	_, early := o["early"]
	h := &helloBytes{name: o["name"], id: o["id"], ticket: o["ticket"], psk: o["psk"], tls13: !tls12, early: early}
	s.conns++
	h.random = strconv.Itoa(s.conns)
	client := netip.MustParseAddr("192.0.2.1")
	if o["client"] != "" {
		client = netip.MustParseAddr(o["client"])
	}
	var sides []*side
	if by := o["by"]; by != "" {
		sides = append(sides, s.open(client, server(by)))
		client = server(by).Addr()
	}
	if by := o["asked"]; by != "" {
		c := s.open(client, server(by))
		s.hello(c, h)
		defer s.judge.Close(c.Conn, flow.EndReset)
	}
	sides = append(sides, s.open(client, server(f[1])))
	for _, c := range sides {
		s.hello(c, h)
	}
	slices.Reverse(sides) // answers come from the server
	why := flow.EndFIN
	switch f[0] {
	case "accept", "refuse":
		for _, c := range sides {
			s.answer(c, f[0] == "accept", h, o)
		}
	case "fail":
		for _, c := range sides {
			s.say(c, record(21, []byte{2, 40}))
		}
	case "end":
		for e := range flow.NumEnds {
			if e.String() == f[2] {
				why = e
			}
		}
		for _, c := range sides {
			c.Settled = false
		}
	default:
		s.Fatalf("unknown command %s", f[0])
	}
	for _, c := range sides {
		s.judge.Close(c.Conn, why)
	}
}

func (s *script) open(client netip.Addr, to netip.AddrPort) *side {
	c := &side{Conn: &flow.Conn{
		Client: netip.AddrPortFrom(client, uint16(10_000+s.conns)), Server: to, Began: s.now, Now: s.now, RTT: 20 * time.Millisecond, Settled: true,
	}}
	c.parser.Reset()
	s.judge.Open(c.Conn)
	return c
}

// hello gives the hello as tlsparse reads it.
func (s *script) hello(c *side, h *helloBytes) {
	msg := h.message()
	stream := record(22, msg)
	var p tlsparse.Client
	var parsed tlsparse.Hello
	p.Reset(0)
	if p.Next(stream) != tlsparse.Got || p.Parse(stream, make([]byte, tlsparse.DefaultHelloLimit), &parsed) != tlsparse.Got {
		s.Fatalf("no hello: %+v", h)
	}
	c.Hellos++
	s.step(c)
	s.judge.Hello(c.Conn, &parsed, len(msg))
}

func (s *script) step(c *side) {
	s.now = s.now.Add(2 * time.Millisecond)
	c.Now = s.now
}

// say gives what the server says as tlsparse reads it.
func (s *script) say(c *side, b []byte) {
	s.step(c)
	for {
		n, ev := c.parser.Next(b)
		c.said = append(c.said, b[:n]...)
		b = b[n:]
		if ev == tlsparse.EventNone {
			return
		}
		c.Said = c.said
		s.judge.Answer(c.Conn, &c.parser, ev)
		c.Said = nil
		switch ev {
		case tlsparse.EventOpaque, tlsparse.EventInvalid, tlsparse.EventExcess:
			return
		}
	}
}

func (s *script) answer(c *side, accepts bool, h *helloBytes, o map[string]string) {
	_, old := o["v12"]
	tls13 := h.tls13 && !old
	if _, retry := o["retry"]; retry {
		s.say(c, serverHello(true, nil, retryRandom()))
		c.Retried = true
		s.hello(c, h)
	}
	random := noise("server random "+h.random, 32)
	echo := noise("random "+h.random, 32)
	if !h.tls13 {
		echo = nil
	}
	if h.id != "" {
		echo = noise(h.id, 32)
	}
	c.Flight = 3000
	if accepts {
		c.Flight = 250
	}
	if o["flight"] != "" {
		c.Flight, _ = strconv.Atoi(o["flight"])
	}
	ccs := record(20, []byte{1})
	_, unfinished := o["unfinished"]
	switch {
	case tls13 && accepts:
		s.say(c, serverHello(true, echo, random, ext(41, []byte{0, 0})))
	case tls13:
		s.say(c, serverHello(true, echo, random))
	case accepts:
		s.say(c, serverHello(false, echo, random))
		s.say(c, append(s.ticket(o["issue"]), ccs...))
	default:
		id := []byte(nil)
		if o["new"] != "" {
			id = noise(o["new"], 32)
		}
		s.say(c, serverHello(false, id, random))
		certificate := message(11, make([]byte, 800))
		if o["cert"] != "" {
			certificate = certificateMessage(certificateOf(s, o["cert"]))
		}
		s.say(c, append(record(22, certificate), record(22, message(14, nil))...))
		if !unfinished {
			s.say(c, append(s.ticket(o["issue"]), ccs...))
		}
	}
	if (tls13 || accepts) && !unfinished {
		s.step(c)
		s.judge.Replied(c.Conn)
	}
}

// ticket is a NewSessionTicket, or nothing.
func (s *script) ticket(word string) []byte {
	if word == "" {
		return nil
	}
	return record(22, message(4, append([]byte{0, 0, 1, 0x2c}, vec16(ticketOf(word))...)))
}

// see prints the findings in short.
func (s *script) see() {
	f := s.judge.Findings()
	fmt.Fprintf(s.out, "%s: %s\n", f.View.Kind, f.View.Why)
	s.outcome("all", &f.Total)
	for i := range f.Kinds {
		if k := &f.Kinds[i]; k.Kind != "none" {
			s.outcome(k.Version+" "+k.Kind, &k.Outcome)
		}
	}
	for i := range f.Servers {
		v := &f.Servers[i]
		name := v.Address
		if ap, err := netip.ParseAddrPort(name); err == nil {
			if letter := string(rune(ap.Addr().As4()[3])); server(letter) == ap {
				name = letter
			}
		}
		if !v.Counted {
			name += " (not counted)"
		}
		s.outcome(name+" "+v.Role, &v.Outcome)
		if !v.Seen {
			fmt.Fprintf(s.out, "  servers %d or more, keys %d, refused and good %d\n", v.AtLeast, v.KeysAtOnce, v.Proven)
		}
	}
	if all := f.Costs.Certificates; slices.ContainsFunc(all, func(c Certificate) bool { return c.Kind != "" }) {
		fmt.Fprintf(s.out, "certificates: %v\n", all)
	}
	if u := &f.Unjudged; u.Missing > 0 || u.Unanswered > 0 {
		fmt.Fprintf(s.out, "unjudged: missing %d %v, unanswered %d, bound %.3f\n", u.Missing, u.Why, u.Unanswered, u.Bound)
	}
}

func (s *script) outcome(name string, o *Outcome) {
	fmt.Fprintf(s.out, "%s: fresh %d, accepted %d, refused %d", name, o.Fresh, o.Accepted, o.Refused)
	for _, x := range []struct {
		n    uint64
		word string
	}{{o.DoubtfulIDs, "doubtful"}, {o.Undecided, "undecided"}, {o.Failed, "failed"}} {
		if x.n > 0 {
			fmt.Fprintf(s.out, ", %s %d", x.word, x.n)
		}
	}
	for w := range NumWhys {
		if n := o.Why[w.String()]; n > 0 && o.Seen {
			fmt.Fprintf(s.out, ", %v %d", w, n)
		}
	}
	if o.Offers > o.DoubtfulIDs {
		fmt.Fprintf(s.out, "; homing %.1f (%.1f to %.1f)", o.Homing.Accepted, o.Homing.Low, o.Homing.High)
		if o.Outlived+o.MayOutlive > 0 {
			fmt.Fprintf(s.out, ", too old %d, perhaps %d", o.Outlived, o.MayOutlive)
		}
	}
	fmt.Fprintln(s.out)
}
