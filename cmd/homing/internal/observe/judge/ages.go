package judge

import "homing/balancer/affinity"

// A client whose offer is refused gets a new session; behind homing it would have kept the old one, until that is too old.
// So each session of TLS <= 1.2 has a root: when the one was issued that the client would offer in its place. (In TLS 1.3
// each handshake gives new tickets, whatever comes of the offer.)

const (
	// keptAnyway is how long every server keeps a session that keeps any, in seconds: the shortest time that any of them
	// comes with (nginx, Apache, OpenSSL).
	keptAnyway = 300

	// fewExpired is how many sessions that their own servers found too old make an age a limit.
	fewExpired = 3
)

// kept is how long servers keep what they have issued, as far as it was seen.
type kept struct {
	oldest  uint32 // the age of the eldest that was accepted at home, in seconds
	expired uint64 // refused there at a greater age
}

// limit is the age from which on sessions are refused, and whether that is sure; if not, they may be good for longer.
func (k *kept) limit(hint uint32) (age uint32, sure bool) {
	if hint > 0 {
		return hint, true
	}
	return max(k.oldest, keptAnyway), k.expired >= fewExpired && k.oldest > 0
}

// ages notes how old the session would have been that the client would have offered behind homing.
func (j *Judge) ages(st *conn, r *row, by Stratum, home, accepted bool) {
	var k affinity.Key
	switch st.offer.Kind {
	case affinity.OfferID:
		k = st.offer.ID
	case affinity.OfferTicket:
		k = st.offer.Idents[0].Exact
	case affinity.OfferNone, affinity.OfferPSK:
	}
	born := j.bornAt(k)
	if born == 0 || born > j.now || by == ByNothing {
		return
	}
	age := j.now - born
	of := &j.kept[st.offer.Kind]
	if home && accepted {
		of.oldest = max(of.oldest, age)
	} else if home {
		of.expired += one(age > of.oldest)
		return // with homing it would have been refused too
	}
	root := born
	if earlier, _, ok := j.roots.Lookup(k, j.now); ok {
		root = earlier
	}
	var hint uint32
	if st.offer.Kind == affinity.OfferTicket {
		hint = st.service.hint
	}
	if limit, sure := of.limit(hint); age <= limit && j.now-root > limit {
		r.Outlived += one(sure)
		r.MayOutlive += one(!sure)
		root = j.now // it is refused, and the client gets another
	}
	st.root = root
	if accepted {
		j.roots.Insert(k, root, j.now+birthLife, j.now)
	}
}

// inherit gives the session that st's server issues the root of the one that it takes the place of.
func (j *Judge) inherit(st *conn, k affinity.Key) {
	if st.root != 0 && k != 0 {
		j.roots.Insert(k, st.root, j.now+birthLife, j.now)
	}
}
