package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/bench/testkit"
	"homing/cluster"
	"homing/cluster/replica"
	"homing/cmd/homing/internal/api"
)

// source is a homing that has counted a little of everything.
func source(t testing.TB) Source {
	t.Helper()
	p, err := pool.New("default", []pool.Spec{{Addr: "192.0.2.1:443"}, {Addr: "[2001:db8::2]:443", Weight: 3}}, pool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	one := p.Snapshot().All()[0]
	one.Acquire()
	one.CountConn(true)
	one.CountConn(false)
	one.CountVerdict(true)
	one.CountVerdict(false)
	one.CountLost()
	one.CountCheck(true)
	one.CountCheck(false)
	one.CountCheck(false)
	one.CountRest(true, 70)
	one.CountRest(false, 80)
	p.SetUp(p.Snapshot().All()[1], false, "the test says so")
	stats := balancer.Stats{Accepted: 12, Open: 3, BytesIn: 1000, BytesOut: 9000}
	stats.IssuedIDs, stats.IssuedTickets, stats.Unroutable = 4, 5, 1
	stats.HandshakeTimeouts, stats.NoPorts, stats.NoAccepts, stats.NoDescriptors, stats.NoSockets, stats.ConnectTimeouts = 21, 22, 23, 24, 25, 26
	stats.Limits = balancer.Limits{MaxConns: 79, MaxPreHello: 40, BufferMemory: 5000, ConnMemory: 6000, Clients: balancer.ClientLimits{MaxConns: 3, Rate: 0.5}}
	stats.Hellos[balancer.HelloTLS] = 11
	stats.Offers[affinity.OfferPSK] = 7
	stats.Decisions[affinity.SourceTicketKey] = 6
	stats.Verdicts[affinity.OfferPSK][balancer.VerdictAccepted] = 5
	stats.Lost[balancer.LostRotated] = 2
	stats.Terminations[balancer.CauseClient][balancer.PhaseHello] = 8
	stats.Listeners = []balancer.ListenerStats{{Name: "web", MaxConns: 11, ListenerCounts: balancer.ListenerCounts{
		Accepted: 12, Open: 3, Held: [balancer.NumHolds]time.Duration{1500 * time.Millisecond}, Refused: [balancer.NumRefusals]uint64{balancer.RefusedNoRoute: 4},
	}}}
	stats.Pools = []balancer.PoolStats{{Name: "default", PoolCounts: stats.PoolCounts}}
	stats.Pools[0].Open = 2
	stats.Pools[0].Routed = 9
	stats.Pools[0].ConnectTimes = balancer.Histogram{Counts: [balancer.NumTimes + 1]uint64{2, 3, balancer.NumTimes: 1}, Sum: 9 * time.Second}
	stats.Waiting, stats.PreHello, stats.BufferBytes, stats.ConnBytes = 2, 6, 300, 4000
	stats.Refused[balancer.RefusedMemory] = 5
	stats.Pools[0].Waiting, stats.Pools[0].Queued, stats.Pools[0].QueueTime = 2, 8, 1500*time.Millisecond
	stats.Pools[0].QueueTimeouts, stats.Pools[0].QueueFull = 1, 3
	known := affinity.Stats{
		Entries: affinity.TableStats{Used: 20, Capacity: 1024, Bytes: 27_648, Inserts: 40, Evicted: 1},
		Pools:   []affinity.PoolStats{{Hash: p.Hash(), Keys: [affinity.NumLengths]int{2: 3}, Shared: 1, Entries: affinity.ShareStats{Held: 18, Evicted: 6}, Clients: affinity.ShareStats{Held: 2}}},
	}
	probed := health.Findings{
		Pool: p, Backend: p.Snapshot().All()[0], Success: time.Unix(1_800_000_000, 0), KeyChanges: 2,
		Handshakes: map[health.Handshake]uint64{
			{Version: tls.VersionTLS13, Result: health.HandshakeResumed}: 9, {Version: tls.VersionTLS12, Result: health.HandshakeFailed}: 3,
		},
		Names: []health.Finding{
			{Name: "", Versions: []health.VersionFinding{{
				Version: tls.VersionTLS13, Tickets: 3, Resumed: true, Lifetime: time.Hour,
				Key: affinity.KeyInfo{Len: 16, Homes: []uint32{1, 2}, Since: uint32(time.Now().Unix()) - 1000},
			}, {Version: tls.VersionTLS12, Tickets: 2}}},
			{Name: "a.example", Versions: []health.VersionFinding{{
				Version: tls.VersionTLS13, Tickets: 2, Resumed: true, Lifetime: time.Minute,
				Key: affinity.KeyInfo{Len: 16, Homes: []uint32{1, 2}, Since: uint32(time.Now().Unix()) - 2000},
			}}},
			{Name: "b.example", Err: "alert"},
		},
	}
	unprobed := health.Findings{Pool: p, Backend: p.Snapshot().All()[1]}
	return Source{
		Elder:    func() (int, uint64, bool) { return 7, 3, true },
		Probe:    func() []health.Findings { return []health.Findings{probed, unprobed} },
		Version:  "v1.2.3",
		Stats:    func() balancer.Stats { return stats },
		Affinity: func() affinity.Stats { return known },
		Pools:    func() []*pool.Pool { return []*pool.Pool{p} },
		Unready:  func() string { return "" },
		LogLost:  func() uint64 { return 7 },
		Shortages: func() []api.Shortage {
			at := time.Unix(1_800_000_000, 0)
			return []api.Shortage{
				{Pool: "default", Cause: "queue_full", Count: 3, Since: at, Last: at, What: "3 conns were reset", Remedy: "add backends"},
				{Listener: "web", Cause: "max_conns", Count: 900, Since: at, Last: at, What: "clients wait", Remedy: "raise --max-conns"},
			}
		},
		Config: func() ConfigState {
			return ConfigState{Hash: "0123456789abcdef", Since: time.Unix(1_700_000_000, 5e8), Applied: 3, Refused: 2}
		},
		Cluster: func() Cluster { return clustered() },
		State:   func() replica.StateDirStats { return replica.StateDirStats{Writes: 4, Bytes: 512} },
		Name:    "lb-1",
		Node:    "node-a",
		Started: time.Now().Add(-time.Hour),
		Store:   storeOf(t, p),
		Listeners: func() []api.Listener {
			return []api.Listener{{Name: "web", Address: "192.0.2.9:443", TLS: "auto", Default: "default", Routes: []api.Route{{Names: []string{"*.example.org"}, ALPN: []string{}, Pool: "default"}}}}
		},
		Sync: func(context.Context) error { return nil },
		Members: func() []api.Member {
			return []api.Member{{ID: "node-a", Name: "lb-1", Asked: true, Role: "node", State: "running", Addr: "192.0.2.9:7946", Version: "v1.2.3"}}
		},
		Command: func(context.Context, []byte) ([]cluster.Answer, error) {
			return []cluster.Answer{{Node: "node-a"}, {Node: "node-b", Error: "no answer"}}, nil
		},
		LogLevel: new(slog.LevelVar),
		Events:   NewEvents(),
	}
}

// storeOf knows a session of each of the pool's backends, and a ticket key that both hold.
func storeOf(t testing.TB, p *pool.Pool) *affinity.Store {
	t.Helper()
	store, err := affinity.NewStore(affinity.Config{TableEntries: 1024, ClientEntries: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		store.Run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	known, now := store.Pool(p.Hash()), uint32(time.Now().Unix())
	for i, b := range p.Snapshot().All() {
		known.IssuedID(known.HashID(sessionID(i)), uint32(b.ID), now)
		known.Completed(affinity.Key(i+1), uint32(b.ID), now)
		for j := range 2 {
			known.Probed(known.HashIdent(ticketOf("K", byte(10*i+j))), uint32(b.ID), now)
		}
	}
	testkit.Eventually(t, "the ticket key is known", func() bool {
		keys := known.HeldKeys(now)
		return len(keys) == 1 && len(keys[0].Homes) == len(p.Snapshot().All())
	})
	return store
}

func sessionID(i int) []byte { return bytes.Repeat([]byte{byte(0xa0 + i)}, 32) }

// ticketOf is a ticket in OpenSSL's layout under the key of a name.
func ticketOf(key string, i byte) []byte {
	ticket := bytes.Repeat([]byte{i ^ 0x55}, 160)
	copy(ticket, bytes.Repeat([]byte(key), 16)[:16])
	ticket[16] = i
	return ticket
}

// serverOf is a server on a unix socket, so that anybody may ask.
func serverOf(t testing.TB, src Source) *Server {
	t.Helper()
	s, err := New(api.Access{Address: api.Address{Network: "unix", Addr: "/run/test.sock"}}, src, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request as homing's own client does. body may be nil; an answer is read into out, if that is not nil.
func ask(t *testing.T, s *Server, method, path string, body, out any) (status int, text string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	if body != nil {
		sent, ok := body.(string)
		if !ok {
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			sent = string(encoded)
		}
		r = httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(sent))
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if out != nil {
		if w.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		decoder := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(out); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	return w.Code, w.Body.String()
}

// clustered is a cluster of one other node and two agents, of which one vanished.
func clustered() Cluster {
	return Cluster{
		Members: map[Kind]int{
			{Role: cluster.RoleNode, Alive: true}:   1,
			{Role: cluster.RoleAgent, Alive: true}:  1,
			{Role: cluster.RoleAgent, Alive: false}: 1,
		},
		Accepted: 1, Refused: 2,
		Sharing: &replica.Stats{Learned: 30, Merged: 20, Refused: 1, Peers: []replica.PeerStats{
			{ID: "0123456789abcdef", Lag: 1500 * time.Millisecond, BytesOut: 400, Resyncs: 2},
		}},
	}
}

// fetch asks a handler; it returns the status and the body.
func fetch(t *testing.T, src Source, path string) (int, string) {
	t.Helper()
	return ask(t, serverOf(t, src), http.MethodGet, path, nil, nil)
}

func TestMetricsValues(t *testing.T) {
	_, body := fetch(t, source(t), "/metrics")
	lines := strings.Split(body, "\n")
	for _, want := range []string{
		`homing_build_info{version="v1.2.3"} 1`,
		`homing_ready 1`,
		`homing_shortage{cause="queue_full",listener="",pool="default"} 1`,
		`homing_shortage{cause="max_conns",listener="web",pool=""} 1`,
		`homing_conns_limit 79`,
		`homing_pre_hello_limit_conns 40`,
		`homing_buffer_limit_bytes 5000`,
		`homing_conn_limit_bytes 6000`,
		`homing_client_limit_conns 3`,
		`homing_client_limit_rate 0.5`,
		`homing_listener_limit_conns{listener="web"} 11`,
		`homing_listener_held_seconds_total{listener="web",reason="max_conns"} 1.5`,
		`homing_pool_queue_limit_conns{pool="default"} 1024`,
		`homing_backend_limit_conns{backend="192.0.2.1:443",pool="default"} 0`,
		`homing_handshake_timeouts_total 21`,
		`homing_pool_connect_seconds_bucket{pool="default",le="0.00025"} 2`,
		`homing_pool_connect_seconds_bucket{pool="default",le="0.0005"} 5`,
		`homing_pool_connect_seconds_bucket{pool="default",le="8.192"} 5`,
		`homing_pool_connect_seconds_bucket{pool="default",le="+Inf"} 6`,
		`homing_pool_connect_seconds_sum{pool="default"} 9`,
		`homing_pool_connect_seconds_count{pool="default"} 6`,
		`homing_pool_answer_seconds_count{pool="default"} 0`,
		`homing_backend_checks_total{backend="192.0.2.1:443",pool="default",result="passed"} 1`,
		`homing_backend_checks_total{backend="192.0.2.1:443",pool="default",result="failed"} 2`,
		`homing_port_shortages_total 22`,
		`homing_file_shortages_total 47`,
		`homing_socket_failures_total 25`,
		`homing_pool_connect_timeouts_total{pool="default"} 26`,
		`homing_config_info{hash="0123456789abcdef"} 1`,
		`homing_config_timestamp_seconds 1.7000000005e+09`,
		`homing_reloads_total{result="applied"} 3`,
		`homing_reloads_total{result="refused"} 2`,
		`homing_conns_accepted_total 12`,
		`homing_conns_open 3`,
		`homing_conns_unroutable_total 1`,
		`homing_relayed_bytes_total{direction="in"} 1000`,
		`homing_relayed_bytes_total{direction="out"} 9000`,
		`homing_hellos_total{outcome="tls"} 11`,
		`homing_hellos_total{outcome="sslv2"} 0`,
		`homing_offers_total{offer="psk"} 7`,
		`homing_listener_conns_accepted_total{listener="web"} 12`,
		`homing_listener_conns_open{listener="web"} 3`,
		`homing_listener_refused_total{listener="web",reason="no_route"} 4`,
		`homing_pool_conns_open{pool="default"} 2`,
		`homing_pool_conns_total{pool="default"} 9`,
		`homing_pool_conns_unroutable_total{pool="default"} 1`,
		`homing_pool_offers_total{offer="psk",pool="default"} 7`,
		`homing_pool_routes_total{pool="default",source="ticket_key"} 6`,
		`homing_pool_verdicts_total{pool="default",verdict="accepted"} 5`,
		`homing_pool_lost_total{pool="default",reason="rotated"} 2`,
		`homing_routes_total{source="ticket_key"} 6`,
		`homing_routes_total{source="explore"} 0`,
		`homing_verdicts_total{offer="psk",verdict="accepted"} 5`,
		`homing_issues_total{offer="id"} 4`,
		`homing_issues_total{offer="ticket"} 5`,
		`homing_lost_total{reason="rotated"} 2`,
		`homing_terminations_total{code="CH"} 8`,
		`homing_backend_up{backend="192.0.2.1:443",pool="default"} 1`,
		`homing_backend_up{backend="[2001:db8::2]:443",pool="default"} 0`,
		`homing_backend_weight{backend="[2001:db8::2]:443",pool="default"} 3`,
		`homing_backend_fresh_share{backend="192.0.2.1:443",pool="default"} 1`,
		`homing_backend_conns_open{backend="192.0.2.1:443",pool="default"} 1`,
		`homing_backend_conns_total{backend="192.0.2.1:443",pool="default"} 2`,
		`homing_backend_fresh_total{backend="192.0.2.1:443",pool="default"} 1`,
		`homing_backend_offers_total{backend="192.0.2.1:443",pool="default",verdict="accepted"} 1`,
		`homing_backend_offers_total{backend="192.0.2.1:443",pool="default",verdict="refused"} 1`,
		`homing_backend_lost_total{backend="192.0.2.1:443",pool="default"} 1`,
		`homing_backend_bytes_total{backend="192.0.2.1:443",direction="in",pool="default"} 70`,
		`homing_backend_bytes_total{backend="192.0.2.1:443",direction="out",pool="default"} 80`,
		`homing_table_entries{table="sessions"} 20`,
		`homing_table_evictions_total{table="sessions"} 1`,
		`homing_table_evictions_total{table="clients"} 0`,
		`homing_table_pool_entries{pool="default",table="sessions"} 18`,
		`homing_table_pool_entries{pool="default",table="clients"} 2`,
		`homing_table_pool_evictions_total{pool="default",table="sessions"} 6`,
		`homing_pool_excess_answers_total{pool="default"} 0`,
		`homing_ticket_keys{length="16",pool="default"} 3`,
		`homing_ticket_keys_shared{pool="default"} 1`,
		`homing_state_writes_total{result="ok"} 4`,
		`homing_state_bytes 512`,
		`homing_cluster_members{role="node",state="alive"} 1`,
		`homing_cluster_members{role="node",state="vanished"} 0`,
		`homing_cluster_members{role="agent",state="vanished"} 1`,
		`homing_announcements{verdict="accepted"} 1`,
		`homing_announcements{verdict="refused"} 2`,
		`homing_replication_facts_total{from="here"} 30`,
		`homing_replication_lag_seconds{peer="0123456789abcdef"} 1.5`,
		`homing_replication_bytes_total{direction="out",peer="0123456789abcdef"} 400`,
		`homing_replication_resyncs_total{peer="0123456789abcdef"} 2`,
		`homing_probe_last_success_timestamp_seconds{backend="192.0.2.1:443",pool="default"} 1.8e+09`,
		`homing_probe_last_success_timestamp_seconds{backend="[2001:db8::2]:443",pool="default"} 0`,
		`homing_probe_handshakes_total{backend="192.0.2.1:443",pool="default",result="resumed",version="TLS 1.3"} 9`,
		`homing_probe_handshakes_total{backend="192.0.2.1:443",pool="default",result="failed",version="TLS 1.2"} 3`,
		`homing_probe_tickets{backend="192.0.2.1:443",pool="default",version="TLS 1.3"} 2`,
		`homing_probe_resumption_works{backend="192.0.2.1:443",pool="default",version="TLS 1.3"} 1`,
		`homing_probe_resumption_works{backend="192.0.2.1:443",pool="default",version="TLS 1.2"} 0`,
		`homing_probe_nameless{backend="192.0.2.1:443",pool="default",version="TLS 1.3"} 0`,
		`homing_probe_nameless{backend="192.0.2.1:443",pool="default",version="TLS 1.2"} 1`,
		`homing_probe_ticket_lifetime_seconds{backend="192.0.2.1:443",pool="default",version="TLS 1.3"} 60`,
		`homing_probe_ticket_key_backends{backend="192.0.2.1:443",pool="default",version="TLS 1.3"} 2`,
		`homing_probe_ticket_key_changes_total{backend="192.0.2.1:443",pool="default"} 2`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %s", want)
		}
	}
	age := regexp.MustCompile(`(?m)^homing_probe_ticket_key_age_seconds{backend="192.0.2.1:443",pool="default"} 200[0-9]`)
	if !age.MatchString(body) {
		t.Error("the age of the ticket key is not that of the oldest")
	}
	for _, other := range []string{"go_goroutines ", "process_open_fds "} {
		if !strings.Contains(body, "\n"+other) {
			t.Errorf("no %s", other)
		}
	}
}

// TestMetricsDocumented compares what is exported with what `homing metrics` documents, both ways.
func TestMetricsDocumented(t *testing.T) {
	_, body := fetch(t, source(t), "/metrics")
	var exported []string
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(body, -1) {
		if strings.HasPrefix(match[1], "homing_") {
			exported = append(exported, match[1]+" "+match[2])
		}
	}
	var out bytes.Buffer
	if err := WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(out.String()) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			t.Errorf("not documented: %s", line)
			continue
		}
		documented = append(documented, fields[0]+" "+fields[1])
	}
	slices.Sort(exported)
	slices.Sort(documented)
	if diff := cmp.Diff(documented, exported); diff != "" {
		t.Errorf("metrics (-documented +exported):\n%s", diff)
	}
}

// TestMetricsLint asks Prometheus' own linter about names, units and help.
func TestMetricsLint(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(source(t)))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestHealthAndReady(t *testing.T) {
	src := source(t)
	for _, tt := range []struct {
		path   string
		ready  bool
		status int
		body   string
	}{
		{"/healthz", true, http.StatusOK, "ok\n"},
		{"/healthz", false, http.StatusOK, "ok\n"},
		{"/readyz", true, http.StatusOK, "ready\n"},
		{"/readyz", false, http.StatusServiceUnavailable, "draining\n"},
		{"/nowhere", true, http.StatusNotFound, "404 page not found\n"},
	} {
		src.Unready = func() string {
			if tt.ready {
				return ""
			}
			return "draining"
		}
		if status, body := fetch(t, src, tt.path); status != tt.status || body != tt.body {
			t.Errorf("%s, ready %t: %d %q, want %d %q", tt.path, tt.ready, status, body, tt.status, tt.body)
		}
	}
}

func TestHandlerOnlyReads(t *testing.T) {
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		if status, _ := ask(t, serverOf(t, source(t)), http.MethodPost, path, "x", nil); status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, status)
		}
	}
}
