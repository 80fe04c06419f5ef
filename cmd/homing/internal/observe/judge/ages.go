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

// Aged counts the offers whose age is known, by what homing would have made of them.
type Aged struct {
	Cell           // these offers, as in Tally.By
	Stays   uint64 // accepted, and young enough with homing too
	Good    uint64 // young enough with homing, and not asked at home, or too old there today
	Old     uint64 // too old with homing
	Perhaps uint64 // beyond what was seen of the servers: too old or not
	// Young is those asked at home that were not too old: refused for another reason, or accepted.
	YoungAccepted, YoungRefused uint64
}

func (g *Aged) plus(o *Aged) {
	g.Cell.plus(&o.Cell)
	for i, p := range g.counts() {
		*p += *o.counts()[i]
	}
}

func (g *Aged) minus(o *Aged) {
	g.Cell.minus(&o.Cell)
	for i, p := range g.counts() {
		*p -= min(*p, *o.counts()[i])
	}
}

func (g *Aged) counts() [6]*uint64 {
	return [...]*uint64{&g.Stays, &g.Good, &g.Old, &g.Perhaps, &g.YoungAccepted, &g.YoungRefused}
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
	if born == 0 || born > j.now || by != BySession && by != ByKey && by != ByHint {
		return
	}
	age, of := j.now-born, &j.kept[st.offer.Kind]
	crowd := st.service.role != RoleBackend // home and away cannot be told, as far as is known by now
	if home && accepted {
		of.oldest = max(of.oldest, age)
	} else if home && !crowd {
		of.expired += one(age > max(of.oldest, keptAnyway/2))
	}
	root := born
	if other, _, ok := j.roots.Lookup(k, j.now); ok {
		root = other
	}
	var hint uint32
	if st.offer.Kind == affinity.OfferTicket {
		hint = st.service.hint
	}
	limit, sure := of.limit(hint)
	young, g := age <= limit || accepted, &r.Aged
	if crowd {
		if j.now-root > limit {
			r.Outlived += one(sure && young)
			r.MayOutlive += one(!sure && young)
			root = j.now
		}
		j.keepRoot(st, k, root, accepted)
		return
	}
	g.add(home, accepted)
	switch {
	case home && young && accepted:
		g.YoungAccepted++
	case home && young:
		g.YoungRefused++
	}
	switch kept := j.now-root <= limit; {
	case home && !accepted && (young || root <= born): // homing can do nothing: it would be as old, or older
		root = j.now
	case kept && accepted, home && accepted && root >= born:
		g.Stays++
	case kept:
		g.Good++
	default:
		g.Old += one(sure)
		g.Perhaps += one(!sure)
		r.Outlived += one(sure && young)
		r.MayOutlive += one(!sure && young)
		root = j.now // the client gets another
	}
	j.keepRoot(st, k, root, accepted)
}

// keepRoot notes the root of the session that the client goes on with: what was offered, or what it is given.
func (j *Judge) keepRoot(st *conn, k affinity.Key, root uint32, accepted bool) {
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
