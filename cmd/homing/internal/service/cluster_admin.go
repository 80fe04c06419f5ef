//go:build linux

package service

import (
	"homing/cluster"
	"homing/cmd/homing/internal/admin"
	"homing/cmd/homing/internal/api"
)

// viewMembers is every member, this one first.
func (c *clusterNode) viewMembers() []api.Member {
	self := viewOf(c.membership.Self())
	self.Asked = true
	members := []api.Member{self}
	for _, one := range c.membership.Members() {
		members = append(members, viewOf(one))
	}
	return members
}

// viewOf is a member for people. Keys are named, not told.
func viewOf(one cluster.Member) api.Member {
	view := api.Member{
		ID: one.ID, Name: one.Meta.Name, Role: one.Meta.Role.String(), State: one.Meta.State.String(),
		Addr: one.Addr.String(), Version: one.Meta.Version,
	}
	if !one.Alive {
		view.State = "vanished"
	}
	for _, print := range one.Meta.Keys {
		view.Keys = append(view.Keys, print.String())
	}
	if one.Meta.Role == cluster.RoleAgent {
		announced := one.Meta.Announced
		view.Pool, view.Backend, view.Weight = announced.Pool, announced.Backend.String(), int(announced.Weight)
	}
	return view
}

// stats is what metrics show of the cluster.
func (c *clusterNode) stats() admin.Cluster {
	known := admin.Cluster{Members: make(map[admin.Kind]int)}
	for _, one := range c.membership.Members() {
		known.Members[admin.Kind{Role: one.Meta.Role, Alive: one.Alive}]++
	}
	known.Accepted, known.Refused = c.discovery.Stats()
	if c.replicator != nil {
		shared := c.replicator.Stats()
		known.Sharing = &shared
	}
	return known
}
