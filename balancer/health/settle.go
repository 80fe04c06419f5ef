package health

import (
	"context"
	"crypto/tls"
	"log/slog"
	"slices"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

const (
	// maxSamples is how many tickets of a backend are kept, one of each ticket key: more keys than that has a backend
	// with many certificates, and they take turns.
	maxSamples = 8

	// maxDoubts is how many ticket keys one probe looks into: each takes two handshakes, or five where the ticket at
	// hand is too old. The next probe goes on.
	maxDoubts = 4
)

// sample is a ticket that a backend issued to the probe, kept to be offered to others.
type sample struct {
	ident   affinity.Ident
	session *tls.ClientSessionState
	version uint16
	offer   offer // the hello that got it
}

// keep keeps the samples of a probe, of each ticket key the newest.
func (t *target) keep(samples []sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range samples {
		t.samples = slices.DeleteFunc(t.samples, func(old sample) bool { return old.ident.First == s.ident.First })
		t.samples = append(t.samples, s)
	}
	t.samples = slices.Clone(t.samples[max(0, len(t.samples)-maxSamples):])
}

// sample is the newest ticket of the backend under a ticket key.
func (t *target) sample(key affinity.Key) (sample, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range slices.Backward(t.samples) {
		if s.ident.Under(key) {
			return s, true
		}
	}
	return sample{}, false
}

// settle looks into the ticket keys that the backend has refused since it last proved to hold them, and that others
// hold too. Its refusals may mean that the tickets were too old, or junk, and say nothing of the key. A ticket of the
// probe's own that it refuses, and that another backend accepts right after, does: no client has a hand in that. It
// reports whether the backend turned out not to hold one of them.
func (t *target) settle(ctx context.Context) (lost bool) {
	for i, key := range t.known.Doubts(uint32(t.backend.ID)) {
		if i == maxDoubts || ctx.Err() != nil {
			break
		}
		for _, other := range t.others() {
			id := uint32(other.backend.ID)
			if s, ok := other.sample(key); ok && (!t.known.Claims(key, id) || !t.holds(ctx, key)) {
				lost = t.refutes(ctx, key, other, s) || lost
				break
			}
		}
	}
	return lost
}

// others are the other backends of the pool that can be asked.
func (t *target) others() (list []*target) {
	for _, other := range t.prober.list() {
		if other.backend != t.backend && other.backend.Up() && other.backend.Draining() != pool.DrainHard {
			list = append(list, other)
		}
	}
	return list
}

// refutes offers the backend a ticket that another one issued under key, and to that one after it.
func (t *target) refutes(ctx context.Context, key affinity.Key, issuer *target, s sample) bool {
	for range 2 {
		at, id := t.prober.cfg.Store.Now(), uint32(t.backend.ID)
		switch t.takes(ctx, s) {
		case takesUnclear:
			return false
		case takesIt:
			t.known.Shown(s.ident, id, t.prober.cfg.Store.Now())
			return false
		case takesNot:
		}
		switch issuer.takes(ctx, s) {
		case takesUnclear:
			return false
		case takesIt:
			t.known.Refuted(key, id, at)
			other := slog.String("other", issuer.backend.Addr.String())
			t.log(slog.LevelInfo, "the backend does not hold a ticket key that another one does", other)
			return true
		case takesNot: // too old by now, or used up
		}
		var ok bool
		if s, ok = issuer.renew(ctx, s, key); !ok {
			return false
		}
	}
	return false
}

// holds reports whether the backend issues tickets under key, and takes them back: then those of somebody who only
// claims to hold the key say nothing against it.
func (t *target) holds(ctx context.Context, key affinity.Key) bool {
	s, ok := t.sample(key)
	if !ok {
		return false
	}
	if t.takes(ctx, s) == takesIt {
		return true
	}
	s, ok = t.renew(ctx, s, key)
	return ok && t.takes(ctx, s) == takesIt
}

// takes is whether a backend resumes a session.
type takes uint8

const (
	takesUnclear takes = iota // no handshake, or one of another version
	takesIt
	takesNot
)

func (t *target) takes(ctx context.Context, s sample) takes {
	o := s.offer
	o.session = s.session
	ans, err := t.shake(ctx, o)
	switch {
	case err != nil || ans.version != s.version:
		return takesUnclear
	case ans.resumed:
		return takesIt
	}
	return takesNot
}

// renew gets another ticket like s from the backend, false if that is not under key.
func (t *target) renew(ctx context.Context, s sample, key affinity.Key) (sample, bool) {
	ans, err := t.shake(ctx, s.offer)
	if err != nil || ans.version != s.version || len(ans.sessions) == 0 {
		return sample{}, false
	}
	s.session = ans.sessions[len(ans.sessions)-1]
	ticket, _, err := s.session.ResumptionState()
	if err != nil {
		return sample{}, false
	}
	s.ident = t.known.HashIdent(ticket)
	if !s.ident.Under(key) {
		return sample{}, false
	}
	t.known.Probed(s.ident, uint32(t.backend.ID), t.prober.cfg.Store.Now())
	t.keep([]sample{s})
	return s, true
}
