//go:build linux

// Package service is one running homing: `homing run`.
//
// A service is assembled first, where everything that can fail does so before anybody has noticed anything, and then
// started. What a reload replaces is one value, running: the configuration and the pools that were made of it. By file:
//
//	run        the command, its signals, its end        service    assemble, start, close
//	pools      pools, their checks and probes           balancer   what the data plane is told
//	reload     another configuration, all or nothing    admin      what operators see and do
//	elder      handing over to a new process            heir       taking over from an old one
//	cluster_*  the node's part in its cluster           drain      out of service, and the end of conns
//	readiness  whether conns are welcome                shortages  what clients are short of
package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/netaddr"
	"homing/cluster/replica"
	"homing/cmd/homing/internal/admin"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/logging"
	"homing/cmd/homing/internal/shortage"
	"homing/cmd/homing/internal/upgrade"
)

// service is one running homing: what assemble made, and what start sets going.
type service struct {
	// Static after assemble.
	version   string       // of the program
	log       *slog.Logger // what operators see as events too
	logs      *logging.Logs
	events    *admin.Events
	store     *affinity.Store
	balancer  *balancer.Balancer
	level     *slog.LevelVar    // of log
	admin     net.Listener      // nil without an admin address
	operators *admin.Server     // serves admin
	cluster   *clusterNode      // nil without a cluster
	state     *replica.StateDir // nil when nothing is written
	flags     *config.Flags     // what a reload begins with; set before run
	files     fileLimit

	*succession

	// running is what a reload replaces as a whole; readers take what is there.
	running atomic.Pointer[running]
	reloads atomic.Pointer[admin.ConfigState]

	// changing is held by who replaces running, or hands all over to another process: one at a time.
	changing sync.Mutex
	alive    context.Context // guarded by changing: pools run until it is done; nil before start

	shortages *shortage.Watch
	own       ownAddrs

	draining   atomic.Bool
	readiness  *readiness
	background sync.WaitGroup // all that start sets going, but for the pools' own
}

// running is a configuration and the pools that were made of it. It is never changed.
type running struct {
	config *config.Config
	pools  []*pooled // in the order of config.Pools
	asked  []*pooled // those whose backends /readyz is about
}

func newRunning(c *config.Config, pools []*pooled) *running {
	now := &running{config: c, pools: pools}
	defaults := make(map[string]bool)
	for i := range c.Listeners {
		if name := c.Listeners[i].Default; name != "" {
			defaults[name] = true
		}
	}
	for _, p := range pools {
		if len(defaults) == 0 || defaults[p.Name()] { // where no listener has a default, any pool counts
			now.asked = append(now.asked, p)
		}
	}
	return now
}

// named finds a pool and its settings by its name; nil: there is none.
func (now *running) named(name string) (*pooled, *config.Pool) {
	if now != nil {
		for i, p := range now.pools {
			if p.Name() == name {
				return p, &now.config.Pools[i]
			}
		}
	}
	return nil, nil
}

// gcPercent keeps the heap small. The loops make no garbage and the tables lie outside the heap, so what little the
// rest makes may as well be collected often: it takes half a kilobyte off each idle conn's share of the memory.
const gcPercent = 15

// assemble makes everything that can fail, and starts nothing: on an error all is as before. The error says what is
// wrong with which setting, and what to do.
func assemble(c *config.Config, version string, estate *upgrade.Estate, logs *logging.Logs,
	level *slog.LevelVar,
) (*service, error) {
	// A loop that polls keeps its P: two more let the garbage collector and the rest of the program run beside them.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(loopsOf(c) + 2)
	}
	if c.Limits.Memory > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(c.HeapMemory())
	}
	s := &service{version: version, logs: logs, events: admin.NewEvents(), level: level, files: raiseFiles()}
	s.log = slog.New(slog.NewMultiHandler(logs.Handler(), s.events))
	s.shortages = shortage.New(s.log)
	s.reloads.Store(new(admin.ConfigState))
	var err error
	if s.succession, err = newSuccession(estate, c, version, s.log, logs.Out); err != nil {
		return nil, err
	}
	if err := s.take(c); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// take makes the parts. On an error those made so far are the caller's to close.
func (s *service) take(c *config.Config) (err error) {
	if c.Cluster.Bind.IsValid() {
		if s.cluster, err = newClusterNode(c, s.version, s.estate, s.log); err != nil {
			return err
		}
	}
	if err = s.takeStore(c); err != nil {
		return err
	}
	now, _, err := s.prepare(nil, c)
	if err != nil {
		return err
	}
	cfg := s.balancerConfig(now)
	cfg.Import = s.importSockets(cfg.Listeners)
	if s.balancer, err = balancer.New(cfg); err != nil {
		return explainListeners(err)
	}
	if s.cluster != nil {
		if err = s.cluster.join(now, s.settle); err != nil {
			return err
		}
	}
	s.running.Store(now)
	s.readiness = newReadiness(func() string { return s.running.Load().unable() }, s.log)
	return s.takeAdmin(c)
}

// takeStore makes the tables, or finds those that an earlier process has left.
func (s *service) takeStore(c *config.Config) (err error) {
	known := affinity.Config{
		TableEntries: c.Tables.Entries, ClientEntries: c.Tables.ClientEntries, SessionTTL: c.Tables.SessionTTL,
		TicketTTL: c.Tables.TicketTTL, Suspect: s.suspect, Memory: c.Tables.Dir, Fact: s.facts.Learned, Log: s.log,
	}
	if err = s.lock(c); err != nil {
		return err
	}
	if s.state, err = openState(c, s.log); err != nil {
		return err
	}
	if s.state != nil {
		known.Seed, known.SeedMade = s.state.Seed().Value, s.state.Seed().Made
	}
	if s.cluster != nil {
		s.facts.set(s.cluster.hears(s.succession))
	}
	if err = s.importTables(&known); err != nil {
		return err
	}
	s.store, err = affinity.NewStore(known)
	switch {
	case err == nil:
		return nil
	case c.Tables.Dir != "":
		return fmt.Errorf("--table-dir: %w", err)
	default:
		return fmt.Errorf("no memory for %d table entries and %d client entries: lower --table-entries or "+
			"--client-entries: %w",
			c.Tables.Entries, c.Tables.ClientEntries, err)
	}
}

// openState finds what an earlier process has left. Tables in files do not hold the ticket keys; with --table-dir alone
// those are written beside them.
func openState(c *config.Config, log *slog.Logger) (*replica.StateDir, error) {
	cfg, flag := replica.StateDirConfig{Dir: c.StateDir, Log: log}, "--state-dir"
	if cfg.Dir == "" {
		cfg.Dir, cfg.KeysOnly, flag = c.Tables.Dir, true, "--table-dir"
	}
	if cfg.Dir == "" {
		return nil, nil
	}
	state, err := replica.OpenStateDir(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return state, nil
}

// start sets the goroutines beside the balancer going. They end with ctx.
func (s *service) start(ctx context.Context) {
	s.changing.Lock()
	s.alive = ctx
	for _, p := range s.running.Load().pools {
		p.start(ctx)
	}
	s.applied(s.running.Load().config)
	s.background.Go(func() { s.watch(ctx) })
	s.changing.Unlock()
	s.startAlone(ctx)
}

// announce logs what runs, one line per thing.
func (s *service) announce() {
	now := s.running.Load()
	c := now.config
	s.log.Info("homing", slog.String("version", s.version), slog.String("go", runtime.Version()),
		slog.Int("pid", os.Getpid()), slog.String("name", nodeName(c)))
	s.announceRoutes(now)
	s.log.Info("loops", slog.Int("loops", loopsOf(c)), slog.Int("gomaxprocs", runtime.GOMAXPROCS(0)),
		slog.Int("max_conns", s.maxConns(c)))
	s.log.Info("tables", slog.Int("table_entries", c.Tables.Entries),
		slog.Int("client_entries", c.Tables.ClientEntries), slog.String("memory", fmt.Sprintf("%.1fMiB", float64(s.store.TableBytes())/(1<<20))))
	if s.admin != nil {
		s.log.Info("admin", slog.String("addr", s.admin.Addr().String()))
	}
	if s.cluster != nil {
		s.cluster.announce(len(now.discovering()) > 0)
	}
	s.files.warn(s.log, s.maxConns(c))
	s.log.Info("ready")
}

// announceRoutes logs where conns are accepted and where they go.
func (s *service) announceRoutes(now *running) {
	addrs := s.balancer.Addrs()
	for i := range now.config.Listeners {
		l := &now.config.Listeners[i]
		s.log.Info("listener", slog.String("addr", addrs[i].String()), slog.String("name", l.Name),
			slog.String("pool", l.Default), slog.Int("routes", len(l.Routes)), slog.String("tls", l.TLS.String()))
	}
	for i, p := range now.pools {
		s.log.Info("pool", slog.String("pool", p.Name()), slog.String("policy", now.config.Pools[i].Policy.String()))
		for _, b := range p.Snapshot().All() {
			s.log.Info("backend", slog.String("pool", p.Name()), slog.String("addr", b.Addr.String()),
				slog.String("name", b.Name), slog.Int("weight", b.Weight()), slog.Int("max_conns", b.MaxConns()))
		}
	}
	for _, remark := range now.config.Remarks() {
		s.log.Warn(remark)
	}
}

// stopPools ends what belongs to the pools, once nothing is reloaded any more.
func (s *service) stopPools() {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, p := range s.running.Load().pools {
		p.stop()
	}
}

// close gives back what assemble took. It is called once nothing runs.
func (s *service) close() {
	if s.cluster != nil {
		s.cluster.close()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	if s.balancer != nil {
		s.balancer.Close()
	}
	if s.store != nil {
		s.store.Close()
	}
	s.unlock()
}

// explainListen says which address of which flag cannot be listened on, why, and what to do.
func explainListen(flag, addr string, err error) error {
	remedy := ""
	path, ofUnix := strings.CutPrefix(addr, netaddr.Prefix)
	switch {
	case ofUnix && errors.Is(err, syscall.EADDRINUSE):
		remedy = fmt.Sprintf("somebody listens at it: stop that (ss -lxp src %s), or choose another path", path)
	case ofUnix && errors.Is(err, fs.ErrNotExist):
		remedy = fmt.Sprintf("there is no directory %s: make it, in a unit by RuntimeDirectory=, or choose another",
			filepath.Dir(path))
	case ofUnix && errors.Is(err, fs.ErrPermission):
		remedy = fmt.Sprintf("permission denied: this user has to be able to write to %s; or choose another",
			filepath.Dir(path))
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(addr)
		remedy = fmt.Sprintf("address already in use: stop what holds it (ss -ltnp 'sport = :%s'), or choose another",
			port)
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
