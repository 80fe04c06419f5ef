package main

import "homing/cluster"

// clusterView is the answer to GET /cluster.
type clusterView struct {
	Members []memberView `json:"members"` // the node that answers first
}

// memberView is one member. Keys are named, not told.
type memberView struct {
	ID      string   `json:"id"`
	Role    string   `json:"role"`
	State   string   `json:"state"` // or vanished
	Addr    string   `json:"addr"`
	Version string   `json:"version"`
	Keys    []string `json:"keys,omitempty"` // the one in use first
	Pool    string   `json:"pool,omitempty"`
	Backend string   `json:"backend,omitempty"`
	Weight  int      `json:"weight,omitempty"`
}

func viewOf(one cluster.Member) memberView {
	view := memberView{
		ID: one.ID, Role: one.Meta.Role.String(), State: one.Meta.State.String(), Addr: one.Addr.String(), Version: one.Meta.Version,
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
