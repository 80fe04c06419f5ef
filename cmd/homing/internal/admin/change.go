package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"homing/balancer/pool"
	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

// settleTimeout bounds the wait for the loops. A turn of one takes less than a millisecond.
const settleTimeout = 2 * time.Second

// chosen is a backend that a request names.
type chosen struct {
	pool    *pool.Pool
	backend *pool.Backend
}

// order is o, about this backend.
func (c *chosen) order(o cluster.Order) cluster.Order {
	o.Pool, o.Backend = c.pool.Hash(), c.backend.Addr.IP()
	return o
}

// choose finds the backends of an address, or of a configured name, which may stand for several addresses.
func (s *Server) choose(r *http.Request) ([]chosen, error) {
	name, in := r.PathValue("backend"), r.FormValue("pool")
	pools, err := s.poolsNamed(in)
	if err != nil {
		return nil, err
	}
	var found []chosen
	var names []string
	for _, p := range pools {
		n := len(found)
		for _, b := range p.Snapshot().All() {
			if b.Addr.String() == name || b.Name == name {
				found = append(found, chosen{p, b})
			}
		}
		if len(found) > n {
			names = append(names, p.Name())
		}
	}
	switch {
	case len(found) == 0 && in != "":
		return nil, refusef(http.StatusNotFound, "pool %s has no backend %.200q: homing status lists them", in, name)
	case len(found) == 0:
		return nil, refusef(http.StatusNotFound, "there is no backend %.200q: homing status lists them", name)
	case len(names) > 1:
		return nil, refusef(http.StatusConflict, "backend %.200s is in the pools %s: say which one with --pool", name,
			strings.Join(names, ", "))
	}
	return found, nil
}

func (s *Server) backends(r *http.Request) (api.Backends, error) {
	pools, err := s.poolsNamed(r.FormValue("pool"))
	out := api.Backends{Backends: []api.Backend{}}
	v := s.viewer()
	for _, p := range pools {
		for _, b := range p.Snapshot().All() {
			out.Backends = append(out.Backends, v.backend(p, b))
		}
	}
	return out, err
}

func (s *Server) backend(r *http.Request) (api.Backends, error) {
	found, err := s.choose(r)
	if err != nil {
		return api.Backends{}, err
	}
	return api.Backends{Backends: s.viewChosen(found)}, nil
}

func (s *Server) viewChosen(found []chosen) []api.Backend {
	v := s.viewer()
	out := []api.Backend{}
	for _, c := range found {
		out = append(out, v.backend(c.pool, c.backend))
	}
	return out
}

// changing is a request that changes the backends that it names; one is done at a time.
func changing[In any](
	do func(s *Server, ctx context.Context, found []chosen, in *In) (api.Changed, error),
) func(*Server, *http.Request, *In) (api.Changed, error) {
	return func(s *Server, r *http.Request, in *In) (api.Changed, error) {
		found, err := s.choose(r)
		if err != nil {
			return api.Changed{}, err
		}
		s.changing.Lock()
		defer s.changing.Unlock()
		return do(s, r.Context(), found, in)
	}
}

func (s *Server) drain(ctx context.Context, found []chosen, in *api.DrainRequest) (api.Changed, error) {
	span := time.Duration(in.For * float64(time.Second))
	if in.For == 0 {
		span = api.DefaultDrain
	}
	if span < time.Second || span > pool.MaxDrain {
		return api.Changed{}, refusef(http.StatusBadRequest, "for_seconds %v is not from 1 to %v", in.For,
			pool.MaxDrain.Seconds())
	}
	plan := pool.DrainPlan{Mode: pool.DrainSoft, For: span}
	if in.Hard {
		plan.Mode = pool.DrainHard
	}
	if !in.Force {
		if err := lastOnes(found); err != nil {
			return api.Changed{}, err
		}
	}
	return s.drainAll(ctx, found, plan, in.ThisNode)
}

func (s *Server) undrain(ctx context.Context, found []chosen, in *api.UndrainRequest) (api.Changed, error) {
	return s.drainAll(ctx, found, pool.DrainPlan{Mode: pool.DrainOff}, in.ThisNode)
}

func (s *Server) drainAll(ctx context.Context, found []chosen, plan pool.DrainPlan, thisNode bool) (api.Changed, error) {
	return s.change(ctx, found, thisNode, cluster.Order{Op: cluster.OpDrain, Plan: plan},
		func(c chosen) error { return c.pool.Drain(c.backend, plan) })
}

// lastOnes refuses to drain what a pool cannot do without.
func lastOnes(found []chosen) error {
	p := found[0].pool // all are of one
	live := p.Snapshot().Live()
	takes := false
	for _, b := range live {
		if !slices.ContainsFunc(found, func(c chosen) bool { return c.backend == b }) {
			return nil
		}
		takes = true
	}
	if !takes {
		return nil // nothing to lose
	}
	return refusef(http.StatusConflict, "no other backend of pool %s takes fresh handshakes: bring one up first, or "+
		"do it all the same with --force", p.Name())
}

func (s *Server) weight(ctx context.Context, found []chosen, in *api.WeightRequest) (api.Changed, error) {
	if in.Weight < 0 || in.Weight > pool.MaxWeight {
		return api.Changed{}, refusef(http.StatusBadRequest, "weight %d is not from 0 to %d", in.Weight, pool.MaxWeight)
	}
	return s.change(ctx, found, in.ThisNode, cluster.Order{Op: cluster.OpWeight, Weight: in.Weight},
		func(c chosen) error { return c.pool.SetWeight(c.backend, in.Weight) })
}

// change makes a change at all nodes, or at this one, and waits until the loops of those that answer follow it.
func (s *Server) change(ctx context.Context, found []chosen, thisNode bool, order cluster.Order,
	here func(chosen) error,
) (api.Changed, error) {
	out := api.Changed{Nodes: []api.NodeAnswer{{Node: s.src.Node}}}
	everywhere := !thisNode && s.src.Order != nil
	if !thisNode && s.src.Cluster != nil && s.src.Order == nil {
		out.Note = "only at this node: without --node-key-file it cannot tell the others"
	}
	for _, c := range found {
		if !everywhere || c.backend.Addr.IsUnix() { // a unix socket is a server of this node alone
			if err := here(c); err != nil {
				return out, refusef(http.StatusConflict, "%s: %v", c.backend.Addr, err)
			}
			continue
		}
		answers, err := s.src.Order(ctx, c.order(order))
		if err != nil {
			return out, refusef(http.StatusConflict, "%s: %v", c.backend.Addr, err)
		}
		out.Nodes = mergeAnswers(out.Nodes, answers)
	}
	if err := s.settle(ctx); err != nil {
		return out, err
	}
	out.Backends = s.viewChosen(found)
	out.Nodes = s.named(out.Nodes)
	return out, nil
}

// settle waits until no loop acts on what was before.
func (s *Server) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := s.src.Sync(ctx); err != nil {
		return refusef(http.StatusGatewayTimeout, "it is done, but a loop has not answered within %s: %v",
			settleTimeout, err)
	}
	return nil
}

// mergeAnswers adds the answers to another command; what went wrong at a node stays.
func mergeAnswers(all []api.NodeAnswer, answers []cluster.Answer) []api.NodeAnswer {
	for _, a := range answers {
		i := slices.IndexFunc(all, func(n api.NodeAnswer) bool { return n.Node == a.Node })
		if i < 0 {
			all = append(all, api.NodeAnswer{Node: a.Node, Error: a.Error})
		} else if all[i].Error == "" {
			all[i].Error = a.Error
		}
	}
	return all
}

// drained asks all nodes whether a backend is drained. It is a command too: only who has the node key may ask.
func (s *Server) drained(r *http.Request) (api.Changed, error) {
	found, err := s.choose(r)
	if err != nil {
		return api.Changed{}, err
	}
	out := api.Changed{Backends: s.viewChosen(found), Nodes: []api.NodeAnswer{{Node: s.src.Node}}}
	for i, c := range found {
		if b := &out.Backends[i]; b.State != "drained" && out.Nodes[0].Error == "" {
			out.Nodes[0].Error = fmt.Sprintf("%s is %s, %d conns are open", b.Address, b.State, b.ConnsOpen)
		}
		if s.src.Order == nil || c.backend.Addr.IsUnix() {
			continue
		}
		answers, err := s.src.Order(r.Context(), c.order(cluster.Order{Op: cluster.OpIdle}))
		if err != nil && !errors.Is(err, cluster.ErrBusy) {
			return out, refusef(http.StatusConflict, "%s: %v", c.backend.Addr, err)
		}
		out.Nodes = mergeAnswers(out.Nodes, answers)
	}
	out.Nodes = s.named(out.Nodes)
	return out, nil
}
