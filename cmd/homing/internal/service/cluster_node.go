//go:build linux

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"homing/balancer/affinity"
	"homing/cluster"
	"homing/cluster/replica"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/member"
	"homing/cmd/homing/internal/upgrade"
)

// leaveTimeout bounds the wait, at the very end, until the others know that this node left.
const leaveTimeout = 2 * time.Second

// clusterNode is a node's part in its cluster.
type clusterNode struct {
	// Static after assemble.
	options    *config.Cluster
	log        *slog.Logger
	membership *cluster.Membership
	discovery  *cluster.Discovery
	replicator *replica.Replicator // nil without a node key
	nodeKeys   [][]byte
	member     cluster.Config // to become a member with
	changed    chan struct{}  // the members changed; never closed

	// Owned by service.run.
	started bool
	handed  bool // the heir goes on with the node: it is not to leave
}

// newClusterNode makes what must be there before the store: where that sends what it learns. On an error there is
// nothing to close.
func newClusterNode(o *config.Config, version string, estate *upgrade.Estate,
	log *slog.Logger,
) (c *clusterNode, err error) {
	c = &clusterNode{options: &o.Cluster, log: log, changed: make(chan struct{}, 1)}
	if c.nodeKeys, err = member.LoadKeys("node-key-file", o.Cluster.NodeKeyFile, log); err != nil {
		return nil, err
	}
	if c.member, err = member.Config(&o.Cluster.Member, o.StateDir, version, log); err != nil {
		return nil, err
	}
	if err = c.importFrom(estate); err != nil {
		return nil, err
	}
	if err = c.replicate(estate); err != nil {
		return nil, err
	}
	return c, nil
}

// replicate listens for the other nodes' streams, when there is a node key.
func (c *clusterNode) replicate(estate *upgrade.Estate) (err error) {
	if len(c.nodeKeys) == 0 {
		return nil
	}
	bind := c.options.ReplicationBind
	if !bind.IsValid() {
		bind = portAbove(c.options.Bind)
	}
	cfg := replica.Config{Node: c.member.ID, Bind: bind.String(), NodeKeys: c.nodeKeys, Log: c.log}
	if listener := estate.Listener(giveReplication, bind.String()); listener != nil {
		cfg.Listener = listener
	}
	if c.replicator, err = replica.New(cfg); err != nil {
		return explainListen("--replication-bind", bind.String(), err)
	}
	return nil
}

// portAbove is the port next to gossip's; where that one is any, this one is too.
func portAbove(addr netip.AddrPort) netip.AddrPort {
	if addr.Port() == 0 || addr.Port() == 65535 {
		return netip.AddrPortFrom(addr.Addr(), 0)
	}
	return netip.AddrPortFrom(addr.Addr(), addr.Port()+1)
}

// join makes this process a member. Nobody is dialled before start. settle returns when no loop acts on what was
// before.
func (c *clusterNode) join(now *running, settle func()) (err error) {
	cfg := c.member
	cfg.Settle = settle
	cfg.Meta.Role, cfg.Meta.Name = cluster.RoleNode, nodeName(now.config)
	cfg.NodeKeys = c.nodeKeys
	cfg.Pools = now.plain()
	if c.replicator != nil {
		cfg.Trusts = c.replicator.Trusts
		if cfg.Meta.Replication, err = c.replicationAddr(); err != nil {
			return err
		}
	}
	cfg.Refusal = func(id string) string { return c.discovery.Refusal(id) } // nobody is asked before there is one
	cfg.Changed = c.wake
	cfg.KeysChanged = c.keep
	if c.membership, err = cluster.Create(cfg); err != nil {
		return member.Explain(&c.options.Member, err)
	}
	c.discovery = cluster.NewDiscovery(c.membership,
		cluster.DiscoverConfig{Pools: now.discovering(), Filled: c.membership.FollowOrders, Log: c.log})
	return nil
}

// discovering is the pools that take backends that announce themselves.
func (now *running) discovering() []cluster.DiscoverPool {
	var some []cluster.DiscoverPool
	for i, p := range now.pools {
		settings := &now.config.Pools[i]
		if !now.config.Discovers(settings) {
			continue
		}
		one := cluster.DiscoverPool{Pool: p.Pool, Weight: settings.DiscoverWeight}
		for _, source := range settings.DiscoverFrom {
			one.From = append(one.From, source.Network)
		}
		some = append(some, one)
	}
	return some
}

// setPools goes on with the pools of another configuration.
func (c *clusterNode) setPools(now *running) {
	c.membership.SetPools(now.plain())
	c.discovery.SetPools(now.discovering())
}

// replicationAddr is where the others find our streams.
func (c *clusterNode) replicationAddr() (netip.AddrPort, error) {
	bound, err := netip.ParseAddrPort(c.replicator.Addr().String())
	if err != nil {
		return bound, fmt.Errorf("--replication-bind: %w", err)
	}
	addr := bound.Addr().Unmap()
	switch {
	case c.options.Advertise.IsValid():
		addr = c.options.Advertise.Addr()
	case addr.IsUnspecified():
		addr = c.options.Bind.Addr()
	}
	return netip.AddrPortFrom(addr, bound.Port()), nil
}

// wake is called by memberlist, which must not wait.
func (c *clusterNode) wake() {
	select {
	case c.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// keep writes the gossip keys back to their file, so that a restart finds those of now.
func (c *clusterNode) keep(keys [][]byte) {
	if err := cluster.SaveKeys(c.options.GossipKeyFile, keys); err != nil {
		c.log.Warn("the gossip keys changed, but their file could not be written: do it before this node restarts",
			slog.String("file", c.options.GossipKeyFile), slog.Any("error", err))
	}
}

// start is all that is to run from now on.
func (c *clusterNode) start(store *affinity.Store) []func(context.Context) {
	c.started = true
	all := []func(context.Context){c.membership.Run, c.discovery.Run, c.follow}
	if c.replicator != nil {
		all = append(all, func(ctx context.Context) { c.replicator.Run(ctx, store) })
	}
	return all
}

// setNodeKeys has the others shown the first key, and all of them trusted.
func (c *clusterNode) setNodeKeys(keys [][]byte) {
	if len(keys) == 0 {
		return
	}
	if err := c.replicator.SetNodeKeys(keys); err != nil { // not with keys that could be read
		c.log.Warn("the node keys stay as they are", slog.Any("error", err))
		return
	}
	c.membership.SetNodeKeys(keys)
	c.log.Info("node keys read again", slog.Int("keys", len(keys)),
		slog.String("in_use", cluster.PrintOf(keys[0]).String()))
}

// follow tells whoever depends on the members that they changed.
func (c *clusterNode) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		}
		c.discovery.Wake()
		if c.replicator != nil {
			c.replicator.SetPeers(peersOf(c.membership.Members()))
		}
	}
}

// peersOf is the nodes to share facts with. One that vanished from gossip stays: its stream may well stand.
func peersOf(members []cluster.Member) []replica.Peer {
	var peers []replica.Peer
	for _, one := range members {
		if one.Meta.Role == cluster.RoleNode && one.Meta.Replication.IsValid() {
			peers = append(peers, replica.Peer{ID: one.ID, Addr: one.Meta.Replication.String()})
		}
	}
	return peers
}

// announce logs what this node is in its cluster.
func (c *clusterNode) announce(discovers bool) {
	replication := "none"
	if c.replicator != nil {
		replication = c.replicator.Addr().String()
	}
	c.log.Info("cluster", slog.String("addr", c.membership.Addr().String()), slog.String("id", c.member.ID),
		slog.String("name", c.membership.Self().Meta.Name), slog.String("replication", replication),
		slog.Bool("encrypted", c.member.Keys != nil), slog.Bool("discovers", discovers),
		slog.Int("seeds", len(c.options.Join)))
	if c.replicator == nil {
		c.log.Warn("what this node learns is not shared: --node-key-file is missing")
	}
}

// drain tells the others that this node takes no new conns.
func (c *clusterNode) drain() {
	if err := c.membership.Update(func(m *cluster.Meta) { m.State = cluster.StateDraining }); err != nil {
		c.log.Warn("cluster: drain", slog.Any("error", err))
	}
}

// close leaves the cluster and gives back what newClusterNode and join took. Nothing runs any more.
func (c *clusterNode) close() {
	var errs []error
	if c.membership != nil {
		if c.started && !c.handed {
			errs = append(errs, c.membership.Leave(leaveTimeout))
		}
		errs = append(errs, c.membership.Shutdown())
	}
	if c.replicator != nil && !c.started {
		errs = append(errs, c.replicator.Close())
	}
	if err := errors.Join(errs...); err != nil {
		c.log.Warn("cluster: the others may take this node for dead", slog.Any("error", err))
	}
}
