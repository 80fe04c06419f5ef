package judge

import (
	"maps"
	"math/bits"
	"slices"

	"homing/balancer/affinity"
)

// birthEntries is how many session IDs and tickets of TLS <= 1.2 have their time of issue remembered, at 27 bytes.
const birthEntries = 256 << 10

// birthLife is for how long, in seconds.
const birthLife = 24 * 60 * 60

// born notes when a session ID or ticket was issued.
func (j *Judge) born(k affinity.Key) {
	if k != 0 {
		j.births.Insert(k, j.now, j.now+birthLife, j.now)
		j.roots.Delete(k)
	}
}

// proofs is what one address shows of the ages of sessions: who refuses a younger one than it accepts, and accepts again
// after that, is several.
type proofs struct {
	oldest  uint32           // the age of the eldest that was accepted, in seconds
	refused [ageSteps]uint64 // by age: see ageStep
}

// ageSteps is enough for 2^32 seconds in steps of a quarter.
const ageSteps = 128

// ageStep is a number that grows with the age, by four for each doubling.
func ageStep(age uint32) int {
	if age < 4 {
		return int(age)
	}
	n := bits.Len32(age) - 3
	return n<<2 + int(age>>n)
}

// proven is the refused ones that were younger than one that was accepted.
func (p *proofs) proven() (n uint64) {
	for _, k := range p.refused[:ageStep(p.oldest)] {
		n += k
	}
	return n
}

// proofs notes what a verdict on an offer says of what stands behind an address.
func (j *Judge) proofs(st *conn, accepted bool) {
	by, home := stratum(st, st.service.id)
	j.link(st, by, home)
	p := &st.service.proof
	switch st.offer.Kind {
	case affinity.OfferID:
		p[0].aged(j.bornAt(st.offer.ID), j.now, accepted)
	case affinity.OfferTicket:
		p[1].aged(j.bornAt(st.offer.Idents[0].Exact), j.now, accepted)
		j.keys.offered(st, accepted, j.now)
	case affinity.OfferPSK:
		// Its issue was not to be seen: the client's last handshake was, and nothing that it has is younger.
		p[2].aged(j.clients.completedAt(st.client, j.now), j.now, accepted)
		j.keys.offered(st, accepted, j.now)
	case affinity.OfferNone:
	}
}

// bornAt is when a session ID or ticket was issued; 0: that was not seen.
func (j *Judge) bornAt(k affinity.Key) uint32 {
	born, _, _ := j.births.Lookup(k, j.now)
	return born
}

// aged notes the verdict on what was issued at born.
func (p *proofs) aged(born, now uint32, accepted bool) {
	if born == 0 || born > now {
		return
	}
	age := now - born
	if accepted {
		p.oldest = max(p.oldest, age)
	} else {
		p.refused[ageStep(age)]++
	}
}

// proven is the offers that an address refused and one of its servers would have taken, as far as can be told, by kind.
func (s *service) proven() (by provenBy) {
	by[affinity.OfferID] = s.proof[0].proven()
	by[affinity.OfferTicket] = s.proof[1].proven()
	by[affinity.OfferPSK] = min(s.alive, s.proof[2].proven())
	return by
}

// provenBy is what is proven, by kind of offer.
type provenBy [affinity.NumOfferKinds]uint64

func (p *provenBy) sum() (n uint64) {
	for _, k := range p {
		n += k
	}
	return n
}

// keyUses is the ticket keys of each service by their first 16 bytes, which all of one key have in common in most stacks.
type keyUses struct {
	uses map[keyAt]*keyUse
}

type keyAt struct {
	service uint32
	first   affinity.Key
}

// keyUse is how one key was used at one service.
type keyUse struct {
	name             string       // the server name that it issued for, first
	one              affinity.Key // a ticket under it
	several          bool         // there were others: it is a key
	issued, accepted span
	pending          uint64 // refused since the last acceptance
}

// span is from the first to the last time of something, in Unix seconds.
type span struct {
	first, last uint32
	n           uint64
}

func (s *span) add(now uint32) {
	if s.n == 0 {
		s.first = now
	}
	s.last = max(s.last, now)
	s.n++
}

// maxKeyUses bounds the keys, 200 bytes each. Tickets without names are all keys of their own, which go first.
const maxKeyUses = 8192

func (k *keyUses) at(service uint32, t affinity.Key, exact affinity.Key) *keyUse {
	if k.uses == nil {
		k.uses = make(map[keyAt]*keyUse)
	}
	id := keyAt{service, t}
	u := k.uses[id]
	if u == nil {
		if len(k.uses) >= maxKeyUses && !k.sweep() {
			return nil
		}
		u = &keyUse{one: exact}
		k.uses[id] = u
	}
	u.several = u.several || u.one != exact
	return u
}

// sweep drops what is no key, or never showed that it is one. Clients can offer what they like, under as many names as they
// like: if it is still too much, what no server has issued or accepted goes too.
func (k *keyUses) sweep() bool {
	maps.DeleteFunc(k.uses, func(_ keyAt, u *keyUse) bool { return !u.several })
	if len(k.uses) >= maxKeyUses/2 {
		maps.DeleteFunc(k.uses, func(_ keyAt, u *keyUse) bool { return u.issued.n+u.accepted.n == 0 })
	}
	return len(k.uses) < maxKeyUses
}

// issued notes a ticket that st's service has issued.
func (k *keyUses) issued(st *conn, t affinity.Ident, now uint32) {
	if u := k.at(st.service.id, t.First, t.Exact); u != nil {
		if u.issued.n == 0 {
			u.name = st.name
		}
		u.issued.add(now)
	}
}

// offered notes the verdict on an offer: who refuses a ticket under a key, and accepts others under it before and after,
// has a server without that key, or one that found the ticket too old.
func (k *keyUses) offered(st *conn, accepted bool, now uint32) {
	if st.offer.N == 0 {
		return
	}
	t := &st.offer.Idents[0]
	u := k.at(st.service.id, t.First, t.Exact)
	if u == nil {
		return
	}
	switch {
	case accepted:
		u.accepted.add(now)
		if u.several && st.offer.Kind == affinity.OfferPSK {
			st.service.alive += u.pending
		}
		u.pending = 0
	case u.accepted.n > 0:
		u.pending++
	}
}

// atOnce is the most spans that have a moment in common.
func atOnce(spans []span) (most int) {
	type end struct {
		at   uint32
		step int
	}
	var ends []end
	for _, s := range spans {
		ends = append(ends, end{s.first, 1}, end{s.last, -1})
	}
	slices.SortFunc(ends, func(a, b end) int {
		if a.at != b.at {
			return int(int64(a.at) - int64(b.at))
		}
		return a.step - b.step // what ends where another begins has nothing in common with it
	})
	n := 0
	for _, e := range ends {
		n += e.step
		most = max(most, n)
	}
	return most
}
