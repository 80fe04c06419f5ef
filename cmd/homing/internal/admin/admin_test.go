package admin

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
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
	"homing/cluster"
)

// source is a homing that has counted a little of everything.
func source(t *testing.T) Source {
	t.Helper()
	p, err := pool.New("default", []pool.Spec{{Addr: "192.0.2.1:443"}, {Addr: "[2001:db8::2]:443", Weight: 3}}, pool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Snapshot().All()[0].Acquire()
	p.SetUp(p.Snapshot().All()[1], false, "the test says so")
	stats := balancer.Stats{Accepted: 12, Open: 3, BytesIn: 1000, BytesOut: 9000}
	stats.IssuedIDs, stats.IssuedTickets, stats.Unroutable = 4, 5, 1
	stats.Hellos[balancer.HelloTLS] = 11
	stats.Offers[affinity.OfferPSK] = 7
	stats.Routes[affinity.SourceTicketKey] = 6
	stats.Verdicts[affinity.OfferPSK][balancer.VerdictAccepted] = 5
	stats.Lost[balancer.LostRotated] = 2
	stats.Terminations[balancer.CauseClient][balancer.PhaseHello] = 8
	known := affinity.Stats{
		Entries: affinity.TableStats{Used: 20, Capacity: 1024, Bytes: 27_648, Inserts: 40, Evicted: 1},
		Pools:   []affinity.PoolStats{{Hash: p.Hash(), Keys: [affinity.NumLengths]int{2: 3}, Shared: 1}},
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
		Probe:    func() []health.Findings { return []health.Findings{probed, unprobed} },
		Version:  "v1.2.3",
		Stats:    func() balancer.Stats { return stats },
		Affinity: func() affinity.Stats { return known },
		Pools:    func() []*pool.Pool { return []*pool.Pool{p} },
		Ready:    func() bool { return true },
		Cluster:  func() Cluster { return clustered() },
		State:    func() cluster.StateDirStats { return cluster.StateDirStats{Writes: 4, Bytes: 512} },
		Routes:   map[string]http.Handler{"GET /cluster": http.NotFoundHandler()},
	}
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
		Sharing: &cluster.ReplicatorStats{Learned: 30, Merged: 20, Refused: 1, Peers: []cluster.PeerStats{
			{ID: "0123456789abcdef", Lag: 1500 * time.Millisecond, BytesOut: 400, Resyncs: 2},
		}},
	}
}

// fetch asks a handler; it returns the status and the body.
func fetch(t *testing.T, src Source, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(src).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestMetricsValues(t *testing.T) {
	_, body := fetch(t, source(t), "/metrics")
	lines := strings.Split(body, "\n")
	for _, want := range []string{
		`homing_build_info{version="v1.2.3"} 1`,
		`homing_ready 1`,
		`homing_conns_accepted_total 12`,
		`homing_conns_open 3`,
		`homing_conns_unroutable_total 1`,
		`homing_relayed_bytes_total{direction="in"} 1000`,
		`homing_relayed_bytes_total{direction="out"} 9000`,
		`homing_hellos_total{outcome="tls"} 11`,
		`homing_hellos_total{outcome="sslv2"} 0`,
		`homing_offers_total{offer="psk"} 7`,
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
		`homing_backend_conns_open{backend="192.0.2.1:443",pool="default"} 1`,
		`homing_table_entries{table="sessions"} 20`,
		`homing_table_evictions_total{table="sessions"} 1`,
		`homing_table_evictions_total{table="clients"} 0`,
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
		{"/", true, http.StatusNotFound, "404 page not found\n"},
	} {
		src.Ready = func() bool { return tt.ready }
		if status, body := fetch(t, src, tt.path); status != tt.status || body != tt.body {
			t.Errorf("%s, ready %t: %d %q, want %d %q", tt.path, tt.ready, status, body, tt.status, tt.body)
		}
	}
}

// TestReadyNeedsBackend: a node that has not heard of any backend yet would refuse every conn.
func TestReadyNeedsBackend(t *testing.T) {
	src := source(t)
	empty, err := pool.New("default", nil, pool.Options{Discover: true})
	if err != nil {
		t.Fatal(err)
	}
	src.Pools = func() []*pool.Pool { return []*pool.Pool{empty} }
	if status, body := fetch(t, src, "/readyz"); status != http.StatusServiceUnavailable || body != "no backend\n" {
		t.Errorf("without a backend: %d %q", status, body)
	}
	if _, body := fetch(t, src, "/metrics"); !strings.Contains(body, "\nhoming_ready 0\n") {
		t.Error("homing_ready is not 0")
	}
	if err := empty.SetDiscovered([]pool.Discovered{{Addr: netip.MustParseAddrPort("192.0.2.1:443")}}); err != nil {
		t.Fatal(err)
	}
	if status, _ := fetch(t, src, "/readyz"); status != http.StatusOK {
		t.Errorf("with one: %d", status)
	}
}

func TestHandlerOnlyReads(t *testing.T) {
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		w := httptest.NewRecorder()
		Handler(source(t)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader("x")))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, w.Code)
		}
	}
}
