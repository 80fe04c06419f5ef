package admin

import (
	"io"
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// endpoints is all that the server answers.
func endpoints() []endpoint {
	inPool := param{"pool", "Only in this pool."}
	return slices.Concat([]endpoint{
		read("/v1/status", "Everything at one moment: totals, listeners, pools with their backends, tables, peers.",
			(*Server).status),
		read("/v1/listeners", "Where the node accepts, and which hellos go where.", (*Server).listeners),
		read("/v1/pools", "The pools with their backends.", (*Server).pools),
		read("/v1/backends", "The backends of all pools.", (*Server).backends, inPool),
		read("/v1/backends/{backend}", "One backend, by its address or its name; a name may stand for several.",
			(*Server).backend, inPool),
		change(http.MethodPost, "/v1/backends/{backend}/drain",
			"Empty a backend: no more fresh handshakes; its own resumptions for a time.", changing((*Server).drain), inPool),
		change(http.MethodPost, "/v1/backends/{backend}/undrain", "Put a backend back in service.",
			changing((*Server).undrain), inPool),
		change(http.MethodPut, "/v1/backends/{backend}/weight", "Give a backend another weight.", changing((*Server).weight),
			inPool),
		read("/v1/backends/{backend}/drained", "Ask every node of the cluster whether a backend is drained there.",
			(*Server).drained, inPool),
		read("/v1/history", "Conns, traffic and resumptions of the last minutes.", (*Server).history, inPool,
			param{"after", "Only samples with a higher number."}),
		read("/v1/ticket-keys", "The ticket keys that are known, with age and sharing.", (*Server).ticketKeys, inPool),
		read("/v1/tables", "The tables, and how full they are.", (*Server).tables),
		change(http.MethodPost, "/v1/lookup",
			"Where a hello with a session ID, ticket or identity would go, and by which rule.", (*Server).lookup),
		read("/v1/cluster", "Members of the cluster, and how up to date they are.", (*Server).cluster),
		change(http.MethodPost, "/v1/cluster/command", "Pass on a sealed command to all nodes.", (*Server).command),
		read("/v1/events", "What happened lately.", (*Server).events,
			param{"after", "Only events with a higher number."}),
		change(http.MethodPost, "/v1/reload", "Read the configuration again, as SIGHUP does: all of it, or nothing.",
			(*Server).reload),
		change(http.MethodPost, "/v1/upgrade", "Start the program anew and hand over to it, as SIGUSR2 does.",
			(*Server).upgrade),
		read("/v1/log-level", "The least level that is logged.", (*Server).logLevel),
		change(http.MethodPut, "/v1/log-level", "Log from another level on, until the configuration is read again.",
			(*Server).setLogLevel),
		read("/v1/openapi.json", "This description.", (*Server).openAPI),
	}, plainEndpoints(), pprofEndpoints())
}

func plainEndpoints() []endpoint {
	const text = "text/plain; charset=utf-8"
	healthz := raw("/healthz", text, "200 while the process answers.", func(*Server) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	})
	const ready = "200 while conns are welcome; 503, and why, while draining and while no backend could have them."
	readyz := raw("/readyz", text, ready, func(s *Server) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if why := s.src.Unready(); why != "" {
				answer(w, http.StatusServiceUnavailable, why+"\n")
				return
			}
			answer(w, http.StatusOK, "ready\n")
		})
	})
	status := raw("/{$}", "text/html; charset=utf-8", "The status page, for people.", page)
	healthz.open, readyz.open = true, true // who sends conns here need not know a secret to stop
	healthz.free, readyz.free = true, true
	status.open = true // it asks for the token itself
	return []endpoint{
		status,
		raw("/metrics", "text/plain; version=0.0.4", "Metrics for Prometheus.", func(s *Server) http.Handler {
			return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
		}),
		healthz, readyz,
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client that left does not want it
}

// maxProfile is the longest profile that may be asked for, in seconds.
const maxProfile = 60

func pprofEndpoints() []endpoint {
	const binary = "application/octet-stream"
	plain := func(f http.HandlerFunc) func(*Server) http.Handler { return func(*Server) http.Handler { return f } }
	timed := func(f http.HandlerFunc) func(*Server) http.Handler {
		return plain(func(w http.ResponseWriter, r *http.Request) {
			if text := r.FormValue("seconds"); text != "" {
				if n, err := strconv.Atoi(text); err != nil || n < 1 || n > maxProfile {
					http.Error(w, "seconds is a number from 1 to 60", http.StatusBadRequest)
					return
				}
			}
			f(w, r)
		})
	}
	seconds := param{"seconds", "How long to look, 1 to 60; 30 if not given."}
	return []endpoint{
		raw("/debug/pprof/{$}", "text/html", "Profiles of the Go runtime.", plain(pprof.Index)),
		raw("/debug/pprof/{profile}", binary, "One of them, such as heap or goroutine.", timed(pprof.Index),
			param{"debug", "1 or 2: as text."}),
		raw("/debug/pprof/profile", binary, "Where CPU time goes.", timed(pprof.Profile), seconds),
		raw("/debug/pprof/trace", binary, "What the Go runtime does.", timed(pprof.Trace), seconds),
		raw("/debug/pprof/cmdline", "text/plain", "How the process was started.", plain(pprof.Cmdline)),
		raw("/debug/pprof/symbol", "text/plain", "Names of program counters.", plain(pprof.Symbol)),
	}
}
