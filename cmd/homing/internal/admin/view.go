package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/api"
)

func (s *Server) status(*http.Request) (api.Status, error) {
	src := &s.src
	now := time.Now().UTC()
	why, counted := src.Unready(), src.Stats()
	return api.Status{
		Version: src.Version, Node: src.Name, NodeID: src.Node, Now: now, Started: src.Started.UTC(), Ready: why == "",
		NotReady: why, LogLevel: s.level(), Totals: viewTotals(&counted), Listeners: src.Listeners(),
		Pools:  s.viewPools(src.Pools(), &counted),
		Tables: s.viewTables(s.keeper.tablesLately(now)), Peers: s.viewPeers(), Shortages: src.Shortages(),
	}, nil
}

func (s *Server) listeners(*http.Request) (api.Listeners, error) {
	return api.Listeners{Listeners: s.src.Listeners()}, nil
}

func (s *Server) pools(*http.Request) (api.Pools, error) {
	counted := s.src.Stats()
	return api.Pools{Pools: s.viewPools(s.src.Pools(), &counted)}, nil
}

func (s *Server) tables(*http.Request) (api.Tables, error) {
	return api.Tables{Tables: s.viewTables(s.src.Affinity())}, nil
}

func (s *Server) cluster(*http.Request) (api.Cluster, error) {
	out := api.Cluster{Members: []api.Member{}, Peers: s.viewPeers()}
	if s.src.Members != nil {
		out.Members = append(out.Members, s.src.Members()...)
	}
	return out, nil
}

func viewTotals(st *balancer.Stats) api.Totals {
	t := api.Totals{
		ConnsAccepted: st.Accepted, ConnsOpen: st.Open, Handshakes: st.Handshakes, PreHello: st.PreHello,
		Waiting: st.Waiting, MemoryBytes: st.ConnBytes + st.BufferBytes, BytesIn: st.BytesIn, BytesOut: st.BytesOut,
		Connects: st.Connects, ConnectFailures: st.ConnectFailures, ConnectTimeouts: st.ConnectTimeouts,
		Replays: st.Replays, SecondChances: st.SecondChances,
		Unroutable: st.Unroutable, Shed: st.Shed, Fresh: st.Offers[affinity.OfferNone],
		Routes:  maps.Collect(words(affinity.Source(0), st.Decisions[:])),
		Lost:    maps.Collect(words(balancer.LostNone+1, st.Lost[:])),
		Refused: maps.Collect(words(balancer.RefusedNone+1, st.Refused[:])),
	}
	for kind := affinity.OfferNone + 1; kind < affinity.NumOfferKinds; kind++ {
		v := &st.Verdicts[kind]
		t.Offers = append(t.Offers, api.Offer{
			Kind: kind.String(), Offered: st.Offers[kind], Accepted: v[balancer.VerdictAccepted],
			Refused: v[balancer.VerdictRefused], Unknown: v[balancer.VerdictUnknown],
		})
	}
	return t
}

func (s *Server) viewTables(st affinity.Stats) []api.Table {
	names := poolNames(s.src.Pools())
	share := func(of func(*affinity.PoolStats) affinity.ShareStats) []api.TableShare {
		out := []api.TableShare{}
		for i := range st.Pools {
			if name := names[st.Pools[i].Hash]; name != "" { // other nodes' pools are in the tables too
				part := of(&st.Pools[i])
				out = append(out, api.TableShare{Pool: name, Entries: part.Held, Evicted: part.Evicted})
			}
		}
		return out
	}
	table := func(name string, t *affinity.TableStats, shares []api.TableShare) api.Table {
		return api.Table{
			Name: name, Used: t.Used, Capacity: t.Capacity, Bytes: t.Bytes, Inserts: t.Inserts,
			Evicted: t.Evicted, Shares: shares,
		}
	}
	return []api.Table{
		table("sessions", &st.Entries, share(func(p *affinity.PoolStats) affinity.ShareStats { return p.Entries })),
		table("clients", &st.Clients, share(func(p *affinity.PoolStats) affinity.ShareStats { return p.Clients })),
		table("refusals", &st.Refusals, []api.TableShare{}),
		table("hints", &st.Hints, []api.TableShare{}),
	}
}

// poolNames are the pools by the hash by which affinity knows them.
func poolNames(pools []*pool.Pool) map[uint32]string {
	names := make(map[uint32]string, len(pools))
	for _, p := range pools {
		names[p.Hash()] = p.Name()
	}
	return names
}

// names is what the nodes are called, by ID.
func (s *Server) names() map[string]string {
	names := map[string]string{s.src.Node: s.src.Name}
	if s.src.Members != nil {
		for _, m := range s.src.Members() {
			names[m.ID] = m.Name
		}
	}
	return names
}

// named gives the answers the names of their nodes.
func (s *Server) named(all []api.NodeAnswer) []api.NodeAnswer {
	names := s.names()
	for i := range all {
		all[i].Name = names[all[i].Node]
	}
	return all
}

func (s *Server) viewPeers() []api.Peer {
	out := []api.Peer{}
	if s.src.Cluster == nil {
		return out
	}
	known := s.src.Cluster()
	if known.Sharing == nil {
		return out
	}
	names := s.names()
	for _, p := range known.Sharing.Peers {
		out = append(out, api.Peer{
			ID: p.ID, Name: names[p.ID], State: p.State.String(), Lag: p.Lag.Seconds(), Unacked: p.Unacked,
			BytesIn: p.BytesIn, BytesOut: p.BytesOut, Resyncs: p.Resyncs,
		})
	}
	return out
}

func viewQueue(name string, counted *balancer.Stats) api.Queue {
	i := slices.IndexFunc(counted.Pools, func(p balancer.PoolStats) bool { return p.Name == name })
	if i < 0 {
		return api.Queue{}
	}
	p := &counted.Pools[i]
	return api.Queue{
		Waiting: p.Waiting, Queued: p.Queued, Seconds: p.QueueTime.Seconds(), Timeouts: p.QueueTimeouts,
		Full: p.QueueFull,
	}
}

func (s *Server) viewPools(pools []*pool.Pool, counted *balancer.Stats) []api.Pool {
	v := s.viewer()
	out := []api.Pool{}
	for _, p := range pools {
		snapshot := p.Snapshot()
		all := snapshot.All()
		one := api.Pool{
			Name: p.Name(), Policy: snapshot.Options().Policy.String(), Live: len(snapshot.Live()),
			Queue: viewQueue(p.Name(), counted), Backends: make([]api.Backend, 0, len(all)),
		}
		for _, b := range all {
			one.Backends = append(one.Backends, v.backend(p, b))
		}
		out = append(out, one)
	}
	return out
}

// viewer shows backends with what else is known of them.
type viewer struct {
	now    time.Time
	keeper *keeper
	known  *counted
	probed map[*pool.Backend]*health.Findings
}

func (s *Server) viewer() *viewer {
	v := &viewer{
		now: time.Now(), keeper: s.keeper, known: s.keeper.known(), probed: make(map[*pool.Backend]*health.Findings),
	}
	findings := s.src.Probe()
	for i := range findings {
		v.probed[findings[i].Backend] = &findings[i]
	}
	return v
}

func (v *viewer) backend(p *pool.Pool, b *pool.Backend) api.Backend {
	drain, tally, now := p.DrainStatus(b), b.Tally(), p.Condition(b)
	view := api.Backend{
		Pool: p.Name(), Address: b.Addr.String(), Name: b.Name, ID: fmt.Sprintf("%08x", uint32(b.ID)),
		Health: healthOf(b), HealthSince: utc(now.Since), HealthWhy: now.Why, FreshShare: now.Share,
		WholeAt: utc(now.Whole),
		Drain:   api.Drain{Mode: drain.Mode.String(), Since: utc(drain.Since), Until: utc(drain.End)},
		Report:  p.Report(b).String(), Weight: b.Weight(), MaxConns: b.MaxConns(), ConnectsFailed: b.Failures(),
		ConnsOpen: b.Open(), Conns: tally.Conns, Fresh: tally.Fresh, Accepted: tally.Accepted, Refused: tally.Refused,
		Lost: tally.Lost, BytesIn: tally.BytesIn, BytesOut: tally.BytesOut,
	}
	view.ConnsPerSecond, view.BytesPerSecond = v.keeper.rates(view.Pool, view.Address)
	leads := true // maybe
	if v.known != nil {
		homes := v.known.census.Homes(uint32(b.ID))
		view.Known = &api.Known{
			At: v.known.at.UTC(), Sessions: homes.Sessions, Clients: homes.Clients,
			TicketKeys: homes.TicketKeys, Doubtful: homes.Doubtful,
		}
		leads = homes.Any() || v.known.at.Before(drain.Since)
	}
	view.State = stateOf(drain.Mode, view.ConnsOpen, leads)
	if found := v.probed[b]; found != nil {
		view.Probe = v.probe(found)
	}
	return view
}

// stateOf is the word for how far a backend is emptied. Where nothing leads to a softly drained one any more, no rule
// can send it a conn.
func stateOf(mode pool.Drain, open int, leads bool) string {
	switch mode {
	case pool.DrainOff:
		return "in service"
	case pool.DrainSoft:
		if open == 0 && !leads {
			return "drained"
		}
	case pool.DrainHard:
		if open == 0 {
			return "drained"
		}
	}
	return "draining"
}

func healthOf(b *pool.Backend) string {
	switch {
	case b.Up():
		return "up"
	case b.OnTrial():
		return "trial"
	}
	return "down"
}

// utc is a time for an answer; zero stays zero.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0)
}

func (v *viewer) probe(f *health.Findings) *api.Probe {
	out := &api.Probe{
		Last: utc(f.Last), Succeeded: utc(f.Success), Error: oneLine(f.Err), Versions: []api.ProbeVersion{},
	}
	for _, found := range f.Worst() {
		one := api.ProbeVersion{
			Version: health.VersionName(found.Version), Tickets: found.Tickets, Resumed: found.Resumed,
			Nameless: found.Tickets > 0 && found.Key.Len == 0, KeyShared: len(found.Key.Homes),
		}
		if found.Key.Len > 0 {
			one.KeyAge = ago(v.now, found.Key.Since)
		}
		out.Versions = append(out.Versions, one)
	}
	return out
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
