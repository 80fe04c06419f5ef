//go:build linux

package balancer

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/bench/tlscore"
	"homing/bench/unruly"
	"homing/tlsparse"
)

// witness keeps what servers really did, so that what is known can be compared with it.
type witness struct {
	mu     sync.Mutex
	proven map[affinity.Fact]bool // kind, length, key and backend alone
	names  map[string]bool        // that a handshake was completed under
}

// attach has the server tell of each ticket that it issues (in TLS 1.2 in clear) or accepts.
func (w *witness) attach(known func() *affinity.Pool, id func() uint32) func(*tls.Config) {
	return func(cfg *tls.Config) {
		wrap, unwrap := cfg.WrapSession, cfg.UnwrapSession
		if wrap == nil {
			wrap, unwrap = cfg.EncryptTicket, cfg.DecryptTicket
		}
		cfg.WrapSession = func(st tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
			ticket, err := wrap(st, s)
			if err == nil && st.Version == tls.VersionTLS12 {
				w.ticket(known().HashIdent(ticket), id())
			}
			return ticket, err
		}
		cfg.UnwrapSession = func(ticket []byte, st tls.ConnectionState) (*tls.SessionState, error) {
			s, err := unwrap(ticket, st)
			if s != nil && err == nil {
				w.ticket(known().HashIdent(ticket), id())
			}
			return s, err
		}
	}
}

// ticket notes that the backend holds a ticket and its key.
func (w *witness) ticket(t affinity.Ident, id uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proven[affinity.Fact{Kind: affinity.FactEntry, Key: t.Exact, ID: id}] = true
	for i, k := range t.Prefix {
		w.proven[affinity.Fact{Kind: affinity.FactKeyHome, Length: uint8(affinity.PrefixLen(i)), Key: k, ID: id}] = true
	}
}

// completes reads from a hostile client's server which one it is, and notes that it has completed the client's
// handshake: under the name and in the shape of the hello that it has answered.
func (w *witness) completes(r *rig, h *unruly.Conn, from netip.Addr) {
	r.Helper()
	index, err := h.Data(1)
	if err != nil {
		return // it did not like the client's Finished, say
	}
	var parser tlsparse.Client
	var parsed tlsparse.Hello
	parser.Reset(tlsparse.MaxHelloLimit)
	if h.State().Retried {
		parser.ResetSecond(tlsparse.MaxHelloLimit)
	}
	if parser.Next(h.Hello); parser.Parse(h.Hello, make([]byte, tlsparse.MaxHelloLimit), &parsed) != tlsparse.Got {
		r.Error("the hostile client's hello cannot be read")
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := r.known().HashClient(from, parsed.ServerName(), parsed.Shape)
	w.proven[affinity.Fact{Kind: affinity.FactClient, Key: key, ID: uint32(r.servers[index[0]].backend.ID)}] = true
	w.names[string(parsed.ServerName())] = true
}

// sentinel returns once all that was learned is known: what it teaches itself comes behind that.
func (w *witness) sentinel(r *rig) {
	r.Helper()
	id := uint32(r.servers[0].backend.ID)
	for i := range 3 {
		t := r.known().HashIdent(named("all else is known", i))
		w.ticket(t, id)
		r.known().IssuedTicket(t, 0, id, now())
	}
	r.await("the sentinel's key is known", func() bool {
		_, ok := r.known().TicketKey(r.known().HashIdent(named("all else is known", 3)), id, now())
		return ok
	})
}

// judges checks every fact that the store would hand to another node, and returns how many there are of each kind.
func (w *witness) judges(t *testing.T, s *affinity.Store) (facts [4]int) {
	t.Helper()
	var c affinity.Cursor
	for !c.Done() {
		for _, f := range s.Export(&c, make([]affinity.Fact, 0, 64), now()) {
			w.mu.Lock()
			ok := w.proven[affinity.Fact{Kind: f.Kind, Length: f.Length, Key: f.Key, ID: f.ID}]
			w.mu.Unlock()
			if !ok {
				t.Errorf("known, but not proven by any server: %+v", f)
			}
			facts[f.Kind]++
		}
	}
	return facts
}

// attempt is one hostile handshake: what its two hellos say and in which order the bytes come.
type attempt struct {
	name          string
	order         unruly.Order
	first, second tlscore.Deviation
}

// attempts are all ways in which a client can have its second hello answered, or the first read for it. ahead says that
// the server's request is known. Servers refuse some of them; then nothing is to be known at all.
func attempts(junk, other []byte) []attempt {
	change, data := unruly.ChangeCipherSpec(), unruly.EarlyData(700)
	shares := tlscore.Deviation{NoShares: true, Identities: [][]byte{junk}}
	with := func(edit func(*tlscore.Deviation)) tlscore.Deviation {
		d := shares
		edit(&d)
		return d
	}
	var list []attempt
	for name, order := range map[string]unruly.Order{
		"in turn":                      {},
		"CCS with the first":           {With: change},
		"CCS apart":                    {Before: change},
		"CCS behind":                   {Behind: change},
		"CCS everywhere":               {With: change, Before: change, Behind: change},
		"both at once":                 {Ahead: -1},
		"both at once, CCS between":    {With: change, Ahead: -1},
		"the beginning of the second":  {Ahead: 60},
		"the header of the second":     {With: change, Ahead: 8},
		"in segments of one byte":      {With: change, Chunk: 1},
		"early data":                   {With: data},
		"early data and CCS":           {With: append(slices.Clone(change), data...), Behind: data},
		"an alert":                     {With: unruly.WarningAlert()},
		"half a record":                {With: data[:100], Behind: data[100:]},
		"a whole hello between":        {With: hello{psks: [][]byte{junk}}.bytes()},
		"and one more behind the last": {Ahead: -1, Before: hello{psks: [][]byte{other}}.bytes()},
	} {
		list = append(list, attempt{name: name, order: order, first: shares})
	}
	return append(list,
		attempt{name: "junk beside its own", first: with(func(d *tlscore.Deviation) { d.Identities = [][]byte{nil, junk} })},
		attempt{name: "junk before its own", order: unruly.Order{With: change}, first: with(func(d *tlscore.Deviation) { d.Identities = [][]byte{junk, nil} })},
		attempt{name: "its own behind junk", order: unruly.Order{With: change}, first: shares, second: tlscore.Deviation{Identities: [][]byte{other, junk, nil}}},
		attempt{name: "its own withdrawn", order: unruly.Order{With: change}, first: shares, second: tlscore.Deviation{NoIdentities: true}},
		attempt{name: "junk again", order: unruly.Order{With: change}, first: shares, second: tlscore.Deviation{Identities: [][]byte{junk, other}}},
		attempt{name: "more than are looked at", order: unruly.Order{With: change}, first: shares, second: tlscore.Deviation{Identities: [][]byte{other, other, other, other, other, nil}}},
		attempt{name: "another name", order: unruly.Order{With: change}, first: with(func(d *tlscore.Deviation) { d.ServerName = "evil.test" })},
		attempt{name: "another name then", order: unruly.Order{With: change}, first: shares, second: tlscore.Deviation{ServerName: "evil.test"}},
		attempt{name: "another protocol", order: unruly.Order{With: change}, first: with(func(d *tlscore.Deviation) { d.ALPN = []string{"evil"} })},
		attempt{name: "in pieces", order: unruly.Order{With: change, Chunk: 50}, first: with(func(d *tlscore.Deviation) { d.RecordBytes = 9 }), second: tlscore.Deviation{RecordBytes: 3}},
		attempt{name: "over-long", order: unruly.Order{With: change}, first: shares, second: tlscore.Deviation{PadTo: 20000}},
		attempt{name: "over-long and in pieces", order: unruly.Order{With: change, Ahead: -1}, first: shares, second: tlscore.Deviation{PadTo: 15000, RecordBytes: 2}},
		attempt{name: "nothing at first", order: unruly.Order{With: change}, first: tlscore.Deviation{NoShares: true, NoIdentities: true}},
		attempt{name: "one hello, junk alone", first: tlscore.Deviation{Identities: [][]byte{junk}}},
		attempt{name: "one hello, junk first", first: tlscore.Deviation{Identities: [][]byte{junk, nil}}},
	)
}

// TestNothingButProven: a client that has sessions of its own, and says in two hellos whatever it likes in whatever
// order, meets servers that tell what they really issued and accepted. Nothing else is known afterwards, of tickets,
// keys, clients and names.
func TestNothingButProven(t *testing.T) {
	r := newRig(t)
	w := &witness{proven: make(map[affinity.Fact]bool), names: make(map[string]bool)}
	for i := range 3 {
		id := func() uint32 { return uint32(r.servers[i].backend.ID) }
		r.serveTLS(i < 2, w.attach(r.known, id)) // the tickets of the last one begin with no name
	}
	r.start()
	options := tlscore.Options{ServerName: "a.test", MinVersion: tls.VersionTLS13, Verify: tlscore.VerifyNothing}

	// Two sessions of each server's, from itself. With one alone nobody can tell what in it is the name of a key.
	var sessions []*tlscore.Session
	for i := range 2 * len(r.servers) {
		s := r.servers[i%len(r.servers)]
		h, err := unruly.Shake(r.dialTo(s.addr), &options, unruly.Order{})
		if err == nil {
			_, err = h.Data(1)
		}
		if err != nil || h.Session() == nil {
			t.Fatalf("no session: %v", err)
		}
		sessions = append(sessions, h.Session())
	}
	o := options
	o.Session, o.First = sessions[0], &tlscore.Deviation{NoShares: true}
	retry, err := unruly.LearnRetry(r.dialTo(r.servers[0].addr), &o)
	if err != nil {
		t.Fatal(err)
	}

	accepted, client := 0, 0
	for round, victim := range []int{0, 1, 2, -1, -1, 0} {
		with := sessions
		if round < 3 {
			with = sessions[:len(r.servers)] // the keys are not known
		}
		junk, other := named(keyName(round), 1), named(keyName(round), 2)
		if victim >= 0 { // under the name of a server's key
			copy(junk, sessions[victim].Ticket[:16])
			copy(other, sessions[(victim+1)%3].Ticket[:16])
		}
		for _, a := range attempts(junk, other) {
			for i, session := range with {
				client++
				o := options
				o.Session, o.First, o.Second = session, &a.first, &a.second
				if a.order.Ahead != 0 {
					a.order.Retry = retry
				}
				from := source(client)
				raw := r.dialFrom(from)
				h, err := unruly.Shake(raw, &o, a.order)
				if err == nil {
					w.completes(r, h, from)
					if h.State().Resumed {
						accepted++
					}
				} else if a.name == "in turn" || a.name == "CCS with the first" || a.name == "both at once, CCS between" {
					t.Errorf("%s, session %d: %v", a.name, i, err)
				}
				raw.Close()
			}
		}
	}
	r.idle()
	r.settle()
	w.sentinel(r)
	facts := w.judges(t, r.store)
	t.Logf("%d handshakes, %d resumed; %d entries, %d key homes, %d clients are known", client, accepted, facts[affinity.FactEntry], facts[affinity.FactKeyHome], facts[affinity.FactClient])
	for _, name := range r.pool.Names().Top(64, time.Now()) {
		if !w.names[name] {
			t.Errorf("the name %q is counted, under which no handshake was completed", name)
		}
	}
	if accepted < client/10 || facts[affinity.FactKeyHome] == 0 || facts[affinity.FactClient] == 0 {
		t.Error("this was no attack, or nothing was learned")
	}
}

// dialTo connects to a server itself.
func (r *rig) dialTo(addr string) net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		r.Fatal(err)
	}
	r.track(c)
	return c
}

// TestRefusedJunkIsNoMatter: what any client can bring about is that a name without a home counts as refused. It puts
// the learning of the name off by no more than chance: one good offer of three is accepted, and the first one ends it.
// (A turn that comes to the wrong backend each time, as it did by round robin, would put it off for good.)
func TestRefusedJunkIsNoMatter(t *testing.T) {
	for _, attacked := range []bool{false, true} {
		r := newRig(t)
		for range 3 {
			r.serveTLS(true)
		}
		r.start()
		options := tlscore.Options{ServerName: "a.test", MinVersion: tls.VersionTLS13, Verify: tlscore.VerifyNothing}
		var sessions []*tlscore.Session
		for _, s := range r.servers {
			h, err := unruly.Shake(r.dialTo(s.addr), &options, unruly.Order{})
			if err == nil {
				_, err = h.Data(1)
			}
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, h.Session())
		}
		junk, client := 0, 0
		attack := func() {
			for _, s := range sessions {
				for range r.servers {
					junk++
					b := named("", junk)
					copy(b, s.Ticket[:16])
					o := options
					o.Session, o.First = s, &tlscore.Deviation{Identities: [][]byte{b}}
					c := r.dialFrom(source(junk))
					if _, err := unruly.Shake(c, &o, unruly.Order{}); err != nil {
						t.Fatal(err)
					}
					c.Close()
				}
			}
		}
		good := r.browser(tls.VersionTLS13)
		good.visit(source(9000))
		refused := 0
		const visits = 60
		for range visits {
			if attacked {
				attack()
			}
			client++
			if _, resumed := good.visit(source(9000 + client)); !resumed {
				refused++
			}
		}
		t.Logf("attacked %v: %d of %d offers refused", attacked, refused, visits)
		if most := map[bool]int{false: 9, true: 40}[attacked]; refused > most {
			t.Errorf("attacked %v: %d of %d offers were refused, want at most %d", attacked, refused, visits, most)
		}
		r.stop()
	}
}
