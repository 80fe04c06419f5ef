//go:build linux

package service

import (
	"context"
	"errors"
	"net"
	"slices"

	"homing/balancer/affinity"
	"homing/cluster"
	"homing/cluster/replica"
	"homing/cmd/homing/internal/upgrade"
)

// importFrom makes the node that of the elder: its sockets, as far as they are bound to the addresses of the
// configuration, and then its name, for others know the sockets by it.
func (c *clusterNode) importFrom(estate *upgrade.Estate) error {
	bind := c.options.Bind.String()
	tcp, udp := estate.Listener(giveGossip, bind), estate.PacketConn(giveGossipUDP, bind)
	switch {
	case tcp != nil && udp != nil:
		c.member.Sockets = &cluster.GossipSockets{TCP: tcp, UDP: udp}
	case tcp != nil:
		err := errors.New("--cluster-bind: systemd gives its TCP socket, and not the UDP one: give both, or none")
		return errors.Join(err, tcp.Close())
	case udp != nil:
		err := errors.New("--cluster-bind: systemd gives its UDP socket, and not the TCP one: give both, or none")
		return errors.Join(err, udp.Close())
	default:
		return nil
	}
	var id string
	if found, err := estate.Read(letterNode, &id); err != nil || !found {
		return err
	}
	c.member.ID = id
	return nil
}

// keeps names what this process goes on with, when it has taken over.
func (c *clusterNode) keeps() []string {
	if c.member.Sockets == nil {
		return nil
	}
	return []string{giveGossip}
}

// give puts the node into a parcel.
func (c *clusterNode) give(p *upgrade.Parcel) error {
	if sockets := c.membership.ExportSockets(); sockets != nil {
		if err := errors.Join(p.AddSocket(giveGossip, sockets.TCP),
			p.AddSocket(giveGossipUDP, sockets.UDP)); err != nil {
			return err
		}
	}
	if c.replicator != nil {
		if err := p.AddSocket(giveReplication, c.replicator.Listener().(*net.TCPListener)); err != nil {
			return err
		}
	}
	return errors.Join(p.Write(letterNode, c.member.ID), p.Write(letterMembers, c.membership.Export()))
}

// prime makes this process know whom the elder knew, and the backends that had announced themselves to it.
func (c *clusterNode) prime(from *upgrade.Parcel) error {
	var members cluster.Exported
	if _, err := from.Read(letterMembers, &members); err != nil {
		return err
	}
	c.membership.Import(members)
	if c.discovery != nil {
		c.discovery.Prime()
	}
	c.wake()
	return nil
}

// letGo ends the node for this process, which has stopped all else, and says what has happened since give. Where the
// heir goes on with the sockets nobody notices; else this node leaves as it does at its end.
func (c *clusterNode) letGo(p *upgrade.Parcel, keeps []string) (err error) {
	if c.replicator != nil {
		err = p.Write(letterReplication, c.replicator.Export())
	}
	if !slices.Contains(keeps, giveGossip) {
		return err // close leaves
	}
	c.handed = true
	err = errors.Join(err, p.Write(letterMembers, c.membership.Export()))
	return errors.Join(err, c.membership.Shutdown())
}

// takeOver goes on where the elder was, with what it has said since it handed over.
func (c *clusterNode) takeOver(ctx context.Context, s *service, rest *upgrade.Parcel) error {
	var members cluster.Exported
	found, err := rest.Read(letterMembers, &members)
	if found && err == nil {
		c.membership.Import(members)
	}
	if c.replicator == nil {
		return err
	}
	held := s.held
	if held == nil {
		return err
	}
	var replication replica.Progress
	_, wrong := rest.Read(letterReplication, &replication)
	if wrong == nil && c.member.Sockets != nil {
		wrong = c.replicator.Import(replication, s.store.Seed())
	}
	s.facts.set(c.replicator.Learned)
	// Nobody is still about to add to what was held back: no loop, and not the store.
	err = errors.Join(err, wrong, s.balancer.Sync(ctx), s.store.Published(ctx))
	c.replicator.Take(held)
	return err
}

// hears is who is to be told what is learned, from the start: replication, once it runs under its own name.
func (c *clusterNode) hears(x *succession) func(affinity.Fact) {
	switch {
	case c.replicator == nil:
		return nil
	case x.estate.Elder == 0:
		return c.replicator.Learned
	}
	x.held = replica.NewForwarder()
	return x.held.Learned
}
