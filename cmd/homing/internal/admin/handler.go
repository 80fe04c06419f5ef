package admin

import (
	"io"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cluster"
)

// Source is where the handler reads. Its functions are called once per scrape, by any goroutine.
type Source struct {
	Version  string
	Stats    func() balancer.Stats
	Affinity func() affinity.Stats
	Probe    func() []health.Findings
	Pools    func() []*pool.Pool
	Ready    func() bool // false while draining

	Cluster func() Cluster               // nil without a cluster
	State   func() cluster.StateDirStats // nil when nothing is written
	Routes  map[string]http.Handler      // more to serve, by pattern
}

// Cluster is what a node knows of its cluster, itself left out.
type Cluster struct {
	Members  map[Kind]int // by role and whether they are there
	Accepted int          // agents whose announcements stand
	Refused  int          // agents whose announcements are refused
	Sharing  *cluster.ReplicatorStats
}

// Kind is one kind of members.
type Kind struct {
	Role  cluster.Role
	Alive bool
}

// Handler serves /metrics, /healthz (200 while the process answers) and /readyz (503 while draining and without any backend, so that whoever
// sends conns here stops).
func Handler(src Source) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(src),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := src.unready(); why != "" {
			answer(w, http.StatusServiceUnavailable, why+"\n")
			return
		}
		answer(w, http.StatusOK, "ready\n")
	})
	for pattern, handler := range src.Routes {
		mux.Handle(pattern, handler)
	}
	return mux
}

// unready says why conns should go elsewhere, "" when they are welcome. A node that has just started may not have heard of
// any backend yet.
func (s *Source) unready() string {
	if !s.Ready() {
		return "draining"
	}
	if !slices.ContainsFunc(s.Pools(), func(p *pool.Pool) bool { return len(p.Snapshot().All()) > 0 }) {
		return "no backend"
	}
	return ""
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client that left does not want it
}
