package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/cluster/bound"
)

// maxSpeak bounds the tries to hand memberlist a change. Each needs a refutation at the same moment to fail, which
// comes with exchanges of all state; more than two in a row are not to be expected.
const maxSpeak = 100

// Create starts a member: it listens, and knows nobody until Run dials. An error that wraps ErrNoKey refuses the
// address; others say what the system refused.
func Create(cfg Config) (*Membership, error) {
	if err := cfg.check(); err != nil {
		return nil, errors.Join(err, cfg.Sockets.close())
	}
	m := &Membership{
		cfg: cfg, log: cfg.Log,
		update:   make(bound.Wake, 1),
		commands: make(chan []byte, 16),
		meta:     cfg.Meta,
		hearing:  make(bound.Wake, 1),
		quiet:    bound.NewQuiet(cfg.Log), gossip: newGossipLog(cfg.Log),
		refusals: make(map[string]string), replays: bound.Recent[[nonceBytes]byte]{Max: maxReplays},
		standing: make(standing), roll: newRoll(cfg.Meta.Role == RoleAgent),
		questions: make(map[[nonceBytes]byte]*question),
	}
	m.meta.Standing = cfg.Meta.Role == RoleNode
	m.pools.Store(&m.cfg.Pools)
	m.SetNodeKeys(cfg.NodeKeys)
	m.rejoin = &rejoiner{
		now: time.Now, log: cfg.Log, wake: make(bound.Wake, 1), plan: newRejoin(cfg.Join),
		join: m.dial,
	}
	if err := m.open(); err != nil {
		if m.transport != nil {
			err = errors.Join(err, m.transport.Shutdown())
		}
		return nil, err
	}
	return m, nil
}

// open makes the sockets, and memberlist over them.
func (m *Membership) open() (err error) {
	cfg := &m.cfg
	switch {
	case cfg.Sockets != nil:
		m.transport = transportOver(cfg.Sockets.TCP, cfg.Sockets.UDP, cfg.Log)
		m.transport.door.Known = m.knows
		m.wire = m.transport
	case cfg.Transport == nil:
		if m.transport, err = newTransport(cfg.Bind, cfg.Log); err != nil {
			return fmt.Errorf("cluster: listen on %s: %w", cfg.Bind, err)
		}
		m.wire = m.transport
		m.transport.door.Known = m.knows
	default:
		m.wire = cfg.Transport
	}
	if m.encoded, err = m.encode(); err != nil {
		return err
	}
	if m.list, err = memberlist.Create(cfg.memberlist(m)); err != nil {
		return fmt.Errorf("cluster: gossip on %s: %w", cfg.Bind, err)
	}
	// Read once: memberlist writes its own entry again at each change, without a lock that others can take.
	node := m.list.LocalNode()
	m.addr = addrOf(node.Addr, node.Port)
	if m.transport != nil && cfg.Sockets == nil {
		m.transport.listen()
	}
	return nil
}

// dial meets whoever is at an address, and all whom that one knows.
func (m *Membership) dial(addr string) error {
	_, err := m.list.Join([]string{addr})
	if err == nil {
		return nil
	}
	_, text, found := strings.Cut(err.Error(), "* ") // memberlist makes a list with bullets of it
	if !found {
		return err
	}
	return errors.New(strings.Join(strings.Fields(text), " "))
}

// Run dials seeds and nodes that are missing, applies commands and tells others what Update changed, until ctx is done.
// It must run for the membership to be of use.
func (m *Membership) Run(ctx context.Context) {
	if m.transport != nil {
		m.transport.listen()
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { m.rejoin.run(ctx) })
	running.Go(func() { m.inquire(ctx) })
	lines := time.NewTicker(bound.LogEvery)
	defer lines.Stop()
	orders := time.NewTicker(ordersEvery)
	defer orders.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-lines.C:
			m.quiet.Sweep()
			m.gossip.quiet.Sweep()
		case <-orders.C:
			m.FollowOrders()
		case message := <-m.commands:
			m.receiveCommand(message)
		case <-m.update:
			// Gossip is quick but may miss somebody until the next exchange of all state, so there is one now.
			m.speak()
			m.rejoin.change((*rejoin).hurry)
		}
	}
}

// speak hands memberlist what Update changed. UpdateNode draws its incarnation before it takes the lock: when somebody
// tells us an older word of ours in between, as always happens to an heir, the refutation has a higher one, and
// memberlist drops the change without an error. Only its NotifyUpdate shows that it has been taken.
func (m *Membership) speak() {
	for range maxSpeak {
		// The change counts when UpdateNode returns, gossiped or not: its error says no more than that it did not wait.
		_ = m.list.UpdateNode(time.Nanosecond)
		m.mu.Lock()
		taken := bytes.Equal(m.spoken, m.encoded)
		m.mu.Unlock()
		if taken {
			return
		}
	}
	m.log.Warn("cluster: gossip does not take what this member says of itself")
}

// Shutdown stops listening. Without Leave before, it is a crash to the others. It may be called more than once.
func (m *Membership) Shutdown() error {
	if err := m.list.Shutdown(); err != nil {
		return fmt.Errorf("cluster: shutdown: %w", err)
	}
	return nil
}

func (c *Config) memberlist(m *Membership) *memberlist.Config {
	conf := memberlist.DefaultLANConfig()
	conf.Name = c.ID
	conf.Transport = c.Transport
	conf.BindAddr, conf.BindPort = c.Bind.Addr().String(), int(c.Bind.Port())
	if m.transport != nil {
		conf.Transport, conf.BindPort = m.transport, int(bound.AddrOf(m.transport.tcp.Addr()).Port())
	}
	conf.AdvertisePort = conf.BindPort
	if c.Advertise.IsValid() {
		conf.AdvertiseAddr = c.Advertise.Addr().String()
		if c.Bind.Port() != 0 {
			conf.AdvertisePort = int(c.Advertise.Port())
		}
	}
	conf.Label = c.Label
	if c.Keys != nil {
		conf.Keyring = c.Keys.ring
	}
	conf.TCPTimeout = streamTimeout
	conf.GossipInterval = gossipEvery
	conf.DeadNodeReclaimTime = reclaimAfter
	conf.GossipToTheDeadTime = cmp.Or(c.forget, conf.GossipToTheDeadTime)
	conf.EnableCompression = false // our messages are small, and what is not decompressed cannot blow up
	conf.Delegate, conf.Events, conf.Conflict, conf.Alive = m, m, m, m
	conf.Logger = slog.NewLogLogger(m.gossip, slog.LevelDebug)
	return conf
}
