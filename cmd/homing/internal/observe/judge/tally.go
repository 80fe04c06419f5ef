package judge

import (
	"time"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/flow"
)

// Why says why an offer was refused.
type Why uint8

// The reasons.
const (
	// WhyElsewhere: another server issued it, or holds the ticket key that it names. homing would have sent it there.
	WhyElsewhere Why = iota
	// WhyLikelyElsewhere: it names no key that is known, and the client's last handshake was at another server, where homing
	// would have sent it.
	WhyLikelyElsewhere
	// WhyExpired to WhyNotKept: a server refused what it had issued itself, or what it holds the key of. No balancer can
	// help. See affinity.Reason.
	WhyExpired
	WhyRotated
	WhyMoved
	WhyNotKept
	// WhyUnknown: nobody is known to have issued it. It is older than the capture, of a kind that cannot be told, or no
	// session at all.
	WhyUnknown
	NumWhys
)

func (w Why) String() string {
	return [...]string{"elsewhere", "likely_elsewhere", "expired", "rotated", "moved", "not_kept", "unknown"}[w]
}

// Stratum says what homing would have gone by: offers of one stratum fare alike.
type Stratum uint8

// The strata. Where a capture lies between balancer and servers, chance has sent some offers of each to where homing would
// have sent them: what became of these says what would have become of the others.
const (
	BySession Stratum = iota // the session ID or ticket was known
	ByKey                    // the name of its key was
	ByClient                 // the client's last handshake
	ByHint                   // one ticket under the same name was known
	ByProbe                  // the name became known later: homing's probe would have known it in time
	ByNothing                // nothing was known
	NumStrata
)

func (s Stratum) String() string {
	return [...]string{"session", "ticket_key", "client", "hint", "probe", "nothing"}[s]
}

// Cell is the offers of a stratum, by whether the server that was asked is one that homing would have asked.
type Cell struct {
	HomeAccepted, HomeRefused, AwayAccepted, AwayRefused uint64
}

func (c *Cell) add(home, accepted bool) { *c.at(home, accepted)++ }

func (c *Cell) at(home, accepted bool) *uint64 {
	switch {
	case home && accepted:
		return &c.HomeAccepted
	case home:
		return &c.HomeRefused
	case accepted:
		return &c.AwayAccepted
	}
	return &c.AwayRefused
}

func (c *Cell) plus(o *Cell) {
	c.HomeAccepted += o.HomeAccepted
	c.HomeRefused += o.HomeRefused
	c.AwayAccepted += o.AwayAccepted
	c.AwayRefused += o.AwayRefused
}

// minus takes an earlier state of c away. Offers move between cells when a key becomes known.
func (c *Cell) minus(o *Cell) {
	c.HomeAccepted -= min(o.HomeAccepted, c.HomeAccepted)
	c.HomeRefused -= min(o.HomeRefused, c.HomeRefused)
	c.AwayAccepted -= min(o.AwayAccepted, c.AwayAccepted)
	c.AwayRefused -= min(o.AwayRefused, c.AwayRefused)
}

func (c *Cell) all() uint64 { return c.HomeAccepted + c.HomeRefused + c.AwayAccepted + c.AwayRefused }

// Tally counts handshakes. It is a plain value.
type Tally struct {
	Fresh     uint64 // full handshakes that had to be: nothing was offered
	Failed    uint64 // no handshake came of it, and nothing was offered
	Accepted  uint64 // offers that were resumed
	Refused   uint64 // offers that became full handshakes
	Undecided uint64 // offers whose answer does not say: an alert, a conn that ends

	Why  [NumWhys]uint64 // of Refused
	By   [NumStrata]Cell // of Accepted and Refused
	Junk uint64          // of Refused and WhyUnknown: session IDs, which many clients invent

	// Outlived is the offers that would have been too old with homing, and MayOutlive those that may; see ages.go.
	Outlived, MayOutlive uint64
	Aged                 Aged

	Cost Cost
}

// Cost is what tells the price of a refused offer.
type Cost struct {
	FullFlight, FullFlights       uint64        // bytes of the servers' first flights in full handshakes; how many
	ResumedFlight, ResumedFlights uint64        // in resumed ones
	Trips                         uint64        // refused offers that cost a round trip more: TLS <= 1.2, and early data
	TripTime                      time.Duration // of these, where the round trip was seen
	TripsTimed                    uint64        // how many
}

// Offers is the offers with a verdict.
func (t *Tally) Offers() uint64 { return t.Accepted + t.Refused }

// Full is the full handshakes.
func (t *Tally) Full() uint64 { return t.Fresh + t.Refused }

// Handshakes is all that came to a ServerHello that can be read.
func (t *Tally) Handshakes() uint64 { return t.Fresh + t.Accepted + t.Refused }

// Lost is the refused offers that are sessions: without what may be none at all.
func (t *Tally) Lost() uint64 { return t.Refused - t.Junk }

// Plus adds o.
func (t *Tally) Plus(o *Tally) {
	t.Fresh += o.Fresh
	t.Failed += o.Failed
	t.Accepted += o.Accepted
	t.Refused += o.Refused
	t.Undecided += o.Undecided
	t.Junk += o.Junk
	t.Outlived += o.Outlived
	t.MayOutlive += o.MayOutlive
	t.Aged.plus(&o.Aged)
	for i := range t.Why {
		t.Why[i] += o.Why[i]
	}
	for i := range t.By {
		t.By[i].plus(&o.By[i])
	}
	c, d := &t.Cost, &o.Cost
	c.FullFlight += d.FullFlight
	c.FullFlights += d.FullFlights
	c.ResumedFlight += d.ResumedFlight
	c.ResumedFlights += d.ResumedFlights
	c.Trips += d.Trips
	c.TripTime += d.TripTime
	c.TripsTimed += d.TripsTimed
}

// Minus takes an earlier state of t away.
func (t *Tally) Minus(o *Tally) {
	t.Fresh -= o.Fresh
	t.Failed -= o.Failed
	t.Accepted -= o.Accepted
	t.Refused -= o.Refused
	t.Undecided -= o.Undecided
	t.Outlived -= o.Outlived
	t.MayOutlive -= o.MayOutlive
	t.Aged.minus(&o.Aged)
	t.Junk -= min(o.Junk, t.Junk) // offers move between strata when a key becomes known
	for i := range t.Why {
		t.Why[i] -= min(o.Why[i], t.Why[i])
	}
	for i := range t.By {
		t.By[i].minus(&o.By[i])
	}
}

// rowKey is what is counted apart.
type rowKey struct {
	service uint32
	name    string
	version uint16
	kind    affinity.OfferKind
}

// row is one of them.
type row struct {
	service *service
	key     rowKey
	Tally
}

// rowOf is where a handshake counts.
func (j *Judge) rowOf(s *service, name string, version uint16, kind affinity.OfferKind) *row {
	k := rowKey{s.id, name, version, kind}
	if r := j.rows[k]; r != nil {
		return r
	}
	if len(j.rows) >= j.cfg.MaxRows {
		k.name = Others
		if r := j.rows[k]; r != nil {
			return r
		}
		if len(j.rows) >= 2*j.cfg.MaxRows { // even without names they are many
			k.service, s = 0, j.rest
			if r := j.rows[k]; r != nil {
				return r
			}
		}
	}
	r := &row{service: s, key: k}
	j.rows[k] = r
	return r
}

// count counts a conn by its verdict.
func (j *Judge) count(c *flow.Conn, st *conn) {
	s := st.service
	if s == nil {
		if s = j.services[c.Server]; s == nil {
			s = j.rest
		}
	}
	kind := st.kind()
	if st.verdict == VerdictAccepted {
		kind = st.offer.Kind // an ID that was none, as it seemed, is one
	}
	r := j.rowOf(s, st.name, st.version, kind)
	st.row = r
	if !j.twice(s) {
		j.clients.hello(st.client, kind != affinity.OfferNone, j.now)
	}
	switch {
	case kind == affinity.OfferNone && st.verdict == VerdictRefused:
		r.Fresh++
	case kind == affinity.OfferNone:
		r.Failed++
	case st.verdict == VerdictUnknown:
		r.Undecided++
	default:
		j.countOffer(st, r)
	}
}

// countOffer counts an offer that was accepted or refused, and why.
func (j *Judge) countOffer(st *conn, r *row) {
	accepted := st.verdict == VerdictAccepted
	id := st.service.id
	by, home := stratum(st, id)
	r.By[by].add(home, accepted)
	why := whyOf(st, by, home, id, j.now)
	if (by == ByNothing || by == ByClient) && st.offer.N > 0 {
		j.later.add(j.now, lateOffer{
			pool: st.pool, ident: st.offer.Idents[0], row: r, id: id, by: by, home: home, accepted: accepted, why: why,
		})
	}
	j.proofs(st, accepted)
	j.ages(st, r, by, home, accepted)
	if accepted {
		r.Accepted++
		return
	}
	r.Refused++
	r.Why[why]++
	if why == WhyUnknown && st.offer.Kind == affinity.OfferID {
		r.Junk++
	}
}

// stratum says what homing would have gone by, and whether server id is where it would have gone.
func stratum(st *conn, id uint32) (by Stratum, home bool) {
	switch st.home.Source {
	case affinity.SourceSession:
		return BySession, st.home.Has(id)
	case affinity.SourceTicketKey:
		return ByKey, st.home.Has(id)
	case affinity.SourceClient:
		// Of an ID the issue would have been seen: homing would go by the client, but who looks on cannot tell it from one
		// that the client has invented.
		if st.offer.Kind != affinity.OfferID {
			return ByClient, st.home.Has(id)
		}
	case affinity.SourceFresh, affinity.SourceExplore:
	}
	if st.hint != 0 {
		return ByHint, st.hint == id
	}
	return ByNothing, false
}

// whyOf says why server id refused an offer.
func whyOf(st *conn, by Stratum, home bool, id, now uint32) Why {
	switch {
	case by == ByNothing, by == ByClient && home:
		return WhyUnknown
	case by == ByClient:
		return WhyLikelyElsewhere
	case !home:
		return WhyElsewhere
	}
	switch st.pool.Lost(&st.offer, st.home, id, now) {
	case affinity.ReasonRotated:
		return WhyRotated
	case affinity.ReasonMoved:
		return WhyMoved
	case affinity.ReasonNotKept:
		return WhyNotKept
	case affinity.ReasonExpired, affinity.ReasonUnknown:
	}
	return WhyExpired
}

// weigh adds what a handshake has cost, once the server's flight is known.
func (r *row) weigh(st *conn, c *flow.Conn) {
	k := &r.Cost
	switch st.verdict {
	case VerdictAccepted:
		k.ResumedFlight += uint64(c.Flight)
		k.ResumedFlights++
		return
	case VerdictRefused:
		k.FullFlight += uint64(c.Flight)
		k.FullFlights++
	case VerdictNone, VerdictUnknown:
		return
	}
	if r.key.kind != affinity.OfferNone && (st.version < versionTLS13 || st.early) {
		k.Trips++
		if c.RTT > 0 {
			k.TripTime += c.RTT
			k.TripsTimed++
		}
	}
}
