//go:build linux

package balancer

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/balancer/rules"
)

// TestScripts tells conns as scripts, testdata/conn/*.txt: see the README there. Each runs twice: with an engine that
// sends the opening by itself, and with one that does not. It must make no difference.
func TestScripts(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/conn/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := strings.TrimSuffix(filepath.Base(name), ".txt")
		common, stories, _ := strings.Cut(string(text), "\n== ")
		for story := range strings.SplitSeq(stories, "\n== ") {
			title, lines, _ := strings.Cut(story, "\n")
			for _, alone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", file, title, alone), func(t *testing.T) {
					newScript(t, alone).tell(common + "\n" + lines)
				})
			}
		}
	}
}

// script is a Balancer of one loop on a fake engine, told line by line.
type script struct {
	testing.TB
	eng     *fakeEngine
	b       *Balancer
	l       *loop
	pool    *pool.Pool
	store   *affinity.Store
	tickets map[string][]byte
	said    []chunk // by anybody, the longest first

	// Of the lines before the first event.
	count      int // of backends
	maxConns   int
	opt        pool.Options
	cfg        Config
	ln         Listener
	teach      []string
	done       netio.Completion
	began      netio.Time // of the line
	ended      bool
	transcript []string
}

func newScript(t testing.TB, alone bool) *script {
	s := &script{TB: t, tickets: map[string][]byte{}, count: 3}
	s.eng = newFakeEngine(t, 1<<20)
	s.eng.alone, s.eng.text = alone, s.text
	s.eng.backend = func(a netaddr.Addr) string { return s.numberOf(a) }
	return s
}

// tell goes through the lines: what happens, and, indented, all that comes of it.
func (s *script) tell(text string) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "" || strings.HasPrefix(line, "#") {
			s.transcript = append(s.transcript, line)
			continue
		}
		var want []string
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "\t") {
			i++
			want = append(want, lines[i][1:])
		}
		s.transcript = append(s.transcript, line)
		if s.prepare(strings.Fields(line)) {
			continue
		}
		if s.b == nil {
			s.build()
		}
		s.began = s.eng.now
		s.happens(line)
		got := s.eng.out
		s.eng.out = nil
		for _, line := range got {
			s.transcript = append(s.transcript, "\t"+line)
		}
		if !slices.Equal(got, want) {
			s.Errorf("%s\ngot\n\t%s\nwant\n\t%s", line, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
	s.over()
}

// over kills what is left and checks that nothing is.
func (s *script) over() {
	if s.b == nil {
		s.Fatal("nothing has happened")
	}
	if s.Failed() {
		s.Logf("all of it:\n%s", strings.Join(s.transcript, "\n"))
	}
	s.l.post(command{kind: commandKill})
	s.settle()
	if n := s.eng.open(); n != 0 {
		s.Errorf("%d sockets are left open", n)
	}
	st := s.b.Stats()
	if st.Open != 0 || st.Handshakes != 0 || st.BufferBytes != 0 || st.Waiting != 0 || st.PreHello != 0 {
		s.Errorf("%d conns, %d handshakes, %d bytes of buffers, %d in the queue are left", st.Open, st.Handshakes, st.BufferBytes, st.Waiting)
	}
	for _, b := range s.pool.Snapshot().All() {
		if b.Open() != 0 {
			s.Errorf("backend %s still has %d conns", b.Addr, b.Open())
		}
	}
	if n := s.pool.Waiting(); n != 0 {
		s.Errorf("%d wait still", n)
	}
	s.b.Close()
	if err := s.store.Close(); err != nil {
		s.Error(err)
	}
}

// happens carries a line out, and lets the loop do what comes of it; lines with & between them are one batch to it.
func (s *script) happens(line string) {
	for event := range strings.SplitSeq(line, " & ") {
		s.event(strings.Fields(event))
	}
	s.settle()
}

// settle turns the loop until it waits.
func (s *script) settle() {
	s.eng.until = s.eng.now
	for i := 0; !s.ended; i++ {
		s.turn()
		if !s.eng.pending() && s.l.deadline() > s.eng.now {
			return
		}
		if i == 1000 {
			s.Fatalf("the loop spins: %v", s.eng.out)
		}
	}
}

func (s *script) turn() {
	before := len(s.eng.out)
	if err := s.l.turn(&s.done); err != nil {
		s.Fatal(err)
	}
	for len(s.b.records) > 0 {
		if r := <-s.b.records; r.line != nil {
			r.line()
		} else {
			r.to(r.ConnRecord)
		}
	}
	if s.l.ended() {
		s.ended = true
		s.eng.say("the loop ends")
	}
	if passed := s.eng.now.Sub(s.began); passed > 0 {
		for i, line := range s.eng.out[before:] {
			s.eng.out[before+i] = fmt.Sprintf("%.1fs %s", passed.Seconds(), line)
		}
	}
}

// pass lets time pass.
func (s *script) pass(d time.Duration) {
	end := s.eng.now.Add(d)
	for i := 0; s.eng.now < end && !s.ended; i++ {
		s.eng.until = end
		s.turn()
		if i == 100000 {
			s.Fatal("time does not pass")
		}
	}
}

// event carries out one thing that happens.
func (s *script) event(words []string) {
	who := words[0]
	switch who {
	case "client", "backend":
		name := who
		words = words[1:]
		if len(words) > 0 && words[0][0] >= '0' && words[0][0] <= '9' {
			name, words = words[0], words[1:]
			if who == "client" {
				name = "client " + name
			}
		}
		s.peer(name, words)
	case "pass":
		s.pass(s.duration(words[1]))
	case "drain":
		s.l.post(command{kind: commandDrain})
	case "kill":
		s.l.post(command{kind: commandKill})
	case "down", "up":
		s.pool.SetUp(s.at(words[1]), who == "up", "test")
	case "hard", "soft", "undrain":
		s.pool.SetDraining(s.at(words[1]), map[string]pool.Drain{"hard": pool.DrainHard, "soft": pool.DrainSoft}[who])
	case "max_conns": // of each backend, from now on
		s.maxConns = s.number(words[1])
		if err := s.pool.Set(s.specs()); err != nil {
			s.Fatal(err)
		}
	case "live":
		var live []string
		for _, b := range s.pool.Snapshot().Live() {
			live = append(live, s.numberOf(b.Addr))
		}
		slices.Sort(live)
		s.eng.say("%s", strings.Join(live, " "))
	case "budget":
		s.l.shares["test"].budget = float64(s.number(words[1]))
	case "claims": // of the clients' network, so many at a backend that is being drained
		share := s.l.shares["test"]
		if share.claims == nil {
			share.claims = new(rules.Claims)
		}
		for range s.number(words[1]) {
			share.claims.Made(affinity.HashNetwork(netip.MustParseAddr("192.0.2.1")), s.at(words[3]), s.l.unix)
		}
	case "connect": // fails, by this machine's doing
		s.eng.failures = append(s.eng.failures, s.errno(words[2]))
	case "accept":
		s.eng.acceptErr = s.errno(words[2])
	case "counted":
		s.counted(words[1:])
	case "home":
		s.home(words[1:])
	default:
		s.Fatalf("unknown line: %s", strings.Join(words, " "))
	}
}

func (s *script) errno(text string) syscall.Errno {
	for errno, name := range map[syscall.Errno]string{
		syscall.EMFILE: "EMFILE", syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL", syscall.ENOMEM: "ENOMEM", syscall.ECONNREFUSED: "ECONNREFUSED",
		syscall.EHOSTUNREACH: "EHOSTUNREACH", syscall.ECONNRESET: "ECONNRESET", syscall.EPERM: "EPERM",
	} {
		if name == text {
			return errno
		}
	}
	s.Fatalf("unknown errno %s", text)
	return 0
}

// peer has a client or a backend do something.
func (s *script) peer(name string, words []string) {
	e := s.eng
	c := e.named(name)
	if c == nil && strings.HasPrefix(name, "client") {
		host := 1
		if _, n, ok := strings.Cut(name, " "); ok {
			host = s.number(n)
		}
		c = e.connects(name, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(host)}), 4711))
	}
	if c == nil {
		s.Fatalf("%s is not there", name)
	}
	switch words[0] {
	case "connects":
		c.connected = true
	case "refuses":
		c.connectErr = syscall.ECONNREFUSED
		if len(words) > 1 {
			c.connectErr = s.errno(words[1])
		}
	case "sends":
		c.in = append(c.in, s.things(name, words[1:]))
	case "fin":
		c.fin = true
	case "rst":
		c.rst = true
	case "stops": // reading
		c.stuck = true
	case "reads":
		e.takes(c)
	case "deaf": // it acknowledges nothing from now on
		c.deaf = true
	case "acks":
		c.deaf, c.unacked, c.acked = false, 0, c.acked+uint64(c.unacked)
	case "full": // the kernel would not take anything for it
		c.bad = true
	default:
		s.Fatalf("unknown: %s %s", name, strings.Join(words, " "))
	}
	e.touch(c)
}

// counted says what the counters of these names have.
func (s *script) counted(names []string) {
	st := reflect.ValueOf(s.b.Stats())
	for _, name := range names {
		field := st.FieldByName(name)
		if !field.IsValid() {
			s.Fatalf("no counter %s", name)
		}
		s.eng.say("%s %v", name, field.Interface())
	}
}

// home says where what a hello offers would go.
func (s *script) home(words []string) {
	known := s.store.Pool(s.pool.Hash())
	o := affinity.Offer{}
	switch words[0] {
	case "ticket":
		o.Kind = affinity.OfferTicket
		o.Add(known.HashIdent(s.tickets[words[1]]))
	case "psk":
		o.Kind = affinity.OfferPSK
		o.Add(known.HashIdent(s.tickets[words[1]]))
	case "id":
		o.Kind, o.ID, o.HasID = affinity.OfferID, known.HashID(fixed(words[1][0])), true
	}
	h := known.Find(&o, s.store.Now())
	if b := s.pool.Snapshot().ByID(pool.ID(h.ID)); b != nil && h.ID != 0 {
		s.eng.say("%v %s", h.Source, s.numberOf(b.Addr))
		return
	}
	s.eng.say("%v", h.Source)
}
