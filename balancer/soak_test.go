//go:build linux

package balancer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// soakEnd is how a conn of the soak ends.
type soakEnd int

const (
	endBoth    soakEnd = iota // both say all, each FIN at its own time
	endRequest                // the client says all and FIN; then the backend does
	endReply                  // the other way round
	endClient                 // the client resets somewhere
	endBackend                // the backend resets somewhere
	numSoakEnds
)

// soakPlan is what both ends of a conn know from its seed.
type soakPlan struct {
	seed  uint64
	end   soakEnd
	hello bool
	size  [2]int64 // what each side says
	cut   int64    // the resetting side says so much
}

func planOf(seed uint64) soakPlan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := soakPlan{seed: seed, end: soakEnd(rng.IntN(int(numSoakEnds))), hello: rng.IntN(3) == 0}
	for s := range p.size {
		limit := int64(40_000)
		if rng.IntN(100) < soakBig {
			limit = 4_000_000
		}
		p.size[s] = rng.Int64N(limit + 1)
		if rng.IntN(20) == 0 {
			p.size[s] = 0
		}
	}
	p.cut = rng.Int64N(p.size[p.resets()] + 1)
	return p
}

// resets is the side that resets, if one does.
func (p *soakPlan) resets() side {
	if p.end == endBackend {
		return sideBackend
	}
	return sideClient
}

func (p *soakPlan) reset() bool { return p.end == endClient || p.end == endBackend }

// greeting tells the backend the plan: behind a ClientHello, or not.
func (p *soakPlan) greeting() []byte {
	var b []byte
	if p.hello {
		h := hello{ticket: named(keyName(int(p.seed%50)), int(p.seed))}
		if p.seed%2 == 0 {
			h = hello{psks: [][]byte{h.ticket}, early: p.seed%4 == 0}
		}
		b = h.bytes()
	}
	return binary.BigEndian.AppendUint64(append(b, 0), p.seed)
}

// greeted reads what greeting has written.
func greeted(c net.Conn) (soakPlan, error) {
	var b [65536]byte
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return soakPlan{}, err
	}
	if b[0] == 22 {
		if _, err := io.ReadFull(c, b[:4]); err != nil {
			return soakPlan{}, err
		}
		n := int(binary.BigEndian.Uint16(b[2:])) + 1
		if _, err := io.ReadFull(c, b[:n]); err != nil {
			return soakPlan{}, err
		}
	}
	if _, err := io.ReadFull(c, b[:8]); err != nil {
		return soakPlan{}, err
	}
	return planOf(binary.BigEndian.Uint64(b[:8])), nil
}

// noiseOf is what a side says.
func (p *soakPlan) noiseOf(s side, n int64) io.Reader { return noise(p.seed<<1|uint64(s), n) }

// play is one side's part; it returns what is wrong.
func (p *soakPlan) play(s side, c *net.TCPConn) error {
	var heard, said error
	say := func() { said = p.say(s, c) }
	hear := func() { heard = p.hear(s, c) }
	switch {
	case p.reset() && p.resets() == s:
		// The reader ends with the socket; what it hears is a prefix or less.
		var reader sync.WaitGroup
		reader.Go(func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{c}) })
		say()
		sendRST(c)
		reader.Wait()
		return nil
	case p.end == endRequest && s == sideClient, p.end == endReply && s == sideBackend:
		say()
		hear()
	case p.end == endRequest, p.end == endReply:
		hear()
		say()
	default:
		var writer sync.WaitGroup
		writer.Go(say)
		hear()
		writer.Wait()
	}
	if !p.reset() {
		return errors.Join(heard, said)
	}
	// The other side has reset. A read or a write must have told of it, and FIN must not be what was seen instead.
	if !isReset(heard) && !isReset(said) {
		return fmt.Errorf("RST not seen: %w", errors.Join(heard, said))
	}
	return nil
}

// say writes the side's noise in random pieces, and FIN.
func (p *soakPlan) say(s side, c *net.TCPConn) error {
	n := p.size[s]
	resets := p.reset() && p.resets() == s
	if resets {
		n = p.cut
	}
	in := p.noiseOf(s, n)
	rng := rand.New(rand.NewPCG(p.seed, uint64(s)))
	buf := make([]byte, 100_000)
	for n > 0 {
		k := min(n, 1+rng.Int64N(1<<rng.IntN(17)))
		_, _ = io.ReadFull(in, buf[:k])
		if _, err := c.Write(buf[:k]); err != nil {
			return err
		}
		n -= k
	}
	if resets {
		return nil
	}
	return c.CloseWrite()
}

// hear reads all that the other side says and compares it.
func (p *soakPlan) hear(s side, c *net.TCPConn) error {
	in := p.noiseOf(s.other(), p.size[s.other()])
	rng := rand.New(rand.NewPCG(p.seed, 2+uint64(s)))
	got, want := make([]byte, 100_000), make([]byte, 100_000)
	var total int64
	for {
		n, err := c.Read(got[:1+rng.IntN(1<<rng.IntN(17))])
		if _, short := io.ReadFull(in, want[:n]); n > 0 && (short != nil || string(got[:n]) != string(want[:n])) {
			return fmt.Errorf("bytes behind offset %d are not those that were sent", total)
		}
		total += int64(n)
		switch {
		case err == io.EOF && total != p.size[s.other()]:
			return fmt.Errorf("FIN after %d of %d bytes", total, p.size[s.other()])
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// TestSoak: many conns at once, in both directions, in all sizes, cut anyhow, ending in every way. Every byte is equal,
// up to a reset; FIN is seen as FIN, RST as RST; and the rig checks that nothing is left.
func TestSoak(t *testing.T) {
	const atOnce = 50
	r := newRig(t)
	problem := func(who string, p soakPlan, err error) {
		if err != nil {
			t.Errorf("%s of %+v: %v", who, p, err)
		}
	}
	var played atomic.Uint64 // by backends
	for range 3 {
		r.serve(func(c *net.TCPConn) {
			defer played.Add(1)
			p, err := greeted(c)
			if err == nil {
				problem("backend", p, p.play(sideBackend, c))
			} else if !isReset(err) {
				t.Errorf("greeting: %v", err) // a client may reset at once
			}
		})
	}
	r.start(func(c *Config) { c.Loops = 2 })
	turns := make(chan uint64)
	var clients sync.WaitGroup
	for range atOnce {
		clients.Go(func() {
			for seed := range turns {
				p := planOf(seed)
				c := r.dial()
				if _, err := c.Write(p.greeting()); err != nil {
					t.Errorf("greeting: %v", err)
				}
				problem("client", p, p.play(sideClient, c))
				c.Close()
			}
		})
	}
	for i := range soakConns {
		turns <- uint64(i)
	}
	close(turns)
	clients.Wait()
	r.ended(soakConns)
	r.await("the backends have heard all", func() bool { return played.Load() == r.b.Stats().Connects })
	s := r.b.Stats()
	t.Logf("%d conns, %d bytes in, %d out, %d spliced, terminations %v", s.Accepted, s.BytesIn, s.BytesOut, s.Spliced, s.Terminations)
}
