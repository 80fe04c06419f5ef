//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"homing/cluster"
	"homing/cmd/homing/internal/admin"
)

// routes is what the admin server serves of the cluster: its members, for anybody, and commands, for whoever has the
// node key.
func (c *clusterNode) routes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /cluster":          http.HandlerFunc(c.serveMembers),
		"POST /cluster/command": http.HandlerFunc(c.serveCommand),
	}
}

func (c *clusterNode) serveMembers(w http.ResponseWriter, _ *http.Request) {
	view := clusterView{Members: []memberView{viewOf(c.membership.Self())}}
	for _, one := range c.membership.Members() {
		view.Members = append(view.Members, viewOf(one))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(view) // the client that left does not want it
}

// maxCommandBody is more than any sealed command has.
const maxCommandBody = 1 << 10

func (c *clusterNode) serveCommand(w http.ResponseWriter, r *http.Request) {
	sealed, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCommandBody))
	if err != nil {
		http.Error(w, "the command cannot be read", http.StatusBadRequest)
		return
	}
	answers, err := c.membership.Command(r.Context(), sealed)
	if err != nil {
		status := http.StatusConflict
		if errors.Is(err, cluster.ErrCommand) {
			status = http.StatusForbidden
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answers) // as above
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
