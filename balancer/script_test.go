//go:build linux

package balancer

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/internal/proxyheader"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/balancer/route"
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

// chunk is bytes that somebody has said, and what a script calls them.
type chunk struct {
	bytes []byte
	name  string
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

// prepare takes a line that stands before the first event.
func (s *script) prepare(words []string) bool {
	switch words[0] {
	case "backends":
		s.count = s.number(words[1])
		for _, w := range words[2:] {
			s.maxConns = s.number(strings.TrimPrefix(w, "max_conns="))
		}
	case "pool":
		for _, w := range words[1:] {
			s.poolOption(w)
		}
	case "config":
		for _, w := range words[1:] {
			s.configOption(w)
		}
	case "ticket", "known":
		s.teach = append(s.teach, strings.Join(words, " "))
	case "show": // acks
		s.eng.showAcks = true
	case "engine": // gives nothing
		s.eng.alone = true
	default:
		return false
	}
	return true
}

func (s *script) poolOption(w string) {
	key, value, _ := strings.Cut(w, "=")
	o := &s.opt
	switch key {
	case "second_chance":
		o.SecondChance = pool.SecondChance{Auto: value != "0", Tries: s.number(value), Budget: 1}
	case "queue":
		if o.Queue = s.number(value); o.Queue == 0 {
			o.Queue = -1
		}
	case "queue_timeout":
		o.QueueTimeout = s.duration(value)
	case "on_down":
		o.OnDown = pool.OnDownReset
	case "proxy":
		o.ProxyHeader = map[string]pool.ProxyHeader{"v1": pool.ProxyV1, "v2": pool.ProxyV2}[value]
	case "fall":
		o.Fall = s.number(value)
	case "no_checks":
		o.NoChecks = true
	case "transparent":
		o.Transparent = true
	case "sources":
		for a := range strings.SplitSeq(value, ",") {
			o.Sources = append(o.Sources, netip.MustParseAddr(a))
		}
	default:
		s.Fatalf("unknown option of a pool: %s", w)
	}
}

func (s *script) configOption(w string) {
	key, value, _ := strings.Cut(w, "=")
	durations := map[string]*time.Duration{
		"hello_timeout": &s.cfg.HelloTimeout, "connect_timeout": &s.cfg.ConnectTimeout, "handshake_timeout": &s.cfg.HandshakeTimeout,
		"idle_timeout": &s.cfg.IdleTimeout, "half_closed_timeout": &s.cfg.HalfClosedTimeout, "hold_timeout": &s.cfg.HoldTimeout,
	}
	switch {
	case durations[key] != nil:
		*durations[key] = s.duration(value)
	case key == "hold_limit":
		s.cfg.HoldLimit = s.number(value)
	case key == "max_pre_hello":
		s.cfg.MaxPreHello = s.number(value)
	case key == "max_conns":
		s.cfg.MaxConns = s.number(value)
	case key == "tls":
		s.ln.TLS = map[string]TLSMode{"auto": TLSAuto, "require": TLSRequire, "off": TLSOff}[value]
	case key == "accept_proxy":
		s.ln.AcceptProxy = []netip.Prefix{netip.MustParsePrefix(value)}
	case key == "deny":
		s.ln.Deny = []netip.Prefix{netip.MustParsePrefix(value)}
	case key == "source_conns":
		s.cfg.Clients = ClientLimits{MaxConns: s.number(value), Prefix4: 24}
	default:
		s.Fatalf("unknown setting: %s", w)
	}
}

func (s *script) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *script) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.Fatal(err)
	}
	return d
}

// build makes the balancer, and teaches it what the script says is known.
func (s *script) build() {
	var err error
	if s.pool, err = pool.New("test", s.specs(), s.opt); err != nil {
		s.Fatal(err)
	}
	if s.store, err = affinity.NewStore(affinity.Config{Seed: 1, TableEntries: 1 << 10, ClientEntries: 1 << 10}); err != nil {
		s.Fatal(err)
	}
	s.ln.Addr, s.ln.Default = "127.0.0.1:0", s.pool // nobody comes by it
	s.cfg.Listeners, s.cfg.Store = []Listener{s.ln}, s.store
	s.cfg.ConnLog = func(r *ConnRecord) { s.eng.say("%s", s.told(r)) }
	if s.b, err = newOn(func(int64) (netio.Engine, error) { return s.eng, nil }, s.cfg); err != nil {
		s.Fatal(err)
	}
	s.l = s.b.loops[0]
	s.l.running = true
	if err := s.l.listen(); err != nil {
		s.Fatal(err)
	}
	for _, line := range s.teach {
		s.learn(strings.Fields(line))
	}
	s.settle()
}

func (s *script) specs() (specs []pool.Spec) {
	for i := range s.count {
		specs = append(specs, pool.Spec{Addr: addrOf(i + 1), MaxConns: s.maxConns})
	}
	return specs
}

func addrOf(backend int) string { return fmt.Sprintf("198.51.100.%d:443", backend) }

func (s *script) numberOf(a netaddr.Addr) string {
	for i := range s.count {
		if a.String() == addrOf(i+1) {
			return strconv.Itoa(i + 1)
		}
	}
	return a.String()
}

// at is the backend of a number.
func (s *script) at(number string) *pool.Backend {
	for _, b := range s.pool.Snapshot().All() {
		if b.Addr.String() == addrOf(s.number(number)) {
			return b
		}
	}
	s.Fatalf("no backend %s", number)
	return nil
}

// learn is "ticket A goes 1 2", of a ticket that nobody knows and the backends that it would be tried at, or "ticket B
// like A"; or "known ticket A at 1", "known id i at 1".
func (s *script) learn(words []string) {
	known := s.store.Pool(s.pool.Hash())
	if words[0] == "ticket" && words[2] == "like" { // it begins as that one does
		s.tickets[words[1]] = named(string(s.tickets[words[3]][:16]), int(words[1][0]))
		return
	}
	if words[0] == "ticket" {
		s.tickets[words[1]] = s.ticketFor(known, words[3:])
		return
	}
	id := uint32(s.at(words[4]).ID)
	if words[1] == "id" {
		known.IssuedID(known.HashID(fixed(words[2][0])), id, s.store.Now())
		return
	}
	s.tickets[words[2]] = named("name of ticket "+words[2], int(words[2][0]))
	known.IssuedTicket(known.HashIdent(s.tickets[words[2]]), 300, id, s.store.Now())
}

func (s *script) ticketFor(known *affinity.Pool, order []string) []byte {
next:
	for i := range 100000 {
		ticket := named(keyName(i), i)
		var o affinity.Offer
		o.Add(known.HashIdent(ticket))
		var skip pool.Skip
		for _, number := range order {
			b := s.at(number)
			if s.pool.Snapshot().Maglev(known.Explore(&o), skip) != b {
				continue next
			}
			skip.Add(b.ID)
		}
		return ticket
	}
	s.Fatalf("no ticket goes %v", order)
	return nil
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
			share.claims = new(route.Claims)
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
		if name == "client" {
			name = "client"
		}
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

// things are the bytes of words, each of which is known by its name from now on.
func (s *script) things(by string, words []string) (all []byte) {
	for _, w := range words {
		b := s.thing(by, w)
		all = append(all, b...)
		if n := strings.TrimPrefix(by, "client"); n != "" && !strings.HasPrefix(w, `"`) {
			w += "/" + strings.TrimSpace(n)
		}
		if !slices.ContainsFunc(s.said, func(c chunk) bool { return bytes.Equal(c.bytes, b) }) {
			s.said = append(s.said, chunk{b, w})
		}
	}
	slices.SortStableFunc(s.said, func(a, b chunk) int { return len(b.bytes) - len(a.bytes) })
	return all
}

// thing makes bytes: WORD, WORD:OPTION,OPTION, WORD:OPTION[from:to] or "text".
func (s *script) thing(by, w string) []byte {
	if strings.HasPrefix(w, `"`) {
		text, err := strconv.Unquote(strings.ReplaceAll(w, "_", " "))
		if err != nil {
			s.Fatalf("%s: %v", w, err)
		}
		return []byte(text)
	}
	w, cut, isCut := strings.Cut(strings.TrimSuffix(w, "]"), "[")
	word, options, _ := strings.Cut(w, ":")
	var b []byte
	switch word {
	case "hello":
		b = s.hello(options)
	case "accepted13":
		b = join(answer{tls13: true, psk: 1}.bytes(), appData(300))
	case "refused13":
		b = join(answer{tls13: true}.bytes(), appData(2000))
	case "accepted12":
		b = join(answer{}.bytes(), ccs(), finished())
	case "refused12":
		b = join(answer{}.bytes(), certificate(2000), helloDone())
	case "renewed12": // by the ticket of that name
		if s.tickets[options] == nil {
			s.tickets[options] = named("name of ticket "+options, int(options[0]))
		}
		b = join(answer{}.bytes(), newTicket(300, s.tickets[options]), ccs(), finished())
	case "keyexchange":
		b = records(22, message(16, make([]byte, 66)), 1<<14)
	case "serverhello12":
		b = answer{}.bytes()
	case "retry":
		b = answer{retry: true}.bytes()
	case "ccs":
		b = ccs()
	case "finished":
		b = finished()
	case "data":
		b = appData(s.number(options))
	case "bulk":
		b = make([]byte, s.number(options))
	case "alert":
		b = alert(2, byte(s.number(options)))
	case "warning":
		b = alert(1, byte(s.number(options)))
	default:
		s.Fatalf("unknown bytes: %s", w)
	}
	if len(b) > 11 && b[0] == 22 && b[5] <= 2 && word != "retry" { // a hello: whose it is shows in its random
		b[11+3] = by[len(by)-1]
	}
	if isCut {
		from, to, _ := strings.Cut(cut, ":")
		if to != "" {
			b = b[:s.number(to)]
		}
		if from != "" {
			b = b[s.number(from):]
		}
	}
	return b
}

func (s *script) hello(options string) []byte {
	var h hello
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		if (key == "psk" || key == "ticket") && s.tickets[value] == nil {
			s.tickets[value] = named("name of ticket "+value, int(value[0]))
		}
		switch key {
		case "":
		case "psk":
			h.psks = append(h.psks, s.tickets[value])
		case "ticket":
			h.ticket = s.tickets[value]
		case "id":
			h.id = fixed(value[0])
		case "name":
			h.names = append(h.names, value)
		case "pad":
			h.pad = s.number(value)
		case "tls13":
			h.tls13 = true
		case "early":
			h.early = true
		case "ech":
			h.ech = true
		default:
			s.Fatalf("unknown option of a hello: %s", option)
		}
	}
	return h.bytes()
}

// text says what bytes are, by who has said them.
func (s *script) text(b []byte) string {
	var words []string
	if n, h, status := proxyheader.Read(b); status == proxyheader.Got {
		name := ""
		if len(h.Name) > 0 {
			name = " " + string(h.Name)
		}
		words = append(words, fmt.Sprintf("PROXY(%v>%v%s)", h.Client, h.Local, name))
		b = b[n:]
	}
	for len(b) > 0 {
		i := slices.IndexFunc(s.said, func(c chunk) bool { return len(c.bytes) > 0 && bytes.HasPrefix(b, c.bytes) })
		if i < 0 {
			// A part of something, or the end of something.
			for _, c := range s.said {
				if at := bytes.Index(c.bytes, b); at >= 0 {
					return strings.Join(append(words, fmt.Sprintf("%s[%d:%d]", c.name, at, at+len(b))), " ")
				}
			}
			return strings.Join(append(words, fmt.Sprintf("%d bytes of something else", len(b))), " ")
		}
		words = append(words, s.said[i].name)
		b = b[len(s.said[i].bytes):]
	}
	return strings.Join(words, " ")
}

// told is a conn's record in a line.
func (s *script) told(r *ConnRecord) string {
	words := []string{"ended", r.Termination.String(), "hello=" + r.Hello.String()}
	add := func(key string, value any, is bool) {
		if is {
			words = append(words, fmt.Sprintf("%s=%v", key, value))
		}
	}
	add("refused", r.Refused, r.Refused != RefusedNone)
	add("client", r.Client, r.Client.Port() != 4711)
	add("backend", s.numberOf(r.Backend), r.Backend.IsValid())
	add("offer", r.Offer, r.Offer != affinity.OfferNone)
	add("source", r.Source, r.Source != affinity.SourceFresh)
	add("verdict", r.Verdict, r.Verdict != VerdictNone)
	add("lost", r.Lost, r.Lost != LostNone)
	add("tries", r.Tries, r.Tries != 1)
	add("connect_err", strconv.Quote(r.ConnectErr), r.ConnectErr != "")
	tenths := func(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
	add("hello_time", tenths(r.HelloTime), r.HelloTime != 0)
	add("queue_time", tenths(r.QueueTime), r.QueueTime != 0)
	add("connect_time", tenths(r.ConnectTime), r.ConnectTime != 0)
	add("answer_time", tenths(r.AnswerTime), r.AnswerTime != 0)
	return strings.Join(words, " ")
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
