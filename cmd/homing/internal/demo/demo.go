// Package demo shows what homing is for, on real TLS: clients that reconnect and offer to resume,
// first through plain round robin, then through homing, and what became of their offers.
package demo

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"homing/bench/tlsclient"
	"homing/cmd/homing/internal/farm"
)

// Options of a demo. The zero value of each field means its default.
type Options struct {
	// Nginx takes three real nginx as backends, and adds TLS 1.2 session IDs. Default: three
	// crypto/tls servers in this process.
	Nginx bool

	// Clients is the number of clients, each with a session of its own. Default 20.
	Clients int

	// Reconnects is the number of reconnects in each row of the table. Default 600.
	Reconnects int

	// Limit bounds the whole demo; rows that do not get their reconnects done say so. Default 25 s.
	Limit time.Duration

	// Progress is where the progress goes: a bar on a terminal, else a line per step. Default os.Stderr.
	Progress *os.File
}

func (o *Options) fill() error {
	if o.Clients < 0 || o.Reconnects < 0 || o.Limit < 0 {
		return errors.New("demo: clients, reconnects and limit must not be negative")
	}
	o.Clients = cmp.Or(o.Clients, 20)
	o.Reconnects = cmp.Or(o.Reconnects, 600)
	o.Limit = cmp.Or(o.Limit, 25*time.Second)
	o.Progress = cmp.Or(o.Progress, os.Stderr)
	return nil
}

// backend is one TLS server.
type backend interface {
	addr() string
	serverCPU() (time.Duration, error) // CPU time used so far
	stop() error
}

// front is one balancer before the backends.
type front interface {
	addr() string
	stop() error
}

// client is one user: it offers its session on each conn after the first.
type client interface {
	Get(ctx context.Context, addr string) (tlsclient.Result, error)
}

// kind is one way to resume.
type kind struct {
	name   string
	client func(roots *farm.Certificate) client
}

// TLS 1.3 goes first: once TLS 1.2 traffic has shown the ticket keys, homing has nothing left to
// learn, and the refusals that learning costs would be hidden.
func kinds(o *Options) []kind {
	list := []kind{
		{"TLS 1.3 PSK", func(c *farm.Certificate) client { return tlsclient.New(clientConfig(c, tls.VersionTLS13)) }},
		{"TLS 1.2 ticket", func(c *farm.Certificate) client { return tlsclient.New(clientConfig(c, tls.VersionTLS12)) }},
	}
	if o.Nginx {
		list = append(list, kind{"TLS 1.2 session ID", func(c *farm.Certificate) client {
			return tlsclient.NewID(clientConfig(c, tls.VersionTLS12))
		}})
	}
	return list
}

func clientConfig(c *farm.Certificate, version uint16) tlsclient.Config {
	return tlsclient.Config{Version: version, ServerName: farm.ServerName, Roots: farm.Roots(c)}
}

// The two balancers compared, in the order in which they run.
const (
	roundRobin = "round robin"
	homeBound  = "homing"
)

func startFront(ctx context.Context, name string, backends []string) (front, error) {
	if name == roundRobin {
		return startRelay(ctx, backends)
	}
	return startHoming(ctx, backends)
}

// row is what one kind of client met behind one balancer.
type row struct {
	kind, balancer string
	offered        int
	accepted       int
	cpu            time.Duration // of the servers, per reconnect
	handshakes     []time.Duration
}

// Run runs the demo and writes its table to out. It ends within Options.Limit and a few seconds for
// starting and stopping. When a program is not installed the error is a *farm.MissingError.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	if err := o.fill(); err != nil {
		return err
	}
	cert, err := farm.NewRSA()
	if err != nil {
		return err
	}
	backends, err := startBackends(ctx, o.Nginx, cert)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopBackends(backends)) }()

	list := kinds(&o)
	balancers := []string{roundRobin, homeBound}
	steps := len(list) * len(balancers)
	bar := newProgress(o.Progress, steps*(o.Clients+o.Reconnects))
	defer bar.end()
	start := time.Now()
	var rows []row
	for _, b := range balancers {
		front, err := startFront(ctx, b, addrs(backends))
		if err != nil {
			return err
		}
		for _, k := range list {
			bar.begin(fmt.Sprintf("%s through %s", k.name, b))
			// What an early step leaves of its share of the time goes to the later ones.
			share := (o.Limit - time.Since(start)) / time.Duration(steps-len(rows))
			r := row{kind: k.name, balancer: b}
			err := r.measure(ctx, &o, k.client, cert, front.addr(), backends, bar, time.Now().Add(share))
			if err != nil {
				return errors.Join(fmt.Errorf("demo: %s through %s: %w", k.name, b, err), front.stop())
			}
			rows = append(rows, r)
		}
		if err := front.stop(); err != nil {
			return err
		}
	}
	bar.end()
	return report(out, &o, rows)
}

// measure lets every client connect once, then clients drawn at random reconnect, one after another,
// until the reconnects are done or the time is over.
func (r *row) measure(ctx context.Context, o *Options, newClient func(*farm.Certificate) client, cert *farm.Certificate,
	addr string, backends []backend, bar *progress, deadline time.Time,
) error {
	clients := make([]client, o.Clients)
	for i := range clients {
		clients[i] = newClient(cert)
		if _, err := clients[i].Get(ctx, addr); err != nil {
			return err
		}
		bar.add()
	}
	before, err := cpuOf(backends)
	if err != nil {
		return err
	}
	for range o.Reconnects {
		// In turn would be unfair to round robin: with 20 clients and 3 backends nobody would
		// ever meet the same backend again.
		res, err := clients[rand.IntN(len(clients))].Get(ctx, addr)
		if err != nil {
			return err
		}
		if res.Offered {
			r.offered++
		}
		if res.Resumed {
			r.accepted++
		}
		r.handshakes = append(r.handshakes, res.Handshake)
		bar.add()
		if time.Now().After(deadline) {
			break
		}
	}
	after, err := cpuOf(backends)
	if err != nil {
		return err
	}
	r.cpu = (after - before) / time.Duration(len(r.handshakes))
	slices.Sort(r.handshakes)
	return nil
}

func startBackends(ctx context.Context, nginx bool, cert *farm.Certificate) ([]backend, error) {
	var list []backend
	for _, name := range []string{"a", "b", "c"} {
		b, err := startBackend(ctx, nginx, name, cert)
		if err != nil {
			return nil, errors.Join(err, stopBackends(list))
		}
		list = append(list, b)
	}
	return list, nil
}

func startBackend(ctx context.Context, nginx bool, name string, cert *farm.Certificate) (backend, error) {
	if nginx {
		return startNginx(ctx, name, cert)
	}
	pair, err := cert.TLS()
	if err != nil {
		return nil, err
	}
	return startServer(ctx, name, pair)
}

func stopBackends(list []backend) error {
	var errs []error
	for _, b := range list {
		errs = append(errs, b.stop())
	}
	return errors.Join(errs...)
}

func addrs(list []backend) []string {
	var a []string
	for _, b := range list {
		a = append(a, b.addr())
	}
	return a
}

func cpuOf(list []backend) (time.Duration, error) {
	var sum time.Duration
	for _, b := range list {
		cpu, err := b.serverCPU()
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}
