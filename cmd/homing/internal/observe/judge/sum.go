package judge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/flow"
)

// day is how long a ticket key may be in use.
const day = 24 * time.Hour

// Findings sums up. It may be called at any time.
func (j *Judge) Findings() *Findings {
	j.store.Step(j.now)
	j.later.look(j.now)
	f := &Findings{
		Format: Format, Begun: j.first, Ended: j.last, Observed: j.observed.Seconds(), SetBack: j.back,
		ByName: []Row{}, Servers: []Server{}, Keys: []Key{}, // for programs: an empty list is a list
	}
	part := j.parts()
	counted := func(r *row) bool { return part[r.service] }
	f.View = j.view(part)
	exact := f.View.Kind == ViewBetween || f.View.Kind == ViewBoth
	f.Ground = Ground{exact: exact, hidden: j.hidden(), servers: servers(part)}
	parts := map[rowKey]*Tally{}
	add := func(k rowKey, t *Tally) {
		if parts[k] == nil {
			parts[k] = &Tally{}
		}
		parts[k].Plus(t)
	}
	var total Tally
	for _, r := range j.rows {
		if !counted(r) {
			continue
		}
		total.Plus(&r.Tally)
		f.Tallies[r.key.kind].Plus(&r.Tally)
		add(rowKey{version: r.key.version, kind: r.key.kind}, &r.Tally)
	}
	j.findServers(f, counted)
	f.Total = f.Ground.outcome(&f.Tallies)
	f.Kinds = j.partRows(f.Ground, parts, false)
	j.findRows(f, counted)
	f.Costs = costs(&f.Total, &total)
	f.Costs.Certificates = j.certificatesOfLost(counted)
	j.findKeys(f)
	for _, kind := range []affinity.OfferKind{affinity.OfferTicket, affinity.OfferPSK} {
		f.Keyless += f.Tallies[kind].By[ByClient].all() + f.Tallies[kind].By[ByNothing].all()
	}
	j.findRest(f)
	return f
}

// Outcome is what tallies come to, the difference of two looks at Findings.Tallies too.
func (g Ground) Outcome(t *[affinity.NumOfferKinds]Tally) Outcome { return g.outcome(t) }

func (g Ground) outcome(kinds *[affinity.NumOfferKinds]Tally) Outcome {
	var all Tally
	var p Prediction
	for kind := range kinds {
		t := &kinds[kind]
		all.Plus(t)
		if g.exact {
			p.plus(ground{g.hidden, g.servers}.predict(t, affinity.OfferKind(kind)))
		} else {
			p.plus(bound(t, g.proven[kind], g.servers))
		}
	}
	return newOutcome(&all, p, g.exact)
}

func newOutcome(t *Tally, p Prediction, exact bool) Outcome {
	o := Outcome{
		Handshakes: t.Handshakes(), Fresh: t.Fresh, Failed: t.Failed, Offers: t.Offers(), Accepted: t.Accepted,
		Refused: t.Refused, Undecided: t.Undecided, DoubtfulIDs: t.Junk, Lost: t.Lost(), Homing: p, Seen: exact,
		Outlived: t.Outlived, MayOutlive: t.MayOutlive,
		LostShare: ratio(float64(t.Lost()), float64(t.Accepted+t.Lost())), Why: map[string]uint64{},
	}
	for w := range NumWhys {
		if t.Why[w] > 0 {
			o.Why[w.String()] = t.Why[w]
		}
	}
	saved := func(accepted float64) float64 { return ratio(accepted-float64(t.Accepted), float64(t.Lost())) }
	o.Saved = Prediction{saved(p.Accepted), saved(p.Low), saved(p.High)}
	return o
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

const (
	// fewAddresses of clients among so many conns are those of a balancer.
	fewAddresses = 4
	manyConns    = 100
)

// hidden reports whether clients have the balancer's addresses.
func (j *Judge) hidden() bool {
	return j.clients.Addresses <= fewAddresses && j.conns.Opened >= manyConns && !j.pairs.seen()
}

// findServers sums up by address, and what stands behind those that are one for many.
func (j *Judge) findServers(f *Findings, counted func(*row) bool) {
	kinds := make(map[uint32]*[affinity.NumOfferKinds]Tally)
	for _, r := range j.rows {
		id := r.service.id
		if kinds[id] == nil {
			kinds[id] = new([affinity.NumOfferKinds]Tally)
		}
		kinds[id][r.key.kind].Plus(&r.Tally)
	}
	most := 1
	for _, s := range append(slices.Clip(j.order), j.rest) {
		t := kinds[s.id]
		if t == nil {
			continue
		}
		v := Server{Address: s.name(), Role: s.role.String(), Given: s.given, Counted: counted(&row{service: s}), AtLeast: 1}
		g := f.Ground
		if g.exact = g.exact && s.role != RoleFront; !g.exact {
			g.proven = s.proven()
			v.Proven = g.proven.sum()
			v.AtLeast, v.KeysAtOnce = j.keys.servers(s, v.Proven)
			g.servers = max(v.AtLeast, v.KeysAtOnce)
			most = max(most, g.servers)
			if v.Counted {
				for kind, n := range g.proven {
					f.Ground.proven[kind] += n
				}
			}
		}
		v.Outcome = g.outcome(t)
		f.Servers = append(f.Servers, v)
	}
	if !f.Ground.exact {
		f.Ground.servers = most
	}
}

func (s *service) name() string {
	if s.id == 0 {
		return Others
	}
	return s.addr.String()
}

// servers is how many servers stand behind an address at least, and how many keys were in use at once.
func (k *keyUses) servers(s *service, proven uint64) (least, keys int) {
	issued := make(map[string][]span) // by name: a server may have a key for each
	var used []span
	for id, u := range k.uses {
		if id.service != s.id || !u.several {
			continue
		}
		if u.issued.n > 1 {
			issued[u.name] = append(issued[u.name], u.issued)
		}
		whole := u.accepted
		if u.issued.n > 0 {
			whole.first = min(cmp.Or(whole.first, u.issued.first), u.issued.first)
			whole.last = max(whole.last, u.issued.last)
		}
		used = append(used, whole)
	}
	least = 1
	if proven > 0 {
		least = 2
	}
	for _, spans := range issued {
		least = max(least, atOnce(spans))
	}
	return least, atOnce(used)
}

// findRows sums up by name, and lists all that was counted apart.
func (j *Judge) findRows(f *Findings, counted func(*row) bool) {
	names := map[rowKey]*Tally{}
	byKind := map[string]*[affinity.NumOfferKinds]Tally{}
	for _, r := range j.rows {
		if !counted(r) {
			continue
		}
		k := rowKey{name: r.key.name}
		if names[k] == nil {
			names[k], byKind[r.key.name] = &Tally{}, new([affinity.NumOfferKinds]Tally)
		}
		names[k].Plus(&r.Tally)
		byKind[r.key.name][r.key.kind].Plus(&r.Tally)
	}
	g := f.Ground
	g.proven = provenBy{} // it is known by address alone
	for k, t := range names {
		f.ByName = append(f.ByName, Row{Name: k.name, Outcome: g.outcome(byKind[k.name]), Flight: t.flights()})
	}
	sortRows(f.ByName)
	all := map[rowKey]*Tally{}
	for k, r := range j.rows {
		all[k] = &r.Tally
	}
	f.Rows = j.partRows(g, all, true)
}

// partRows makes rows of parts.
func (j *Judge) partRows(g Ground, parts map[rowKey]*Tally, whole bool) []Row {
	rows := make([]Row, 0, len(parts))
	for k, t := range parts {
		var kinds [affinity.NumOfferKinds]Tally
		kinds[k.kind] = *t
		r := Row{Name: k.name, Version: version(k.version), Kind: k.kind.String(), Flight: t.flights()}
		here := g
		if whole {
			s := j.rest
			if k.service > 0 {
				s = j.order[k.service-1]
			}
			r.Service = s.name()
			here.exact = here.exact && s.role != RoleFront
		}
		r.Outcome = here.outcome(&kinds)
		rows = append(rows, r)
	}
	sortRows(rows)
	return rows
}

func sortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Handshakes, a.Handshakes), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
}

func version(v uint16) string {
	switch v {
	case 0:
		return "none"
	case 0x0300:
		return "SSL 3.0"
	case 0x0301, 0x0302, 0x0303, 0x0304:
		return fmt.Sprintf("TLS 1.%d", v-0x0301)
	}
	return fmt.Sprintf("0x%04x", v)
}

func (t *Tally) flights() Flights {
	return Flights{
		Full:    ratio(float64(t.Cost.FullFlight), float64(t.Cost.FullFlights)),
		Resumed: ratio(float64(t.Cost.ResumedFlight), float64(t.Cost.ResumedFlights)),
	}
}

// assumedResumed is the length of a flight that resumes where none was seen, in bytes: ServerHello, and Finished.
const assumedResumed = 250

// costs is what the lost resumptions have cost.
func costs(o *Outcome, t *Tally) Costs {
	flights := t.flights()
	resumed := cmp.Or(flights.Resumed, assumedResumed)
	lost := float64(o.Lost)
	return Costs{
		CPU:           []CPU{},
		RoundTrips:    ratio(float64(t.Cost.Trips), float64(t.Refused)) * lost,
		RoundTripTime: ratio(t.Cost.TripTime.Seconds(), float64(t.Cost.TripsTimed)),
		Bytes:         max(flights.Full-resumed, 0) * lost,
		Handshakes:    o.Lost,
	}
}

// findKeys lists the ticket keys.
func (j *Judge) findKeys(f *Findings) {
	pools := []*affinity.Pool{j.pool}
	if !f.Ground.exact {
		pools = append(pools, j.front)
	}
	for _, pool := range pools {
		for _, k := range pool.HeldKeys(j.now) {
			key := Key{Holders: []string{}, ID: fmt.Sprintf("%08x", uint32(k.Key>>32)), Length: k.Len}
			var since, last uint32
			for i, h := range k.Homes {
				if i == 0 {
					since = h.Since
				}
				since, last = min(since, h.Since), max(last, h.Last)
				key.Uses += h.Count
				if h.ID > 0 && int(h.ID) <= len(j.order) {
					key.Holders = append(key.Holders, j.order[h.ID-1].name())
				}
			}
			slices.Sort(key.Holders)
			key.Since, key.Last = time.Unix(int64(since), 0).UTC(), time.Unix(int64(last), 0).UTC()
			key.Old = key.Last.Sub(key.Since) > day
			f.Keys = append(f.Keys, key)
		}
	}
}

// findRest fills in what is told as it was counted.
func (j *Judge) findRest(f *Findings) {
	h, n := &j.hellos, float64(j.hellos.Count)
	share := func(k uint64) float64 { return ratio(float64(k), n) }
	f.Hellos = HelloFindings{
		Count: h.Count, MeanBytes: ratio(float64(h.Bytes), n), Longest: h.Longest, TLS13: share(h.TLS13),
		PostQuantum: share(h.PostQuantum), ECH: share(h.ECH), EarlyData: share(h.EarlyData), NoName: share(h.NoName),
		Retries: share(h.Retries),
	}
	for i, k := range h.Sizes {
		s := SizeCount{Count: k}
		if sizes := HelloSizes(); i < len(sizes) {
			s.UpTo = sizes[i]
		}
		f.Hellos.Sizes = append(f.Hellos.Sizes, s)
	}
	c := &j.clients.Clients
	f.Clients = ClientFindings{
		Seen: c.Seen, Returned: c.Returned, Never: c.Returned - c.Offering, Without: c.Without, Addresses: c.Addresses,
		Hidden: f.Ground.hidden && f.Ground.exact,
	}
	u := &j.conns
	f.Unjudged = UnjudgedFindings{
		Opened: u.Opened, Opaque: u.Opaque, Invalid: u.Invalid, Silent: u.Silent, Unanswered: u.Unanswered,
		Offers: u.UnjudgedOffers, Why: map[string]uint64{},
	}
	var missing uint64 // of conns that may have had a handshake
	for why := range flow.NumEnds {
		k := u.Unjudged[why]
		if k == 0 {
			continue
		}
		f.Unjudged.Why[why.String()] = k
		f.Unjudged.Missing += k
		if why != flow.EndUnseen {
			missing += k
		}
	}
	f.Unjudged.Bound = ratio(float64(missing), float64(missing+j.handshakes()))
}

func (j *Judge) handshakes() (n uint64) {
	for r := range maps.Values(j.rows) {
		n += r.Handshakes()
	}
	return n
}
