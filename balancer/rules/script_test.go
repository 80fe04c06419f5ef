package rules

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/bench/testkit"
)

// Commit the result only if you understand every line of its diff.
var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScripts runs testdata/*.txt: blocks of commands, a line of dashes, and what they print. Backends are single capital
// letters. A ticket is KEY.NUMBER, and its first 16 bytes are the KEY's; a session ID is any word. The words behind the names
// of an offer are its options: client=x, id=SESSION beside a ticket, psk or ticket, fake, tried=AB, late, chance=N, net=N.
//
//	pool ABC [max=N] [policy=P]      a pool of these backends anew, each with a bound; nothing is known
//	up A, down A, drain A, drain-hard A, undrain A, gone A
//	open A N, close A N              conns, beside those of the queue
//	issue A K.1-2                    A issues these tickets, or this session: issue A s
//	accept A OFFER, refuse A OFFER   A accepts it, or refuses it (net=cycle: each from a network of its own)
//	complete A client=x              the client completes a handshake at A
//	tick 5s                          time passes
//	decide [OFFER] [xN]              where it goes, by which rule, why not home, and what it waits for if it must wait. N
//	                                 times, each taken, summed up; peek: only asked, as an operator does
//	second OFFER                     where its second chance goes
//	claim A OFFER, prove A OFFER     the conn goes to A, which is being drained, for it; A accepts it
//	wait NAME OFFER                  it is decided and waits by that name, behind those who do; whoever is served is told of
//	leave NAME                       it waits no more
func TestScripts(t *testing.T) {
	testkit.Scripts(t, *update, func(t *testing.T, out io.Writer) func([]string) { return (&script{TB: t, out: out}).command })
}

type script struct {
	testing.TB
	pool    *pool.Pool
	known   *affinity.Pool
	barrier func() // waits until everything taught is known
	letters map[pool.ID]string
	specs   map[string]pool.Spec
	claims  *Claims
	now     uint32
	network uint32
	waiting []*waiter
	out     io.Writer
}

// waiter is a conn in the pool's queue.
type waiter struct {
	pool.Waiter
	name string
	q    *Question
	d    Decision
	over bool
}

func (w *waiter) WaitOver(uint64) { w.over = true }

func (s *script) command(f []string) {
	verb, args, opts := f[0], []string(nil), map[string]string{}
	for _, word := range f[1:] {
		key, value, ok := strings.Cut(word, "=")
		switch {
		case ok:
			opts[key] = value
		case slices.Contains([]string{"psk", "ticket", "fake", "late", "peek"}, word):
			opts[word] = word
		default:
			args = append(args, word)
		}
	}
	switch verb {
	case "pool":
		s.makePool(args[0], opts)
	case "tick":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			s.Fatal(err)
		}
		s.now += uint32(d / time.Second)
	case "decide":
		s.decide(args, opts)
	case "second":
		q := s.question(args, opts)
		d := q.Second(s.known, s.pool.Snapshot())
		fmt.Fprintln(s.out, s.describe(&d))
	case "wait":
		s.wait(args[0], s.question(args[1:], opts))
	case "leave":
		s.leave(args[0])
	case "issue", "accept", "refuse", "complete", "claim", "prove":
		s.teach(verb, s.backend(args[0]), args[1:], opts)
		s.barrier()
	default:
		s.change(verb, s.backend(args[0]), args[1:])
	}
	s.served()
}

func (s *script) makePool(letters string, opts map[string]string) {
	s.letters, s.specs = map[pool.ID]string{}, map[string]pool.Spec{}
	s.waiting, s.claims = nil, nil
	var policy pool.Policy
	for policy.String() != "invalid" && opts["policy"] != "" && policy.String() != opts["policy"] {
		policy++
	}
	var specs []pool.Spec
	for i, letter := range strings.Split(letters, "") {
		spec := pool.Spec{Addr: fmt.Sprintf("10.0.0.%d:443", i+1), MaxConns: s.number(opts["max"])}
		specs = append(specs, spec)
		s.specs[letter] = spec
	}
	p, err := pool.New("web", specs, pool.Options{Policy: policy})
	if err != nil {
		s.Fatal(err)
	}
	for i, b := range p.Snapshot().All() {
		s.letters[b.ID] = letters[i : i+1]
	}
	store, err := affinity.NewStore(affinity.Config{Seed: 1, TableEntries: 4096, ClientEntries: 4096})
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		store.Run(ctx)
	}()
	s.Cleanup(func() {
		cancel()
		<-ran
		if err := store.Close(); err != nil {
			s.Error(err)
		}
	})
	s.pool, s.known, s.now = p, store.Pool(p.Hash()), store.Now()
	marks, marked := store.Pool(p.Hash()+1), 0
	// What is taught is taken up in its order: this ticket key is known once all before it is.
	s.barrier = func() {
		marked++
		for i := range 2 {
			marks.IssuedTicket(marks.HashIdent(ticket(fmt.Sprint("mark ", marked), i)), 0, 1, s.now)
		}
		for len(marks.HeldKeys(s.now)) < marked {
			runtime.Gosched()
		}
	}
}

func (s *script) number(text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *script) backend(letter string) *pool.Backend {
	for _, b := range s.pool.Snapshot().All() {
		if s.letters[b.ID] == letter {
			return b
		}
	}
	s.Fatalf("there is no backend %q", letter)
	return nil
}

// change changes a backend.
func (s *script) change(verb string, b *pool.Backend, args []string) {
	switch verb {
	case "up", "down":
		s.pool.SetUp(b, verb == "up", "test")
	case "drain":
		s.pool.SetDraining(b, pool.DrainSoft)
	case "drain-hard":
		s.pool.SetDraining(b, pool.DrainHard)
	case "undrain":
		s.pool.SetDraining(b, pool.DrainOff)
	case "gone":
		delete(s.specs, s.letters[b.ID])
		var specs []pool.Spec
		for _, spec := range s.specs {
			specs = append(specs, spec)
		}
		if err := s.pool.Set(specs); err != nil {
			s.Fatal(err)
		}
	case "open":
		for range s.number(args[0]) {
			b.Acquire()
		}
	case "close":
		for range s.number(args[0]) {
			b.Release()
		}
	default:
		s.Fatalf("no such command: %q", verb)
	}
}

// teach tells affinity what a backend has done, or counts a claim.
func (s *script) teach(verb string, b *pool.Backend, args []string, opts map[string]string) {
	id := uint32(b.ID)
	if verb == "complete" {
		s.known.Completed(client(opts["client"]), id, s.now)
		return
	}
	for _, name := range s.names(args[0]) {
		q := s.question([]string{name}, opts)
		if opts["net"] == "cycle" {
			s.network++
			q.Offer.Network = s.network
		}
		switch ticket := q.Offer.N > 0; verb {
		case "issue":
			if ticket {
				s.known.IssuedTicket(q.Offer.Idents[0], 0, id, s.now)
			} else {
				s.known.IssuedID(q.Offer.ID, id, s.now)
			}
		case "accept":
			sel := affinity.SelID
			if ticket {
				sel = 0
			}
			s.known.Accepted(q.Offer, sel, ticket, id, s.now)
		case "refuse":
			s.known.Refused(q.Offer, affinity.SourceExplore, id, s.now)
		case "claim":
			if s.claims == nil {
				s.claims = new(Claims)
			}
			s.claims.Made(q.Offer.Network, b, s.now)
		case "prove":
			s.claims.Proved(q.Offer.Network, b, s.now)
		}
	}
}

// question is the one that an offer asks.
func (s *script) question(names []string, opts map[string]string) *Question {
	offer := &affinity.Offer{Client: client(opts["client"])}
	offer.Network = uint32(len(opts["net"]))
	for _, name := range names {
		if key, number, ok := strings.Cut(name, "."); ok {
			offer.Kind = affinity.OfferPSK
			offer.Add(s.known.HashIdent(ticket(key, s.number(number))))
		} else {
			opts["id"] = name
		}
	}
	if opts["ticket"] != "" {
		offer.Kind = affinity.OfferTicket
	}
	if id := opts["id"]; id != "" {
		offer.ID, offer.HasID, offer.Fake = s.known.HashID([]byte(id)), true, opts["fake"] != ""
		if offer.N == 0 {
			offer.Kind = affinity.OfferID
		}
	}
	tried := new(pool.Skip)
	for letter := range strings.SplitSeq(opts["tried"], "") {
		tried.Add(s.backend(letter).ID)
	}
	home := s.known.Look(offer, s.now)
	return &Question{
		Offer: offer, Home: &home, Client: uint64(offer.Client), Tried: tried, Late: opts["late"] != "",
		Claims: s.claims, Now: s.now, Chance: uint64(s.number(opts["chance"])),
	}
}

func (s *script) decide(args []string, opts map[string]string) {
	times := 1
	if last := len(args) - 1; last >= 0 && args[last][0] == 'x' {
		times, args = s.number(args[last][1:]), args[:last]
	}
	count := map[string]int{}
	for i := range times {
		q := s.question(args, opts)
		if opts["peek"] == "" {
			*q.Home = s.known.Find(q.Offer, s.now)
		}
		if opts["chance"] == "" {
			q.Chance = uint64(i)
		}
		count[s.decideOne(q, opts["peek"] != "")]++
	}
	var lines []string
	for line, n := range count {
		if times > 1 {
			line = fmt.Sprintf("%d: %s", n, line)
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	fmt.Fprint(s.out, strings.Join(lines, ""))
}

// decideOne also sees to it that a decision changes nothing.
func (s *script) decideOne(q *Question, peek bool) string {
	snapshot := s.pool.Snapshot()
	d := Decide(q, s.known, snapshot)
	if again := Decide(q, s.known, snapshot); again != d {
		s.Errorf("asked again, it is %s instead of %s", s.describe(&again), s.describe(&d))
	}
	if !peek && !d.Take(snapshot) {
		s.Error("the turn is taken")
	}
	if d.Anew {
		q.Tried = new(pool.Skip)
	}
	w := q.Wish(&d, snapshot)
	return s.describe(&d) + "; waits for " + s.describeWish(&w)
}

func (s *script) describe(d *Decision) string {
	where := "nobody"
	if d.Backend != nil {
		where = s.letters[d.Backend.ID]
	}
	w := where + " by " + d.Rule.String()
	if d.Why != pool.UsableOK {
		w += ", home " + d.Why.String()
	}
	if d.Claims() {
		w += ", a claim"
	}
	if d.Anew {
		w += ", whoever was tried"
	}
	return w
}

func (s *script) describeWish(w *pool.Wish) string {
	var parts []string
	switch h := &w.Home; {
	case h.Any:
		parts = append(parts, "any by hash")
	case h.ID != 0:
		parts = append(parts, s.name(pool.ID(h.ID)))
	case len(h.Set) > 0:
		var set, doubted []string
		for i, id := range h.Set {
			if set = append(set, s.name(pool.ID(id))); h.Doubted>>i&1 != 0 {
				doubted = append(doubted, s.name(pool.ID(id)))
			}
		}
		slices.Sort(set)
		part := strings.Join(set, "")
		if doubted != nil {
			part += " rather not " + strings.Join(doubted, "")
		}
		parts = append(parts, part)
	}
	if w.Given != pool.NoID && w.Given != pool.ID(w.Home.ID) {
		parts = append(parts, s.name(w.Given))
	}
	out := strings.Join(append(parts, "any"), ", ")
	for i := range w.Skip.N {
		out += ", not " + s.name(w.Skip.IDs[i])
	}
	return out
}

func (s *script) name(id pool.ID) string {
	if letter := s.letters[id]; letter != "" {
		return letter
	}
	return "?"
}

// wait does what a loop does for a conn that finds no place, or whose turn it is not.
func (s *script) wait(name string, q *Question) {
	snapshot := s.pool.Snapshot()
	w := &waiter{name: name, q: q, d: Decide(q, s.known, snapshot)}
	w.d.Take(snapshot)
	w.Waiter = pool.Waiter{Wish: q.Wish(&w.d, snapshot), Owner: w}
	switch b, result := s.pool.Wait(&w.Waiter); result {
	case pool.WaitServed:
		s.placed(w, b)
	case pool.WaitQueued:
		fmt.Fprintf(s.out, "%s waits\n", name)
		s.waiting = append(s.waiting, w)
	case pool.WaitFull:
		fmt.Fprintf(s.out, "%s: the queue is full\n", name)
	case pool.WaitNobody:
		fmt.Fprintf(s.out, "%s: nobody to wait for\n", name)
	}
}

func (s *script) placed(w *waiter, b *pool.Backend) {
	d := w.q.Placed(w.d, b)
	fmt.Fprintf(s.out, "%s: %s\n", w.name, s.describe(&d))
}

func (s *script) leave(name string) {
	s.waiting = slices.DeleteFunc(s.waiting, func(w *waiter) bool {
		if w.name == name {
			s.pool.Leave(&w.Waiter)
		}
		return w.name == name
	})
}

// served tells of those whose waiting is over.
func (s *script) served() {
	s.waiting = slices.DeleteFunc(s.waiting, func(w *waiter) bool {
		if !w.over {
			return false
		}
		if b, _ := s.pool.Leave(&w.Waiter); b != nil {
			s.placed(w, b)
		} else {
			fmt.Fprintf(s.out, "%s: nobody left to wait for\n", w.name)
		}
		return true
	})
}

// names is K.1, K.2 and so on for K.1-2.
func (s *script) names(name string) (all []string) {
	key, numbers, _ := strings.Cut(name, ".")
	first, last, many := strings.Cut(numbers, "-")
	if !many {
		return []string{name}
	}
	for i := s.number(first); i <= s.number(last); i++ {
		all = append(all, fmt.Sprintf("%s.%d", key, i))
	}
	return all
}

// ticket is one of 192 bytes that begins with a key's name of 16.
func ticket(key string, number int) []byte {
	name, rest := sha256.Sum256([]byte(key)), sha256.Sum256(fmt.Appendf(nil, "%s.%d", key, number))
	return append(append([]byte(nil), name[:16]...), bytes.Repeat(rest[:], 6)[:176]...)
}

func client(name string) affinity.Key {
	if name == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(name))
	return affinity.Key(1 + uint64(sum[0])<<8 + uint64(sum[1])<<40)
}
