package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"homing/cluster/bound"
	"homing/cmd/homing/internal/api"
)

// Server answers operators. It reads what loops have counted and tables that loops write, by atomics alone, and posts
// to them at most one command per change: no loop ever waits for it.
type Server struct {
	// Static.
	src       Source
	log       *slog.Logger
	guard     *guard
	tls       *tls.Config // nil without
	endpoints []endpoint
	registry  *prometheus.Registry
	keeper    *keeper
	places    places
	changing  sync.Mutex // one change of backends at a time, so that two cannot leave a pool without any
	closing   chan struct{}
	once      sync.Once
}

// New makes a server, and reads the files that its access names. The error is one line for the operator.
func New(access api.Access, src Source, log *slog.Logger) (*Server, error) {
	if err := access.Check(); err != nil {
		return nil, err
	}
	token, secured, err := secrets(&access, log)
	if err != nil {
		return nil, err
	}
	s := &Server{
		src: src, log: log, guard: newGuard(access.Address, token), tls: secured, endpoints: endpoints(),
		registry: prometheus.NewRegistry(), keeper: &keeper{src: &src}, closing: make(chan struct{}),
		places: places{make(chan struct{}, maxBusy), make(chan struct{}, maxOpen)},
	}
	s.registry.MustRegister(
		newCollector(s.src),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return s, nil
}

// Bounds of what clients may take: none of them is in a hurry, and none has much to say.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second // a change waits for other nodes for 9 s
	idleTimeout   = time.Minute
	lastAnswers   = 5 * time.Second // for requests under way when a process ends that another has replaced
	maxHeader     = 16 << 10
)

// Run serves until ctx is done, or until the listener is taken away by Release.
func (s *Server) Run(ctx context.Context, listener net.Listener) {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ConnContext: withVisit,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	bounded := &roomy{Listener: listener, door: bound.Door{Places: maxConns, PerAddr: maxConns}}
	var kept sync.WaitGroup
	defer kept.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kept.Go(func() { s.keeper.run(ctx) })
	kept.Go(func() {
		select {
		case <-ctx.Done():
			server.Close()
		case <-s.closing:
			if unix, ok := listener.(*net.UnixListener); ok {
				unix.SetUnlinkOnClose(false) // the other process listens there
			}
			// Not Shutdown, which hangs up on who has connected and is about to ask.
			server.SetKeepAlivesEnabled(false)
			_ = bounded.Close() // nobody listens here any more, either way
		}
	})
	var at net.Listener = bounded
	if s.tls != nil {
		at = tls.NewListener(at, s.tls)
	}
	err := server.Serve(at)
	select {
	case <-s.closing:
		<-ctx.Done()
		// The process ends, maybe because of the very request that is being answered.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
		defer cancel()
		_ = server.Shutdown(last)
		server.Close()
	default:
		if !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			s.log.Error("admin ended", slog.Any("error", err))
		}
	}
}

// Release closes the listener, because another process has it now, and lets the requests end that are being answered.
func (s *Server) Release() { s.once.Do(func() { close(s.closing) }) }

// Handler answers everything.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for i := range s.endpoints {
		e := &s.endpoints[i]
		mux.HandleFunc(e.method+" "+e.path, func(w http.ResponseWriter, r *http.Request) {
			harden(w.Header())
			leave, err := s.admit(e, r)
			if err != nil {
				if e.response == nil {
					http.Error(w, err.Error(), err.(*refusal).status)
					return
				}
				respond(w, nil, err)
				return
			}
			defer leave()
			if e.request == nil {
				r.Body = http.NoBody // who looks for a parameter would read a form there, into memory and files
			}
			e.serve(s, w, r)
		})
	}
	return mux
}

// admit says why a request is not answered, or begins to.
func (s *Server) admit(e *endpoint, r *http.Request) (leave func(), err error) {
	if err := s.guard.check(e, r); err != nil {
		return nil, err
	}
	return s.places.take(e, r)
}

// harden tells browsers what they must not do with an answer.
func harden(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}
