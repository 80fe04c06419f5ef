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

// Format is the version of Findings as JSON. Fields come to it without a new number; none changes its meaning or goes.
const Format = 1

// Findings is all that a Judge has found. Times are those of the capture, counts are since its begin, and shares are of 1.
type Findings struct {
	Format   int       `json:"format"`
	Begun    time.Time `json:"begun"`
	Ended    time.Time `json:"ended"`
	Observed float64   `json:"observed_seconds"` // without gaps of over an hour
	// SetBack is how often the clock of the capture went back by more than a minute: files in the wrong order.
	SetBack uint64 `json:"clock_set_back"`

	View    View     `json:"view"`
	Total   Outcome  `json:"total"`
	Kinds   []Row    `json:"kinds"`    // by kind of offer, and version
	ByName  []Row    `json:"names"`    // by server name
	Rows    []Row    `json:"rows"`     // by service, name, version and kind
	Servers []Server `json:"services"` // addresses, in the order in which they were seen

	Costs    Costs            `json:"costs"`
	Keys     []Key            `json:"ticket_keys"`             // the most lately used first
	Keyless  uint64           `json:"offers_without_key_name"` // of tickets and PSKs: those whose key has no name that is known
	Hellos   HelloFindings    `json:"hellos"`
	Clients  ClientFindings   `json:"clients"`
	Unjudged UnjudgedFindings `json:"unjudged"`
	Capture  Capture          `json:"capture"`

	Tallies [affinity.NumOfferKinds]Tally `json:"-"` // of Total, by kind: for differences between two looks
	Ground  Ground                        `json:"-"`
}

// Ground is what turns tallies into an outcome.
type Ground struct {
	exact   bool
	hidden  bool
	servers int
	proven  provenBy
}

// Outcome is what became of handshakes, and what would have with homing.
type Outcome struct {
	Handshakes uint64 `json:"handshakes"` // with a ServerHello that can be read
	Fresh      uint64 `json:"fresh"`      // full handshakes without an offer
	Failed     uint64 `json:"failed"`     // without an offer, and without a handshake
	Offers     uint64 `json:"offers"`     // accepted or refused
	Accepted   uint64 `json:"accepted"`
	Refused    uint64 `json:"refused"`
	Undecided  uint64 `json:"undecided"` // offers whose answer does not say: an alert, the end
	// DoubtfulIDs is the session IDs among Refused that nobody is known to have issued. Many clients invent one for each
	// fresh handshake of TLS 1.2: they are no part of Lost, and not of the prediction's offers.
	DoubtfulIDs uint64            `json:"doubtful_ids"`
	Lost        uint64            `json:"lost"`       // Refused without DoubtfulIDs
	LostShare   float64           `json:"lost_share"` // of Accepted and Lost
	Why         map[string]uint64 `json:"why"`        // of Refused
	Homing      Prediction        `json:"with_homing"`
	// Outlived is the offers of TLS <= 1.2 that would be too old with homing: a client that is not refused keeps its session
	// until it is. MayOutlive is those that are older than what was seen of the servers tells. Homing reckons with both.
	Outlived   uint64 `json:"would_be_too_old"`
	MayOutlive uint64 `json:"may_be_too_old"`
	// Saved is the share of Lost that homing would have brought home, with its bounds.
	Saved Prediction `json:"saved_share"`
	Seen  bool       `json:"counted"` // servers are seen one by one; otherwise it is an estimate within its bounds
}

// Row is an outcome of a part.
type Row struct {
	Service string `json:"service,omitempty"`
	Name    string `json:"server_name"`
	Version string `json:"version,omitempty"`
	Kind    string `json:"kind,omitempty"` // none, id, ticket, psk
	Outcome
	Flight Flights `json:"flight_bytes"`
}

// Flights is the mean length of the servers' first flights, in bytes; 0: none was seen.
type Flights struct {
	Full    float64 `json:"full"`
	Resumed float64 `json:"resumed"`
}

// View is where the capture was made.
type View struct {
	Kind string `json:"kind"` // see the constants
	Why  string `json:"why"`
}

// The views.
const (
	ViewNothing = "nothing" // no handshake was seen
	ViewBetween = "between" // between balancer and servers
	ViewBoth    = "both"    // on the balancer: between, and the clients' side too
	ViewBefore  = "before"  // before the balancer, or before a single server
	ViewApart   = "apart"   // several addresses that have nothing to do with each other, as it seems
)

// Server is one address where servers answer.
type Server struct {
	Address string `json:"address"`
	Role    string `json:"role"`  // alone, backend, front
	Given   bool   `json:"given"` // by a flag
	Outcome
	// AtLeast is how many servers stand behind it for certain, and KeysAtOnce how many ticket keys were in use at the same
	// time. A server that goes over to a new key has two for a while.
	AtLeast    int `json:"servers_at_least"`
	KeysAtOnce int `json:"ticket_keys_at_once"`
	// Proven is the refused offers that another server behind it would have taken, at least.
	Proven uint64 `json:"refused_and_good"`
}

// Costs is what the lost resumptions have cost.
type Costs struct {
	RoundTrips    float64 `json:"round_trips"`        // more than with a resumption
	RoundTripTime float64 `json:"round_trip_seconds"` // of one, between client and server as far as conns here reach; 0: not seen
	Bytes         float64 `json:"bytes"`              // of certificates and signatures, by the lengths of the servers' flights
	Handshakes    uint64  `json:"full_handshakes"`    // of which each costs a signature
	// CPU is what the signatures take of a server, by kind of certificate, which is not to be seen in all versions. The
	// command fills it in.
	CPU []CPU `json:"server_cpu"`
}

// CPU is the price of the signatures.
type CPU struct {
	Certificate string  `json:"certificate"`
	Each        float64 `json:"seconds_each"`
	All         float64 `json:"seconds"`
}

// Key is one ticket key.
type Key struct {
	ID      string    `json:"id"` // a hash of its name, good within one report
	Length  int       `json:"name_bytes"`
	Holders []string  `json:"holders"`
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"`
	Uses    uint64    `json:"uses"`
	// Old says that it was in use for longer than a day: who takes it reads all that was said under it.
	Old bool `json:"older_than_a_day"`
}

// HelloFindings is Hellos for people.
type HelloFindings struct {
	Count       uint64      `json:"count"`
	MeanBytes   float64     `json:"mean_bytes"`
	Longest     int         `json:"longest_bytes"`
	Sizes       []SizeCount `json:"sizes"`
	TLS13       float64     `json:"tls13_share"`
	PostQuantum float64     `json:"post_quantum_share"`
	ECH         float64     `json:"ech_share"` // real or GREASE: who looks on cannot tell
	EarlyData   float64     `json:"early_data_share"`
	NoName      float64     `json:"without_name_share"`
	Retries     float64     `json:"hello_retry_share"`
}

// SizeCount is the hellos up to a length, and above the one before it; 0: above all.
type SizeCount struct {
	UpTo  int    `json:"up_to_bytes"`
	Count uint64 `json:"count"`
}

// ClientFindings is Clients for people.
type ClientFindings struct {
	Seen      uint64 `json:"seen"`
	Returned  uint64 `json:"returned"`
	Never     uint64 `json:"returned_and_never_offered"`
	Without   uint64 `json:"handshakes_of_these"` // a little more: of clients that had not offered until then
	Addresses int    `json:"addresses"`           // up to 256
	Hidden    bool   `json:"hidden"`              // behind the balancer's addresses
}

// UnjudgedFindings is the conns of which nothing is said.
type UnjudgedFindings struct {
	Opened     uint64            `json:"opened"`
	Opaque     uint64            `json:"not_tls"`
	Invalid    uint64            `json:"invalid"`
	Silent     uint64            `json:"without_hello"`
	Unanswered uint64            `json:"unanswered"`
	Missing    uint64            `json:"missing"` // in all, whose packets are not all there
	Why        map[string]uint64 `json:"missing_why"`
	Offers     uint64            `json:"offers"` // among these, offers that were read
	// Bound is by how much shares may be wrong for what is missing: the share of conns with a handshake that is.
	Bound float64 `json:"share"`
}

// Capture is what the source says of itself; the command fills it in.
type Capture struct {
	Source  string `json:"source"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	Dropped uint64 `json:"dropped_by_kernel"`
	Cut     uint64 `json:"cut_by_snap_length"`
	Link    uint64 `json:"of_unknown_link_type"`
	Ended   string `json:"ended,omitempty"` // why it ended before its end
}

// day is how long a ticket key may be in use.
const day = 24 * time.Hour

// Findings sums up. It may be called at any time.
func (j *Judge) Findings() *Findings {
	j.store.Step(j.now)
	j.later.look(j.now)
	f := &Findings{
		Format: Format, Begun: j.first, Ended: j.last, Observed: j.observed.Seconds(), SetBack: j.back,
	}
	f.View = j.view()
	exact := f.View.Kind == ViewBetween || f.View.Kind == ViewBoth
	counted := func(r *row) bool { return !exact || r.service.role != RoleFront }
	f.Ground = Ground{exact: exact, hidden: j.hidden(), servers: j.servers()}
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

// view says where the capture was made.
func (j *Judge) view() View {
	var by [3]int
	given := 0
	for _, s := range j.order {
		by[s.role]++
		given += int(one(s.given))
	}
	behind := plural(by[RoleBackend]+by[RoleAlone], "server", "servers")
	how := "by --backend"
	if n := j.links.n; n > 0 {
		how = fmt.Sprintf("%s went to an address for what another had issued", plural(int(n), "offer", "offers"))
	}
	switch {
	case len(j.order) == 0:
		return View{ViewNothing, "no server has answered a hello"}
	case by[RoleBackend] > 0 && by[RoleFront] > 0:
		return View{ViewBoth, fmt.Sprintf("what comes to %s goes on to %s", plural(by[RoleFront], "address", "addresses"), behind)}
	case by[RoleBackend] > 0:
		return View{ViewBetween, behind + ": " + how}
	case by[RoleAlone]+by[RoleFront] == 1:
		return View{ViewBefore, "one address answers"}
	case by[RoleFront] > 0 && by[RoleAlone] == 0:
		return View{ViewBefore, "by --vip"}
	}
	return View{ViewApart, fmt.Sprintf("%d addresses answer, and none was offered what another had issued", len(j.order))}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// servers is how many addresses have a server of their own.
func (j *Judge) servers() (n int) {
	for _, s := range j.order {
		if s.role != RoleFront {
			n++
		}
	}
	return n
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
		v := Server{Address: s.name(), Role: s.role.String(), Given: s.given, AtLeast: 1}
		g := f.Ground
		if g.exact = g.exact && s.role != RoleFront; !g.exact {
			g.proven = s.proven()
			v.Proven = g.proven.sum()
			v.AtLeast, v.KeysAtOnce = j.keys.servers(s, v.Proven)
			g.servers = max(v.AtLeast, v.KeysAtOnce)
			most = max(most, g.servers)
			if counted(&row{service: s}) {
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
func (j *Judge) partRows(g Ground, parts map[rowKey]*Tally, whole bool) (rows []Row) {
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
			key := Key{ID: fmt.Sprintf("%08x", uint32(k.Key>>32)), Length: k.Len}
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
