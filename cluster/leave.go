package cluster

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// Leave tells the others that this member leaves on purpose, and waits until they know, for about the given time at
// most. Call it once Run has returned.
func (m *Membership) Leave(timeout time.Duration) error {
	if err := m.Update(func(meta *Meta) { meta.State = StateLeaving }); err != nil {
		return err
	}
	m.mu.Lock()
	m.askers = make(map[string]bool)
	m.mu.Unlock()
	// First the state, then the departure: memberlist reports a departure like a death, and its news replace older ones
	// of the same member that have not gone out yet. The nodes get the state by TCP, as gossip may miss one.
	m.speak()
	if err := m.list.UpdateNode(timeout / 2); err != nil {
		m.log.Debug("cluster: leaving", slog.Any("error", err))
	}
	m.tellNodes(timeout / 4)
	m.awaitAskers(timeout / 4)
	if err := m.list.Leave(timeout / 4); err != nil {
		return fmt.Errorf("cluster: leave: %w", err)
	}
	return nil
}

// awaitAskers waits until every live node has asked since Leave began, for they believe it of nobody else; one of an
// older release does not ask.
func (m *Membership) awaitAskers(timeout time.Duration) {
	nodes := m.nodes()
	ticker := time.NewTicker(gossipEvery / 10)
	defer ticker.Stop()
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); <-ticker.C {
		m.mu.Lock()
		missing := slices.ContainsFunc(nodes, func(node *memberlist.Node) bool { return !m.askers[node.Name] })
		m.mu.Unlock()
		if !missing {
			return
		}
	}
}

// tellNodes exchanges all state with every live node, all at once, and waits for it, but not longer than the given
// time.
func (m *Membership) tellNodes(timeout time.Duration) {
	nodes := m.nodes()
	told := make(chan struct{}, len(nodes))
	for _, node := range nodes {
		go func() {
			_ = m.dial(node.Address()) // one that does not answer finds out by itself
			told <- struct{}{}
		}()
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for range nodes {
		select {
		case <-told:
		case <-timer.C:
			return
		}
	}
}
