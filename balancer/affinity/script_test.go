package affinity

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
)

// Commit the result only if you understand every line of its diff.
var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScripts runs testdata/*.txt: blocks of commands, a line of dashes, and what
// they print. Backends are single capital letters. A ticket is KEY.NUMBER, its
// bytes begin as the KEY's stack lays them out. The owner runs after every command.
//
//	stack go K...               the stack whose tickets K.n are (see layout)
//	issue A K.1 [hint=300]      A issues a TLS 1.2 ticket; K.1-9: nine of them
//	accept A K.1 [tls12] [ech]  A accepts it, as a TLS 1.3 identity or a TLS 1.2 ticket
//	probe A K.1                 A issues it to a probe of our own
//	refuse A K.1 [client=x]     A refuses it; net=cycle: each from another network
//	find K.1 [K.2] [client=x]   how an offer of these would be routed; xN: N times, summed up
//	refuted A K.1               a probe found that A does not take it, and another backend does
//	doubts A                    the keys that a probe of A should look into
//	watch                       a probe looks at the backends from now on
//	shown A K.1                 the probe resumed there what another backend had issued to it
//	lost A K.1                  why A refused it
//	session A s  accept-id A s  find-id s [fake] [client=x]   the same for session IDs
//	complete A client=x         the client completes a handshake at A
//	tick 5s                     time passes
//	keys                        the directory
//	suspects                    who was asked to be probed since the last time, *: all; and for doubt
//	entries                     how many exact entries and hints there are
func TestScripts(t *testing.T) {
	testkit.Scripts(t, *update, func(t *testing.T, out io.Writer) func([]string) {
		s := newScript(t)
		return func(words []string) {
			fmt.Fprint(out, s.command(words))
			s.p.store.takeEvidence()
		}
	})
}

type script struct {
	t      testing.TB
	p      *Pool
	now    uint32
	stacks map[string]string // key name -> stack
	names  map[Key]string    // prefixes of the keys, for `keys`
	net    uint32

	suspects []string
}

func newScript(t testing.TB) *script {
	s := &script{t: t, now: t0, stacks: map[string]string{}, names: map[Key]string{}}
	s.p = newStore(t, func(c *Config) { c.Suspect = s.suspect }).Pool(1)
	return s
}

func (s *script) command(f []string) string {
	opts := map[string]string{}
	args := slices.DeleteFunc(slices.Clone(f[1:]), func(a string) bool {
		k, v, ok := strings.Cut(a, "=")
		if ok {
			opts[k] = v
		}
		return ok
	})
	switch f[0] {
	case "stack":
		for _, name := range args[1:] {
			s.stacks[name] = args[0]
		}
	case "tick":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.t.Fatal(err)
		}
		s.now += seconds(d)
		s.p.store.age(s.now)
	case "session", "accept-id", "find-id", "complete":
		return s.idCommand(f[0], args, opts)
	case "refuted":
		o := s.offer(OfferPSK, args[1:], opts)
		s.p.Refuted(s.p.directory.Load().find(&o.Idents[0]).key, backend(args[0]), s.now)
	case "watch":
		s.t.Cleanup(s.p.Watch())
	case "shown":
		for _, b := range s.tickets(args[1]) {
			s.p.Shown(s.p.HashIdent(b), backend(args[0]), s.now)
			s.p.store.takeEvidence()
		}
	case "doubts":
		var names []string
		for _, k := range s.p.Doubts(backend(args[0])) {
			names = append(names, s.names[k])
		}
		return strings.Join(append(names, "that is all"), ", ") + "\n"
	case "issue", "accept", "refuse", "probe":
		for _, b := range s.tickets(args[1]) {
			s.teach(f[0], backend(args[0]), b, args[2:], opts)
			s.p.store.takeEvidence()
		}
	case "find":
		return s.find(args, opts)
	case "lost":
		o := s.offer(OfferPSK, args[1:], opts)
		return fmt.Sprintln(s.p.Lost(o, s.p.Find(o, s.now), backend(args[0]), s.now))
	case "keys":
		return s.keys()
	case "suspects":
		defer func() { s.suspects = nil }()
		if s.suspects == nil {
			return "nobody\n"
		}
		return fmt.Sprintln(strings.Join(slices.Compact(s.suspects), ", "))
	case "entries":
		st := s.p.store.stats(s.now)
		return fmt.Sprintf("%d exact, %d hints\n", st.Entries.Used, st.Hints.Used)
	default:
		s.t.Fatalf("no such command: %q", f)
	}
	return ""
}

func (s *script) teach(verb string, id uint32, ticket []byte, words []string, opts map[string]string) {
	o := offerOf(s.p, OfferPSK, ticket)
	o.Client = client(opts["client"])
	o.RefreshOnly = slices.Contains(words, "ech")
	if opts["net"] == "cycle" {
		s.net++
		o.Network = s.net
	}
	switch {
	case verb == "issue":
		hint, _ := strconv.Atoi(opts["hint"])
		s.p.IssuedTicket(o.Idents[0], uint32(hint), id, s.now)
	case verb == "probe":
		s.p.Probed(o.Idents[0], id, s.now)
	case verb == "refuse":
		s.p.Refused(o, SourceExplore, id, s.now)
	case slices.Contains(words, "tls12"):
		o.Kind = OfferTicket
		s.p.Accepted(o, SelTicket, false, id, s.now)
	default:
		s.p.Accepted(o, 0, true, id, s.now)
	}
}

func (s *script) suspect(pool, id uint32, doubtful bool) {
	if pool != 1 {
		s.t.Errorf("suspect in pool %d", pool)
	}
	who := "*"
	if id != 0 {
		who = letters([]uint32{id})
	}
	if doubtful {
		who += " for doubt"
	}
	s.suspects = append(s.suspects, who)
}

func (s *script) idCommand(verb string, args []string, opts map[string]string) string {
	o := &Offer{Kind: OfferID, HasID: true, Client: client(opts["client"]), Fake: slices.Contains(args, "fake")}
	switch verb {
	case "session":
		s.p.IssuedID(s.p.HashID([]byte(args[1])), backend(args[0]), s.now)
	case "accept-id":
		o.ID = s.p.HashID([]byte(args[1]))
		s.p.Accepted(o, SelID, false, backend(args[0]), s.now)
	case "complete":
		s.p.Completed(o.Client, backend(args[0]), s.now)
	case "find-id":
		o.ID = s.p.HashID([]byte(args[0]))
		return s.describe(o, s.p.Find(o, s.now)) + "\n"
	}
	return ""
}

func (s *script) find(args []string, opts map[string]string) string {
	times := 1
	if last := args[len(args)-1]; last[0] == 'x' {
		times, _ = strconv.Atoi(last[1:])
		args = args[:len(args)-1]
	}
	o := s.offer(OfferPSK, args, opts)
	count := map[string]int{}
	for range times {
		count[s.describe(o, s.p.Find(o, s.now))]++
	}
	var lines []string
	for line, n := range count {
		if times > 1 {
			line = fmt.Sprintf("%d: %s", n, line)
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (s *script) offer(kind OfferKind, tickets []string, opts map[string]string) *Offer {
	o := &Offer{Kind: kind, Client: client(opts["client"])}
	for _, name := range tickets {
		o.Add(s.p.HashIdent(s.tickets(name)[0]))
	}
	return o
}

func (s *script) describe(o *Offer, h Home) string {
	w := []string{h.Source.String()}
	switch {
	case h.Any:
		w = append(w, "any")
	case h.Set != nil:
		w = append(w, letters(h.Set))
	case h.ID != 0:
		w = append(w, letters([]uint32{h.ID}))
	}
	if h.KeyLen != 0 {
		w = append(w, fmt.Sprintf("by %d bytes", h.KeyLen))
	}
	if h.Ident != 0 {
		w = append(w, fmt.Sprintf("of offer %d", h.Ident))
	}
	if h.Doubtful {
		w = append(w, "doubtful")
	}
	for i, id := range h.Set {
		if h.Doubted>>i&1 != 0 {
			w = append(w, "rather not "+letters([]uint32{id}))
		}
	}
	if h.Source == SourceExplore {
		if id := s.p.Hint(o, s.now); id != 0 {
			w = append(w, "hint "+letters([]uint32{id}))
		}
		for id := range uint32(26) {
			if s.p.WasRefused(o, id+1, s.now) {
				w = append(w, "not "+letters([]uint32{id + 1}))
			}
		}
	}
	return strings.Join(w, " ")
}

func (s *script) keys() string {
	var lines []string
	d := s.p.directory.Load()
	for _, k := range d.keys {
		line := fmt.Sprintf("%2d bytes of %s: %s", PrefixLen(k.length), s.names[k.key], letters(k.ids))
		if d.constant(k) {
			line += " constant"
		}
		var doubtful []uint32
		for i, id := range k.ids {
			if k.doubted(s.now)>>i&1 != 0 {
				doubtful = append(doubtful, id)
			}
		}
		if doubtful != nil {
			line += " doubtful " + letters(doubtful)
		}
		lines = append(lines, line+"\n")
	}
	if lines == nil {
		return "none\n"
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// tickets are the bytes of K.n, or of K.n to K.m.
func (s *script) tickets(name string) [][]byte {
	key, numbers, ok := strings.Cut(name, ".")
	first, last, many := strings.Cut(numbers, "-")
	from, err := strconv.Atoi(first)
	to := from
	if many && err == nil {
		to, err = strconv.Atoi(last)
	}
	stack := s.stacks[key]
	if !ok || err != nil || stack == "" {
		s.t.Fatalf("%q is no ticket", name)
	}
	var all [][]byte
	for i := from; i <= to; i++ {
		b := layout(stack, key, i)
		for j, k := range s.p.HashIdent(b).Prefix {
			if k != 0 && PrefixLen(j) != 4 {
				s.names[k] = key
			} else if s.names[k] == "" {
				s.names[k] = key
			}
		}
		all = append(all, b)
	}
	return all
}

// layout is ticket i under a key of a stack, as TICKETS.md found them.
func layout(stack, key string, i int) []byte {
	random := func(n int, seed string) []byte {
		b := make([]byte, n)
		h := uint64(1)
		for _, c := range []byte(seed) {
			h = mix(h ^ uint64(c))
		}
		for j := range b {
			h = mix(h)
			b[j] = byte(h)
		}
		return b
	}
	name := random(20, key)
	rest := random(1100, fmt.Sprint(key, "/", i))
	join := func(n int, parts ...[]byte) []byte { return append(slices.Concat(parts...), rest...)[:n] }
	switch stack {
	case "openssl":
		return join(192, name[:16])
	case "gnutls": // name, iv, a length that never changes
		return join(406, name[:16], rest[100:116], []byte{1, 0x60})
	case "nss": // 12 random bytes and 4 zeros
		return join(178, name[:12], make([]byte, 4))
	case "mbedtls":
		return join(148, name[:4], rest[100:112], []byte{0, 0x50})
	case "jsse":
		return join(1098, name[:4])
	case "schannel": // version 0, GUID
		return join(276, make([]byte, 4), name[:16])
	case "s2n": // version 1, name
		return join(200, []byte{1}, name[:16])
	case "go":
		return rest[:123]
	case "stateful":
		return rest[:32]
	}
	panic("no such stack: " + stack)
}

func backend(s string) uint32 { return uint32(s[0] - 'A' + 1) }

func letters(ids []uint32) string {
	var b []byte
	for _, id := range slices.Sorted(slices.Values(ids)) {
		b = append(b, 'A'+byte(id)-1)
	}
	return string(b)
}

func client(name string) Key {
	if name == "" {
		return 0
	}
	return makeKey(mix(uint64(name[0])), 0)
}
