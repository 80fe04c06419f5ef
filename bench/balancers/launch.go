package balancers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"homing/bench/farm"
	"homing/bench/proc"
)

// Setup says what a balancer stands before, and how.
type Setup struct {
	// Backends are addresses, host:port, at least one.
	Backends []string
	// Nodes that stand side by side and tell each other what they know, where they can. 0 is 1.
	Nodes int
	// Threads that each node moves bytes with. 0 is 1.
	Threads int
}

// launch is a balancer being started.
type launch struct {
	balancer Balancer
	program  Program
	module   string
	threads  int
	files    int // that each process may have open
	backends []string
	nodes    []*node
	keys     map[string][]byte // the two secrets of a cluster of homing's, by file
}

// node is one process of a balancer, and what is needed to start it again.
type node struct {
	name   string
	addr   string // accepts conns here
	admin  string // homing's admin server
	gossip string // where nodes talk to each other: gossip of homing, peers of HAProxy
	replay string // homing's replication
	server *farm.Server
	down   bool // killed by Down
}

// Running is a balancer that accepts conns. Its methods are called one at a time.
type Running struct{ l *launch }

// Start starts a balancer of the kit and returns when all its nodes are ready. On error nothing is left running.
func (k *Kit) Start(ctx context.Context, b Balancer, s Setup) (_ *Running, err error) {
	l := &launch{balancer: b, program: k.programs[b.Family], module: k.module, threads: max(s.Threads, 1), backends: s.Backends}
	r := &Running{l: l}
	if b.Family == FamilyDirect {
		return r, nil
	}
	if l.program.Path == "" {
		return nil, errors.New(k.missing[b.Family])
	}
	if l.files, err = proc.MaxFiles(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", b.Name, err), r.Stop())
		}
	}()
	if err = l.layOut(ctx, max(s.Nodes, 1)); err != nil {
		return nil, err
	}
	for i := range l.nodes {
		if err = r.Up(ctx, i); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// layOut gives each node its addresses, and a cluster its keys, as its README says.
func (l *launch) layOut(ctx context.Context, nodes int) error {
	const each = 4
	addrs, err := proc.FreeAddrs(ctx, each*nodes)
	if err != nil {
		return err
	}
	for i := range nodes {
		a := addrs[each*i:]
		l.nodes = append(l.nodes, &node{name: "node" + strconv.Itoa(i+1), addr: a[0], admin: a[1], gossip: a[2], replay: a[3]})
	}
	if l.balancer.Family != FamilyHoming || nodes == 1 {
		return nil
	}
	l.keys = map[string][]byte{}
	for _, name := range []string{gossipKey, nodeKey} {
		if l.keys[name], err = exec.CommandContext(ctx, l.program.Path, "keygen").Output(); err != nil {
			return fmt.Errorf("draw a key for %s: %w", name, err)
		}
	}
	return nil
}

// Files of homing's keys.
const (
	gossipKey = "gossip.key"
	nodeKey   = "node.key"
)

// recipe is how a node is started in a directory.
func (l *launch) recipe(n *node, dir string) farm.Recipe {
	c := farm.Recipe{Program: l.program.Path, Files: l.keys}
	conf := filepath.Join(dir, "balancer.conf")
	if l.balancer.config != nil {
		c.Files = map[string][]byte{filepath.Base(conf): []byte(l.balancer.config(l, n))}
	}
	switch l.balancer.Family {
	case FamilyHoming:
		c.Args = l.homingArgs(n, dir)
	case FamilyHAProxy:
		c.Args = []string{"-db", "-f", conf}
		if len(l.nodes) > 1 {
			c.Args = append(c.Args, "-L", n.name)
		}
	case FamilyNginx:
		c.Args, c.Forks = []string{"-p", dir, "-c", conf, "-g", "daemon off;"}, true
	}
	return c
}

// homingArgs is homing's command line.
func (l *launch) homingArgs(n *node, dir string) []string {
	args := []string{"run", "--listen", n.addr, "--admin", n.admin, "--log-level", "warn", "--loops", strconv.Itoa(l.threads)}
	if l.balancer.engine != "" {
		args = append(args, "--engine", l.balancer.engine)
	}
	for _, b := range l.backends {
		args = append(args, "--backend", b)
	}
	if len(l.nodes) > 1 {
		args = append(args, "--cluster-bind", n.gossip, "--replication-bind", n.replay,
			"--gossip-key-file", filepath.Join(dir, gossipKey), "--node-key-file", filepath.Join(dir, nodeKey))
		for _, other := range l.nodes {
			args = append(args, "--cluster-join", other.gossip)
		}
	}
	return args
}

// Addrs are the addresses to connect to: of the nodes, or of the first backend where there is no balancer.
func (r *Running) Addrs() []string {
	if r.l.balancer.Family == FamilyDirect {
		return r.l.backends[:1]
	}
	var addrs []string
	for _, n := range r.l.nodes {
		addrs = append(addrs, n.addr)
	}
	return addrs
}

// Nodes is how many there are, running or not; none where there is no balancer.
func (r *Running) Nodes() int { return len(r.l.nodes) }

// PIDs are the processes of a node, children included; none while it is down. Nodes count from 0.
func (r *Running) PIDs(i int) []int { return r.l.nodes[i].server.PIDs() }

// Check returns an error that carries the last line of a node that has ended by itself.
func (r *Running) Check() error {
	for _, n := range r.l.nodes {
		if !n.down && n.server.PIDs() == nil {
			return fmt.Errorf("%s ended by itself: %s", r.l.balancer.Name, n.server.LastLine())
		}
	}
	return nil
}

// Down kills a node, as a crash would. Nodes count from 0.
func (r *Running) Down(i int) {
	n := r.l.nodes[i]
	n.down = true
	n.server.Kill()
}

// Up starts a node, or starts it again with all it had on disk, and returns when it is ready.
func (r *Running) Up(ctx context.Context, i int) (err error) {
	n := r.l.nodes[i]
	if n.server == nil {
		n.server, err = farm.Launch(ctx, "bench-"+r.l.balancer.Key, n.name, n.addr, func(s *farm.Server) (farm.Recipe, error) {
			return r.l.recipe(n, s.Dir()), nil
		})
	} else {
		err = n.server.Restart(ctx)
	}
	if err != nil {
		return err
	}
	n.down = false
	if r.l.balancer.Family == FamilyHoming {
		return waitReady(ctx, n)
	}
	return nil
}

// Stop ends all nodes and removes what they had on disk.
func (r *Running) Stop() error {
	var errs []error
	for _, n := range r.l.nodes {
		if n.server != nil {
			errs = append(errs, n.server.Stop())
		}
	}
	return errors.Join(errs...)
}

// readyTimeout bounds the wait for a node that accepts to call itself ready.
const readyTimeout = 10 * time.Second

// waitReady asks homing's /readyz until it says yes.
func waitReady(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err := proc.Until(ctx, func() (bool, error) {
		if n.server.PIDs() == nil {
			return false, fmt.Errorf("ended before it was ready: %s", n.server.LastLine())
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/readyz", nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil // not up yet
		}
		return resp.StatusCode == http.StatusOK, resp.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("not ready: %w: %s", err, strings.TrimSpace(n.server.LastLine()))
	}
	return nil
}
