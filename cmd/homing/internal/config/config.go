//go:build linux

package config

import (
	"log/slog"
	"net/netip"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cluster"
	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/value"
	"homing/tlsparse"
)

// Config is everything that `homing run` can be told, with names resolved to nothing and defaults filled in. It is never
// changed once it is made: a reload makes another. Times and sizes of zero mean what the table of rows says they do.
type Config struct {
	// Listeners, in the order of the file; at least one. No two have one name or one address.
	Listeners []Listener
	// Pools, in the order of the file; at least one. No two have one name.
	Pools []Pool

	// What listeners and pools have that do not say otherwise.
	Listener ListenerSettings
	Pool     PoolSettings

	Loops    int // 0: one per CPU
	Engine   balancer.Engine
	Timeouts Timeouts
	Limits   Limits
	Tables   Tables
	StateDir string // "": nothing is written
	NodeName string // "": the machine's
	Cluster  Cluster
	Admin    Admin
	Log      Log
}

// Listener is one address that conns are accepted on.
type Listener struct {
	Name    string // in logs and metrics; its address when the file gives none
	Address string // as balancer.ParseListenAddr reads it
	Routes  []Route
	// Default is the pool of what no route takes and of what is no readable hello. "": such conns are closed and counted.
	Default string

	ListenerSettings
}

// ListenerSettings is what a listener has, and what the top of the file gives to all.
type ListenerSettings struct {
	TLS         balancer.TLSMode
	AcceptProxy []netip.Prefix // of proxies that say whose conn it is; none: nobody does
	Allow, Deny []netip.Prefix // clients; no Allow: all. The zero Prefix is those of unix sockets, here and above
	MaxConns    int            // open at once; 0: no limit but the node's
	Mode        uint32         // permissions of a unix socket's file
}

// Route takes hellos of some names and protocols to a pool.
type Route struct {
	Names []string // www.example.org, or *.example.org for any depth below; none: any name, and none
	ALPN  []string // none: any
	Pool  string
}

// Pool is the backends of one service.
type Pool struct {
	Name     string
	Backends []pool.Spec // no two have one address

	PoolSettings
}

// PoolSettings is what a pool has, and what the top of the file gives to all.
type PoolSettings struct {
	pool.Options // as far as they are settings: what depends on the rest, the service fills in

	Checks       Checks
	Agent        health.Agent
	Probe        Probe
	DiscoverFrom []DiscoverSource // empty: an agent's own address only

	DiscoverWeight int // of what is announced from one address, together
}

// Probe is how backends are asked for the names of their ticket keys.
type Probe struct {
	Enabled     bool
	Interval    time.Duration
	Names       []string // beside no name, and those of the traffic
	FromTraffic int      // or health.NoneFromTraffic
}

// Timeouts of conns.
type Timeouts struct {
	Hello, Connect, Hold, Idle, HalfClosed, Drain time.Duration
	Handshake, KeepAlive, User                    time.Duration // or balancer.Off
	DrainDelay                                    time.Duration // after SIGTERM, before no new conns are taken
	Upgrade                                       time.Duration // for a new process to be ready to take over
}

// Limits of a node.
type Limits struct {
	MaxConns     int   // 0: what the limit of open files allows
	PreHello     int   // 0: half of MaxConns
	BufferMemory int64 // 0: what follows from Memory
	Memory       int64 // of the whole process; 0: no limit
	Hello, Hold  int64 // bytes
	Clients      balancer.ClientLimits
}

// Tables is how much is remembered, how long, and where.
type Tables struct {
	Entries, ClientEntries int
	SessionTTL, TicketTTL  time.Duration
	Dir                    string // "": memory that ends with the process
}

// Cluster is what a node is told of its cluster.
type Cluster struct {
	Member
	NodeKeyFile     string
	ReplicationBind netip.AddrPort
}

// Admin is the server for operators.
type Admin struct {
	Address string // "": none

	// Whom it answers beyond loopback; "": none of it.
	TokenFile, CertFile, KeyFile, ClientCAFile string

	Ready Ready
}

// Ready is what /readyz wants of the pools.
type Ready uint8

// What it may want.
const (
	ReadyEach   Ready = iota // each pool that is a listener's default has a backend that is up
	ReadyAny                 // one of them has
	ReadyAlways              // nothing
)

func (r Ready) String() string { return [...]string{"each", "any", "always"}[r] }

// Access is the settings as the server wants them. Address is not empty, and has been checked.
func (a *Admin) Access() api.Access {
	address, _ := api.ParseAddress(a.Address) // as above
	return api.Access{
		Address: address, TokenFile: a.TokenFile, CertFile: a.CertFile, KeyFile: a.KeyFile, ClientCAFile: a.ClientCAFile,
	}
}

// Log is what is logged, and how.
type Log struct {
	Format value.LogFormat
	Level  slog.Level
	Conns  bool
}

// Default is the configuration of which nothing has been said: no listener, no pool.
func Default() *Config {
	return &Config{
		Listener: ListenerSettings{Mode: balancer.DefaultMode},
		Pool: PoolSettings{
			Options: pool.Options{
				LoadFactor:   pool.DefaultLoadFactor,
				SecondChance: pool.SecondChance{Tries: pool.DefaultSecondTries, Budget: pool.DefaultSecondBudget},
				Queue:        pool.DefaultQueue, QueueTimeout: pool.DefaultQueueTimeout,
			},
			Checks: Checks{
				Interval: health.DefaultInterval, Timeout: health.DefaultTimeout, Rise: health.DefaultRise, Fall: health.DefaultFall,
				Question: DefaultQuestion(),
			},
			Probe: Probe{Enabled: true, Interval: health.DefaultProbeInterval, FromTraffic: health.DefaultFromTraffic},

			DiscoverWeight: cluster.DefaultDiscoverWeight,
		},
		Timeouts: Timeouts{
			Hello: balancer.DefaultHelloTimeout, Connect: balancer.DefaultConnectTimeout, Hold: balancer.DefaultHoldTimeout,
			Handshake: balancer.DefaultHandshakeTimeout, Idle: balancer.DefaultIdleTimeout,
			HalfClosed: balancer.DefaultHalfClosedTimeout, KeepAlive: balancer.DefaultKeepAlive,
			User: balancer.DefaultUserTimeout, Drain: 30 * time.Second, Upgrade: 30 * time.Second,
		},
		Limits: Limits{
			Hello: tlsparse.DefaultHelloLimit, Hold: balancer.DefaultHoldLimit,
			Clients: balancer.ClientLimits{Prefix4: balancer.DefaultPrefix4, Prefix6: balancer.DefaultPrefix6},
		},
		Tables: Tables{
			Entries: affinity.DefaultTableEntries, ClientEntries: affinity.DefaultClientEntries,
			SessionTTL: affinity.DefaultSessionTTL, TicketTTL: affinity.DefaultTicketTTL,
		},
		Cluster: Cluster{Member: Member{Label: "homing"}},
	}
}
