//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cluster"
	"homing/cmd/homing/internal/admin"
)

// service is one running `homing run`: what assemble made, and what start sets going.
type service struct {
	// Static after assemble.
	options  *options
	log      *slog.Logger
	pool     *pool.Pool
	store    *affinity.Store
	balancer *balancer.Balancer
	checks   *health.Checker   // nil with --no-checks
	probe    *health.Prober    // nil with --probe off or --tls off
	admin    net.Listener      // nil without --admin
	cluster  *clusterNode      // nil without --cluster-bind
	state    *cluster.StateDir // nil without --state-dir and --table-dir
	hangup   <-chan os.Signal  // SIGHUP; never comes without --node-key-file
	files    fileLimit

	draining   atomic.Bool
	background sync.WaitGroup // all that start sets going
}

// gcPercent keeps the heap small. The loops make no garbage and the tables lie outside the heap, so what little the
// rest makes may as well be collected often: it takes half a kilobyte off each idle conn's share of the memory.
const gcPercent = 25

// assemble makes everything that can fail, and starts nothing: on an error all is as before. The error says what is
// wrong with which flag, and what to do.
func assemble(o *options, log *slog.Logger) (*service, error) {
	if o.loops == 0 {
		o.loops = runtime.NumCPU()
	}
	// A loop that polls keeps its P: two more let the garbage collector and the rest of the program run beside them.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(o.loops + 2)
	}
	s := &service{options: o, log: log}
	if err := s.take(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// take makes the parts. On an error those made so far are the caller's to close.
func (s *service) take() (err error) {
	o := s.options
	s.files = raiseFiles(o)
	if o.admin != "" {
		if s.admin, err = net.Listen("tcp", o.admin); err != nil {
			return explainListen("--admin", o.admin, err)
		}
	}
	if o.node.bind.IsValid() {
		if s.cluster, err = newClusterNode(&o.node, s.log); err != nil {
			return err
		}
	}
	s.pool, err = pool.New("default", o.backends, pool.Options{
		Fall: o.fall, LoadFactor: o.loadFactor, NoChecks: o.noChecks, Discover: o.node.discovers(), Log: s.log,
	})
	if err != nil {
		return err
	}
	known := affinity.Config{
		TableEntries: o.tableEntries, ClientEntries: o.clientEntries, SessionTTL: o.sessionTTL, TicketTTL: o.ticketTTL,
		Suspect: s.suspect, Memory: o.tableDir, Log: s.log,
	}
	if s.state, err = openState(o, s.log); err != nil {
		return err
	}
	if s.state != nil {
		known.Seed, known.SeedMade = s.state.Seed().Value, s.state.Seed().Made
	}
	if s.cluster != nil {
		known.Fact = s.cluster.fact()
	}
	s.store, err = affinity.NewStore(known)
	if err != nil {
		if o.tableDir != "" {
			return fmt.Errorf("--table-dir: %w", err)
		}
		return fmt.Errorf("no memory for %d table entries and %d client entries: lower --table-entries or --client-entries: %w",
			o.tableEntries, o.clientEntries, err)
	}
	if s.balancer, err = balancer.New(s.config()); err != nil {
		if refused, ok := errors.AsType[*balancer.ListenError](err); ok {
			return explainListen("--listen", refused.Addr, refused.Err)
		}
		return err
	}
	if s.cluster != nil {
		if err = s.cluster.join([]*pool.Pool{s.pool}); err != nil {
			return err
		}
	}
	if err = s.takeProbe(); err != nil || o.noChecks {
		return err
	}
	s.checks, err = health.New([]*pool.Pool{s.pool}, health.Config{
		Interval: o.checkInterval, Timeout: o.checkTimeout, Rise: o.rise, Fall: o.fall, Log: s.log,
	})
	return err
}

// openState finds what an earlier process has left. Tables in files do not hold the ticket keys; with --table-dir alone
// those are written beside them.
func openState(o *options, log *slog.Logger) (*cluster.StateDir, error) {
	cfg, flag := cluster.StateDirConfig{Dir: o.node.stateDir, Log: log}, "--state-dir"
	if cfg.Dir == "" {
		cfg.Dir, cfg.KeysOnly, flag = o.tableDir, true, "--table-dir"
	}
	if cfg.Dir == "" {
		return nil, nil
	}
	state, err := cluster.OpenStateDir(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return state, nil
}

// takeProbe makes the probe, but not for backends of which no hello is read.
func (s *service) takeProbe() (err error) {
	o := s.options
	if !o.probe || o.tls == balancer.TLSOff {
		return nil
	}
	fromTraffic := o.probeTraffic
	if fromTraffic == 0 {
		fromTraffic = -1
	}
	s.probe, err = health.NewProber([]*pool.Pool{s.pool}, health.ProbeConfig{
		Store: s.store, Interval: o.probeInterval, Names: o.probeNames, FromTraffic: fromTraffic, Log: s.log,
	})
	return err
}

// suspect hands on to the probe what affinity says. Nothing runs before there is a probe, if there will be one.
func (s *service) suspect(pool, id uint32, doubtful bool) {
	if s.probe != nil {
		s.probe.Suspect(pool, id, doubtful)
	}
}

func (s *service) config() balancer.Config {
	o := s.options
	cfg := balancer.Config{
		Loops: o.loops, Store: s.store, Policy: o.policy, ECH: o.ech,
		HelloTimeout: o.helloTimeout, ConnectTimeout: o.connectTimeout, IdleTimeout: o.idleTimeout,
		HalfClosedTimeout: o.halfClosedTimeout, HoldTimeout: o.holdTimeout,
		KeepAlive: orOff(o.keepAlive), UserTimeout: orOff(o.userTimeout),
		HelloLimit: int(o.helloLimit), HoldLimit: int(o.holdLimit), MaxConns: o.maxConns, BufferMemory: o.bufferMemory,
		SecondChance: o.secondChance, Log: s.log,
	}
	for _, addr := range o.listens {
		cfg.Listeners = append(cfg.Listeners, balancer.Listener{Addr: addr, Pool: s.pool, TLS: o.tls})
	}
	if o.logConns {
		cfg.ConnLog = func(r *balancer.ConnRecord) { logConn(s.log, r) }
	}
	return cfg
}

// orOff translates the flags' zero, which is off, to the configuration's, which is negative.
func orOff(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// start sets the goroutines beside the balancer going. They end with ctx.
func (s *service) start(ctx context.Context) {
	s.background.Go(func() { s.store.Run(ctx) })
	if s.state != nil { // before the first conn is looked at
		s.state.Load(ctx, s.store)
		s.background.Go(func() { s.state.Run(ctx, s.store) })
	}
	s.background.Go(func() { s.pool.Run(ctx) })
	if s.checks != nil {
		s.background.Go(func() { s.checks.Run(ctx) })
	}
	findings := func() []health.Findings { return nil }
	if s.probe != nil {
		s.background.Go(func() { s.probe.Run(ctx) })
		findings = s.probe.Findings
	}
	if s.cluster != nil {
		s.cluster.start(ctx, s)
	}
	if s.admin == nil {
		return
	}
	source := admin.Source{
		Version: version, Stats: s.balancer.Stats, Affinity: s.store.Stats, Probe: findings, Pools: []*pool.Pool{s.pool},
		Ready: func() bool { return !s.draining.Load() },
	}
	if s.state != nil {
		source.State = s.state.Stats
	}
	if s.cluster != nil {
		source.Cluster, source.Routes = s.cluster.stats, s.cluster.routes()
	}
	server := &http.Server{
		Handler:           admin.Handler(source),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	s.background.Go(func() {
		if err := server.Serve(s.admin); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("admin ended", slog.Any("error", err))
		}
	})
	s.background.Go(func() {
		<-ctx.Done()
		server.Close()
	})
}

// announce logs what runs, one line per thing.
func (s *service) announce() {
	o := s.options
	s.log.Info("homing", slog.String("version", version), slog.String("go", runtime.Version()), slog.Int("pid", os.Getpid()))
	for _, addr := range s.balancer.Addrs() {
		s.log.Info("listener", slog.String("addr", addr.String()), slog.String("pool", s.pool.Name()),
			slog.String("policy", policyValue(&o.policy).String()), slog.String("tls", o.tls.String()))
	}
	for _, b := range s.pool.Snapshot().All() {
		s.log.Info("backend", slog.String("pool", s.pool.Name()), slog.String("addr", b.Addr.String()), slog.String("name", b.Name),
			slog.Int("weight", b.Weight()), slog.Int("max_conns", b.MaxConns()))
	}
	s.log.Info("loops", slog.Int("loops", o.loops), slog.Int("gomaxprocs", runtime.GOMAXPROCS(0)), slog.Int("max_conns", o.maxConns))
	s.log.Info("tables", slog.Int("table_entries", o.tableEntries), slog.Int("client_entries", o.clientEntries),
		slog.String("memory", formatMemory(s.store.TableBytes())))
	if s.admin != nil {
		s.log.Info("admin", slog.String("addr", s.admin.Addr().String()))
	}
	if s.cluster != nil {
		s.cluster.announce()
	}
	s.files.warn(s.log, o.maxConns)
	s.log.Info("ready")
}

// close gives back what assemble took. It is called once nothing runs.
func (s *service) close() {
	if s.cluster != nil {
		s.cluster.close()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	if s.store != nil {
		s.store.Close()
	}
}

// explainListen says which address of which flag cannot be listened on, why, and what to do.
func explainListen(flag, addr string, err error) error {
	remedy := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(addr)
		remedy = fmt.Sprintf("address already in use: stop what holds it (ss -ltnp 'sport = :%s'), or choose another", port)
	case errors.Is(err, syscall.EACCES):
		remedy = "permission denied: ports below 1024 need root or the capability net_bind_service; or choose another"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		remedy = "this machine has no such address: choose one of its own (ip addr), or leave the host out"
	case errors.Is(err, syscall.EAFNOSUPPORT):
		remedy = "this machine has no address of that family: choose another"
	default:
		return fmt.Errorf("%s %s: cannot listen: %w", flag, addr, err)
	}
	return fmt.Errorf("%s %s: %s", flag, addr, remedy)
}

// formatMemory writes a size for people, rounded.
func formatMemory(n int) string {
	return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20))
}
