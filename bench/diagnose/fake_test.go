package diagnose

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"homing/bench/tlscore"
)

// fakeBackend is a server with a session cache and a ticket key.
type fakeBackend struct {
	key      string // name of the ticket key, 16 bytes; empty: none in the ticket
	secret   string // what makes two keys the same; empty: key
	noCache  bool   // session IDs are given and forgotten
	noIDs    bool
	noTicket bool   // in TLS 1.2
	no13     bool   // TLS 1.3 without tickets
	stateful bool   // TLS 1.3 tickets are names of entries
	once     bool   // they are good for one conn
	never    bool   // tickets are given and refused
	bound    string // what tickets of the same key are bound to, 4 bytes
	renewed  bool   // TLS 1.3 tickets of resumed conns are refused
	every    int    // one of so many offers is refused, for once
	offers   int
	only     uint16
	down     bool
	noRoute  bool // for want of a way there
	sessions map[string]bool
}

// fakeSite is an address with backends behind it, which take turns.
type fakeSite struct {
	backends []*fakeBackend
	turn     int
	conns    int
	bySource bool                    // the client's address chooses
	home     map[string]*fakeBackend // of sessions that it gave, nil: they take turns
}

// fakeNet is a visitor of sites, by address.
type fakeNet map[string]*fakeSite

func (n fakeNet) visit(_ context.Context, a *Address, k tlscore.Kind, s *tlscore.Session) visit {
	site := n[a.Addr]
	if site == nil {
		return visit{err: errors.New("cannot connect: connection refused"), final: true}
	}
	b := site.backends[site.turn%len(site.backends)]
	site.turn++
	site.conns++
	if site.bySource {
		b = site.backends[a.source%len(site.backends)]
	}
	if site.home == nil {
		return b.meet(k, s)
	}
	name := func(s *tlscore.Session) string { return string(append(slices.Clone(s.ID), s.Ticket...)) }
	if s != nil && site.home[name(s)] != nil {
		b = site.home[name(s)]
	}
	v := b.meet(k, s)
	for _, given := range v.sessions {
		site.home[name(given)] = b
	}
	return v
}

func (b *fakeBackend) meet(k tlscore.Kind, s *tlscore.Session) visit {
	if b.down {
		return visit{err: errors.New("cannot connect: connection refused"), final: true, noRoute: b.noRoute}
	}
	version := uint16(tls.VersionTLS12)
	if k == tlscore.OfferPSK {
		version = tls.VersionTLS13
	}
	if b.only != 0 && b.only != version {
		return visit{err: errors.New("the server does not speak " + tls.VersionName(version)), refused: true}
	}
	if b.sessions == nil {
		b.sessions = map[string]bool{}
	}
	if s != nil {
		b.offers++
	}
	if s != nil && (b.every == 0 || b.offers%b.every > 0) && b.accepts(k, s) {
		v := visit{resumed: true}
		if k == tlscore.OfferPSK {
			v.sessions = b.give(k)[:1]
			b.sessions["renewed "+string(v.sessions[0].Ticket)] = b.renewed
		} else {
			v.sessions = []*tlscore.Session{s}
		}
		return v
	}
	return visit{sessions: b.give(k)}
}

func (b *fakeBackend) accepts(k tlscore.Kind, s *tlscore.Session) bool {
	if b.sessions["renewed "+string(s.Ticket)] {
		return false
	}
	if b.bound != "" && len(s.Ticket) > 0 && string(s.Ticket[16:20]) != b.bound {
		return false
	}
	if k == tlscore.OfferID || k == tlscore.OfferPSK && b.stateful {
		name := string(append(slices.Clone(s.ID), s.Ticket...))
		ok := b.sessions[name]
		if b.once {
			delete(b.sessions, name)
		}
		return ok
	}
	if b.never {
		return false
	}
	id := string(s.Ticket[:16])
	if b.once && b.sessions["used "+string(s.Ticket)] {
		return false
	}
	b.sessions["used "+string(s.Ticket)] = true
	return id == b.key || b.secret != "" && string(s.Ticket[len(s.Ticket)-len(b.secret):]) == b.secret
}

// give returns what a handshake gives: one session in TLS 1.2, two in TLS 1.3.
func (b *fakeBackend) give(k tlscore.Kind) []*tlscore.Session {
	id := random(32)
	switch {
	case k == tlscore.OfferID && b.noIDs, k == tlscore.OfferPSK && b.no13:
		return nil
	case k == tlscore.OfferID, k == tlscore.OfferTicket && b.noTicket:
		if !b.noCache {
			b.sessions[string(id)] = true
		}
		return []*tlscore.Session{{ID: id}}
	case k == tlscore.OfferTicket:
		return []*tlscore.Session{{Ticket: b.ticket(), Lifetime: 300 * time.Second}}
	case b.stateful:
		b.sessions[string(id)] = true
		return []*tlscore.Session{{Ticket: id, Lifetime: 300 * time.Second}}
	}
	return []*tlscore.Session{{Ticket: b.ticket(), Lifetime: 300 * time.Second}, {Ticket: b.ticket(), Lifetime: 300 * time.Second}}
}

func (b *fakeBackend) ticket() []byte {
	if b.key == "" {
		return append(random(120), b.secret...)
	}
	return append(append([]byte(b.key+b.bound), random(120)...), b.secret...)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}

// fixedExaminer is one with the same chances each time.
func fixedExaminer(o *Options, n fakeNet) *examiner {
	return &examiner{options: o, visitor: n, rand: mathrand.New(mathrand.NewPCG(1, 2))}
}

// look examines addresses of a fake network.
func look(n fakeNet, addrs ...string) *Report {
	o := &Options{}
	if err := o.fill(); err != nil {
		panic(err)
	}
	var list []Address
	for _, a := range addrs {
		list = append(list, Address{Target: "www.example.org:443", Addr: a, Name: "www.example.org"})
	}
	return fixedExaminer(o, n).examine(context.Background(), list)
}

// backends makes n of them, each with a key of its own, changed by f.
func backends(n int, f func(*fakeBackend)) []*fakeBackend {
	var list []*fakeBackend
	for range n {
		b := &fakeBackend{key: string(random(16))}
		if f != nil {
			f(b)
		}
		list = append(list, b)
	}
	return list
}
