package admin

import (
	"context"
	"log/slog"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cluster"
	"homing/cluster/replica"
	"homing/cmd/homing/internal/api"
)

// Source is what the server reads, and whom it tells what to do. Its functions are called by any goroutine; none of
// them may wait for a loop but Sync.
type Source struct {
	Version string
	Name    string // what the node is called
	Node    string // its ID in the cluster; "" without one
	Started time.Time

	Stats     func() balancer.Stats
	Affinity  func() affinity.Stats
	Store     *affinity.Store
	Probe     func() []health.Findings
	Pools     func() []*pool.Pool
	Listeners func() []api.Listener // never nil, nor is a list in it
	Unready   func() string         // why conns are not welcome, "" when they are
	Shortages func() []api.Shortage // what stands, never nil
	Config    func() ConfigState
	LogLost   func() uint64 // lines of the log that were not written

	// Elder is the process that this one took over from, and its conns, while it drains.
	Elder func() (pid int, conns uint64, ok bool)

	// Sync returns when no loop acts on what was true before it was called.
	Sync func(context.Context) error

	Cluster func() Cluster               // nil without a cluster
	Members func() []api.Member          // nil without a cluster
	Order   Orderer                      // nil without a cluster, or without a node key
	Command Commander                    // nil without a cluster
	State   func() replica.StateDirStats // nil when nothing is written

	Reload   func(context.Context) error // reads the configuration again
	Upgrade  func(context.Context) error // hands over to another process
	LogLevel *slog.LevelVar
	Events   *Events
}

// Orderer has all nodes of the cluster do something.
type Orderer func(context.Context, cluster.Order) ([]cluster.Answer, error)

// Commander passes on a command that somebody else has sealed.
type Commander func(ctx context.Context, sealed []byte) ([]cluster.Answer, error)

// Cluster is what a node knows of its cluster, itself left out.
type Cluster struct {
	Members  map[Kind]int // by role and whether they are there
	Accepted int          // agents whose announcements stand
	Refused  int          // agents whose announcements are refused
	Sharing  *replica.Stats
}

// Kind is one kind of members.
type Kind struct {
	Role  cluster.Role
	Alive bool
}
