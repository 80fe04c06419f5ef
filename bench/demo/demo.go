// Package demo shows what homing is for, on real TLS: clients that reconnect and offer to resume, first through plain
// round robin, then through homing, and what became of their offers.
package demo

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"homing/bench/balancers"
	"homing/bench/farm"
	"homing/bench/proc"
	"homing/bench/tlsclient"
)

// Options of a demo. Kit and Backends are needed; the zero value of each other field means its default.
type Options struct {
	// Kit knows where homing is.
	Kit *balancers.Kit

	// Backends are what the clients get to, by round robin and by homing. They are the caller's.
	Backends *farm.Backends

	// Nginx says that they are nginx, and adds TLS 1.2 session IDs.
	Nginx bool

	// Clients is the number of clients, each with a session of its own. Default 20.
	Clients int

	// Reconnects is the number of reconnects in each row of the table. Default 600.
	Reconnects int

	// Limit bounds the whole demo; rows that do not get their reconnects done say so. Default 25 s.
	Limit time.Duration

	// Progress, if not nil, is told the step and how many conns of all steps are done, at the begin of each step and
	// after each conn.
	Progress func(step string, done, total int)
}

func (o *Options) fill() error {
	if o.Clients < 0 || o.Reconnects < 0 || o.Limit < 0 {
		return errors.New("demo: clients, reconnects and limit must not be negative")
	}
	o.Clients = cmp.Or(o.Clients, 20)
	o.Reconnects = cmp.Or(o.Reconnects, 600)
	o.Limit = cmp.Or(o.Limit, 25*time.Second)
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	return nil
}

// client is one user: it offers its session on each conn after the first.
type client interface {
	Get(ctx context.Context, addr string) (tlsclient.Result, error)
}

// kind is one way to resume.
type kind struct {
	name   string
	client func() client
}

// kinds are the ways to resume. TLS 1.3 goes first: once TLS 1.2 traffic has shown the ticket keys, homing has nothing
// left to learn, and the refusals that learning costs would be hidden.
func kinds(o *Options) []kind {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(o.Backends.Roots()))
	config := func(version uint16) tlsclient.Config {
		return tlsclient.Config{Version: version, ServerName: farm.BackendsName, Roots: roots}
	}
	list := []kind{
		{"TLS 1.3 PSK", func() client { return tlsclient.New(config(tls.VersionTLS13)) }},
		{"TLS 1.2 ticket", func() client { return tlsclient.New(config(tls.VersionTLS12)) }},
	}
	if o.Nginx {
		list = append(list, kind{"TLS 1.2 session ID", func() client { return tlsclient.NewID(config(tls.VersionTLS12)) }})
	}
	return list
}

// The two balancers compared, in the order in which they run.
const (
	roundRobin = "round robin"
	homeBound  = "homing"
)

// startFront starts a balancer before the backends and returns its address.
func startFront(ctx context.Context, name string, o *Options) (addr string, stop func() error, err error) {
	if name == roundRobin {
		r, err := farm.Launch(ctx, "demo", name, "", o.plain)
		if err != nil {
			return "", nil, fmt.Errorf("demo: %w", err)
		}
		return r.Addr(), r.Stop, nil
	}
	list, err := balancers.Select([]string{balancers.Homing})
	if err != nil {
		return "", nil, err
	}
	h, err := o.Kit.Start(ctx, list[0], balancers.Setup{Backends: o.Backends.Addrs()})
	if err != nil {
		return "", nil, fmt.Errorf("demo: %w", err)
	}
	return h.Addrs()[0], h.Stop, nil
}

// plain is how homing is started as what it is compared with: a balancer by turns that reads nothing of TLS.
func (o *Options) plain(s *farm.Server) (farm.Recipe, error) {
	r := farm.Recipe{Args: []string{"run", "--listen", s.Addr(), "--tls", "off", "--log-level", "warn"}}
	for _, addr := range o.Backends.Addrs() {
		r.Args = append(r.Args, "--backend", addr)
	}
	for _, p := range o.Kit.Programs() {
		if p.Name == balancers.FamilyHoming {
			r.Program = p.Path
			return r, nil
		}
	}
	return r, errors.New("homing is not found: give --homing")
}

// row is what one kind of client met behind one balancer.
type row struct {
	kind, balancer string
	offered        int
	accepted       int
	cpu            time.Duration // of the servers, per reconnect
	handshakes     []time.Duration
}

// run is a demo under way.
type run struct {
	Options
	rows  []row
	steps int // of which each is a row
	conns int // done so far, of all steps
}

// Run runs the demo and writes its table to out. It ends within Options.Limit and a few seconds for starting and stopping.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if err := o.fill(); err != nil {
		return err
	}
	list := kinds(&o)
	front := []string{roundRobin, homeBound}
	r := run{Options: o, steps: len(list) * len(front)}
	deadline := time.Now().Add(o.Limit)
	for _, name := range front {
		addr, stop, err := startFront(ctx, name, &o)
		if err != nil {
			return err
		}
		for _, k := range list {
			// What an early step leaves of its share of the time goes to the later ones.
			share := time.Until(deadline) / time.Duration(r.steps-len(r.rows))
			row := row{kind: k.name, balancer: name}
			if err := r.measure(ctx, &row, k.client, addr, time.Now().Add(share)); err != nil {
				return errors.Join(fmt.Errorf("demo: %s through %s: %w", k.name, name, err), stop())
			}
			r.rows = append(r.rows, row)
		}
		if err := stop(); err != nil {
			return err
		}
	}
	return report(out, &o, r.rows)
}

// measure lets every client connect once, then clients drawn at random reconnect, one after another, until the
// reconnects are done or the time is over.
func (r *run) measure(ctx context.Context, row *row, newClient func() client, addr string, deadline time.Time) error {
	tell := func() {
		r.Progress(row.kind+" through "+row.balancer, r.conns, r.steps*(r.Clients+r.Reconnects))
	}
	tell()
	clients := make([]client, r.Clients)
	for i := range clients {
		clients[i] = newClient()
		if _, err := clients[i].Get(ctx, addr); err != nil {
			return err
		}
		r.conns++
		tell()
	}
	before, err := r.serverCPU()
	if err != nil {
		return err
	}
	for range r.Reconnects {
		// In turn would be unfair to round robin: with 20 clients and 3 backends nobody would ever meet the same backend
		// again.
		res, err := clients[rand.IntN(len(clients))].Get(ctx, addr)
		if err != nil {
			return err
		}
		if res.Offered {
			row.offered++
		}
		if res.Resumed {
			row.accepted++
		}
		row.handshakes = append(row.handshakes, res.Handshake)
		r.conns++
		tell()
		if time.Now().After(deadline) {
			break
		}
	}
	after, err := r.serverCPU()
	if err != nil {
		return err
	}
	row.cpu = (after - before) / time.Duration(len(row.handshakes))
	slices.Sort(row.handshakes)
	return nil
}

// serverCPU is the CPU time that the backends have used so far.
func (r *run) serverCPU() (time.Duration, error) {
	var pids []int
	for _, w := range r.Backends.Watched() {
		pids = append(pids, w.PIDs...)
	}
	return proc.CPU(pids)
}
