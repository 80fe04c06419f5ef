package bench

import (
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/bench/tlscore"
)

func TestClientsAreDealtOutByShare(t *testing.T) {
	p := good()
	p.Clients, p.Loops = 1000, 3
	p.Groups = []GroupPlan{{Kind: ID, Share: 20}, {Kind: Ticket, Share: 30}, {Kind: PSK, Share: 49.9}, {Kind: Early, Share: 0.1}}
	p.Names = []string{"a.test", "b.test"}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	s := shared{plan: &p, targets: make([]netip.AddrPort, 2), names: p.Names}
	s.newGroups(nil)
	loops := s.newClients()
	counts := make([]int, 4)
	seen := map[netip.Addr]bool{}
	for _, clients := range loops {
		if len(clients) < 333 || len(clients) > 334 {
			t.Errorf("%d clients in a loop of three", len(clients))
		}
		perLoop := make([]int, 4)
		for i, c := range clients {
			counts[c.group.index]++
			perLoop[c.group.index]++
			if c.index != i || seen[c.source] || !c.source.IsLoopback() || c.source.As4()[1] == 0 || c.name != c.number%2 || c.target != c.number%2 {
				t.Errorf("%+v", c)
			}
			seen[c.source] = true
		}
		if perLoop[0] < 65 || perLoop[0] > 68 || perLoop[2] < 165 || perLoop[2] > 168 {
			t.Errorf("a loop has %v", perLoop)
		}
	}
	if counts[0] != 200 || counts[1] != 300 || counts[2] != 499 || counts[3] != 1 {
		t.Errorf("%v", counts)
	}
}

func TestClientOffersWhatItsKindOffers(t *testing.T) {
	ticket := &tlscore.Session{Version: tls.VersionTLS12, Ticket: []byte("ticket"), Lifetime: time.Minute}
	bare := &tlscore.Session{Version: tls.VersionTLS12, ID: []byte("id")}
	for _, c := range []struct {
		says    string
		group   GroupPlan
		session *tlscore.Session
		age     time.Duration
		offered bool
	}{
		{"nothing to offer", GroupPlan{Kind: PSK}, nil, 0, false},
		{"a kind that never resumes", GroupPlan{Kind: Full12}, ticket, 0, false},
		{"a ticket", GroupPlan{Kind: Ticket}, ticket, 59 * time.Second, true},
		{"a ticket too old for its server", GroupPlan{Kind: Ticket}, ticket, time.Minute, false},
		{"a ticket too old for its client", GroupPlan{Kind: Ticket, Lifetime: time.Second}, ticket, time.Second, false},
		{"an ID where tickets are to be offered", GroupPlan{Kind: Ticket}, bare, 0, false},
		{"an ID", GroupPlan{Kind: ID}, bare, 6 * 24 * time.Hour, true},
		{"an ID of a week", GroupPlan{Kind: ID}, bare, maxLifetime, false},
	} {
		k := client{group: &group{GroupPlan: &c.group}, session: c.session, got: time.Hour}
		if got := k.offer(time.Hour + c.age); (got != nil) != c.offered {
			t.Errorf("%s: offered %v", c.says, got != nil)
		}
	}
}

func TestClientKeepsSessions(t *testing.T) {
	one, two := &tlscore.Session{}, &tlscore.Session{}
	for _, c := range []struct {
		says    string
		resumed bool
		got     *tlscore.Session
		want    *tlscore.Session
		renewed bool
	}{
		{"accepted, and no new one", true, nil, one, false},
		{"accepted, and the same again", true, one, one, false},
		{"accepted, and a new one", true, two, two, true},
		{"refused, and a new one", false, two, two, true},
		{"refused, and none: the old one is of no use", false, nil, nil, false},
	} {
		k := client{session: one, got: 1}
		k.keep(2, &tlscore.State{Resumed: c.resumed}, c.got)
		if k.session != c.want || (k.got == 2) != c.renewed {
			t.Errorf("%s: %p since %v", c.says, k.session, k.got)
		}
	}
}

// visitors counts by what the server saw of its clients.
type visitors struct {
	mu    sync.Mutex
	addrs map[string]int
	names map[string]int
}

func (v *visitors) site(t *testing.T) *site {
	t.Helper()
	return newSite(t, nil, func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.addrs[host]++
		v.names[r.TLS.ServerName+" "+r.Host]++
		w.WriteHeader(http.StatusNoContent)
	})
}

func TestRunComesFromTheAddressesPlanned(t *testing.T) {
	for _, sources := range []Sources{SourceOwn, SourceRoam, SourceShared, SourceKernel} {
		v := visitors{addrs: map[string]int{}, names: map[string]int{}}
		s := v.site(t)
		p := s.plan(GroupPlan{Kind: PSK})
		p.Sources, p.Verify = sources, VerifyOff
		p.Names = []string{siteName, "x." + siteName}
		res := mustRun(t, p)
		conns := int(res.Groups[0].Total.Done)
		delete(v.addrs, "127.0.0.1") // the probes', and the kernel's choice
		want := map[Sources]int{SourceOwn: p.Clients, SourceRoam: conns, SourceShared: 1, SourceKernel: 0}[sources]
		if got := len(v.addrs); got != want {
			t.Errorf("%s: %d conns of %d clients from %d addresses, want %d", sources, conns, p.Clients, got, want)
		}
		if v.names[siteName+" "+siteName] < conns/3 || v.names["x."+siteName+" x."+siteName] < conns/3 || len(v.names) != 2 {
			t.Errorf("names %v", v.names)
		}
	}
}

// A hello looks on the wire as its shape says: in records, and in segments.
func TestShapesOnTheWire(t *testing.T) {
	for _, c := range []struct {
		shape   string
		records func(sizes []int) bool
		reads   func(sizes []int) bool
	}{
		{"plain", func(r []int) bool { return len(r) == 1 && r[0] < 600 }, func(r []int) bool { return len(r) == 1 }},
		{"browser", func(r []int) bool { return len(r) == 1 && r[0] > 1500 }, nil},
		{"records:32", func(r []int) bool { return len(r) > 5 && r[0] == 32 && r[1] == 32 }, nil},
		{
			"segments:100+gap:60ms", func(r []int) bool { return len(r) == 1 },
			func(r []int) bool { return len(r) > 1 && r[0] == 100 },
		},
	} {
		shape, err := ParseShape(c.shape)
		if err != nil {
			t.Fatal(err)
		}
		records, reads := capture(t, shape)
		if !c.records(records) || c.reads != nil && !c.reads(reads) {
			t.Errorf("%s: records of %v bytes, reads of %v", c.shape, records, reads)
		}
	}
}

// capture returns the sizes of the records and of the reads in which a hello of the shape comes.
func capture(t *testing.T, shape Shape) (records, reads []int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := Plan{Targets: []string{l.Addr().String()}, Groups: []GroupPlan{{Kind: PSK, Shape: shape}}, Clients: 1, Timeout: patience}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	r := run{shared: shared{plan: &p, base: time.Now(), targets: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}, names: []string{siteName}}}
	r.newGroups(nil)
	if err := r.makeLoops(); err != nil {
		t.Fatal(err)
	}
	loop := r.loops[0]
	defer func() { _ = loop.poller.Close() }()
	loop.rec = newRecorder(1, 0, 0)
	loop.rng = rand.New(rand.NewPCG(1, 1))
	loop.begin(loop.clients[0], visit{0, loop.rec})
	done := make(chan error, 1)
	go func() { done <- loop.run(time.Hour, true) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	buf := make([]byte, 16<<10)
	for len(all) < 9 || !wholeHello(all, &records) {
		n, err := conn.Read(buf)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		all = append(all, buf[:n]...)
		reads = append(reads, n)
	}
	_ = conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return records, reads
}

// wholeHello reports whether all records of a hello are there, and lists their sizes.
func wholeHello(b []byte, sizes *[]int) bool {
	*sizes = nil
	want, have := -1, 0
	for len(b) >= 5 {
		n := int(b[3])<<8 | int(b[4])
		if len(b) < 5+n {
			return false
		}
		if want < 0 && n >= 4 {
			want = 4 + int(b[6])<<16 + int(b[7])<<8 + int(b[8])
		}
		*sizes = append(*sizes, n)
		if have += n; have == want {
			return true
		}
		b = b[5+n:]
	}
	return false
}

func TestResolve(t *testing.T) {
	p := Plan{Targets: []string{"site.test:8443", "[::1]:443"}}
	s := shared{plan: &p}
	err := s.resolve(func(host string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("192.0.2.2")}, nil
	})
	if err != nil || len(s.targets) != 2 || s.targets[0].String() != "192.0.2.1:8443" || s.targets[1].String() != "[::1]:443" ||
		strings.Join(s.names, " ") != "site.test" {
		t.Errorf("%v, %v, %v", s.targets, s.names, err)
	}
}
