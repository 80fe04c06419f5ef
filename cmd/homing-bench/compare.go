//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homing/bench"
	"homing/bench/balancers"
	"homing/bench/compare"
	"homing/bench/farm"
	"homing/bench/report"
	"homing/bench/tlsserver"
	"homing/cmd/internal/usage"
)

// compareOptions is what the flags of `homing-bench compare` say.
type compareOptions struct {
	compare.Options
	kinds, sources, through []string

	backends     farm.Options
	servers, key string
	programs     balancers.Paths
	files        outputs
	title        string
}

const compareLong = `Starts balancers before the same backends, lets the same clients through each of them by turns, and prints what
became of their sessions, how long it took and what it cost whom. Everything runs on this machine, on loopback, and is
gone afterwards. What is compared:

  direct           to one backend, without a balancer
  homing           with each of its engines: homing-io_uring, homing-epoll
  haproxy-rr       HAProxy, balance roundrobin
  haproxy-id       HAProxy, the stick table on session IDs of its manual, learned from ServerHellos
  haproxy-source   HAProxy, balance source
  nginx-rr         nginx stream, round robin
  nginx-hash       nginx stream, hash $remote_addr consistent

Whatever is not installed is named as absent. Scenarios:

  resume     clients reconnect and offer to resume: what share is accepted, what a conn costs, how long it takes
  second     one backend, then all, as fast as answers come: what the others add to the requests per second of backend CPU
  steady     the same at one steady rate, well below the limit of one backend
  distance   resume with a delay between clients and balancer: round trips count
  rate       the rate rises until the balancer no longer keeps up
  bulk       a few clients, large answers
  idle       many conns that do nothing: memory per conn
  churn      backends are killed and come back
  failover   two nodes of each balancer, one of which is killed
  fragment   hellos that are large, or cut over records and segments
  slow       clients that send and read slowly
  low        nobody connects, then 20 to 2,000 conns/s, evenly paced: what a quiet minute and a conn cost a balancer that
             mostly waits, and whether homing passes what is asked of it there; HAProxy and nginx balance by address, so
             that sessions are found; 3 rounds, 6 minutes in all

Every figure is the median of the rounds and has their spread beside it; a comparison that the spread of its rounds
explains is called equal. An interrupt ends the run and prints what there is until then.
Exit codes: 0 done; 1 ended before its time; 2 nothing was started.`

func newCompareCommand() *cobra.Command {
	o := compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare balancers on this machine: homing, HAProxy, nginx, by turns",
		Long:  compareLong,
		Example: `  homing-bench compare --json resume.json --html resume.html
  homing-bench compare --scenario second,steady --kind psk --through direct,homing,haproxy-rr
  homing-bench compare --scenario low --json low.json
  homing-bench compare --scenario distance --kind full12,id,ticket --delay 50ms`,
		GroupID: groupTool,
		Args:    usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&o.Scenarios, "scenario", []string{"resume"}, "scenarios, by comma, or all")
	f.StringSliceVar(&o.kinds, "kind", []string{"id", "ticket", "psk"},
		"how clients resume: id, ticket (TLS 1.2), psk, 0rtt (TLS 1.3), or full12, full13")
	f.StringSliceVar(&o.sources, "sources", []string{"own", "roam"},
		"where clients of resume come from: own (an address each), roam (a new one each time), shared (one for all)")
	f.StringSliceVar(&o.through, "through", nil,
		"what to compare, by comma; haproxy and nginx stand for all their ways (default: all that is installed)")
	f.IntVar(&o.Rounds, "rounds", 0, "rounds of each test through each balancer; fewer can tell less (default 5, in low 3)")
	f.DurationVar(&o.Duration, "duration", 0, "what is measured in each round (default: what suits the scenario, 1s to 15s)")
	f.DurationVar(&o.WarmUp, "warm-up", 0, "before that, in each round (default: what suits the scenario)")
	f.Float64Var(&o.Rate, "rate", 0,
		"conns per second (default: what suits the scenario; second and bulk go as fast as answers come; low then has this one alone)")
	f.IntVar(&o.Clients, "clients", 0, "clients in all, each with a session of its own (default: what suits the scenario)")
	f.DurationVar(&o.Delay, "delay", 50*time.Millisecond, "each way, in the scenario distance")
	f.IntVar(&o.Threads, "threads", 1, "threads of each balancer")
	f.IntVar(&o.backends.N, "backends", 3, "number of backends")
	f.StringVar(&o.servers, "servers", "nginx", "what the backends are: nginx, or go (servers of this program)")
	f.StringVar(&o.key, "key", "rsa", "key of their certificate: rsa (2048 bits) or ecdsa (P-256)")
	f.StringVar(&o.programs.Homing, "homing", "", "path of homing (default: beside this program, or in PATH)")
	f.StringVar(&o.programs.HAProxy, "haproxy", "", "path of HAProxy (default: in PATH or /usr/sbin)")
	f.StringVar(&o.programs.Nginx, "nginx", "", "path of the nginx that balances (default: in PATH or /usr/sbin)")
	f.StringVar(&o.files.json, "json", "", "write all figures to this file, for homing-bench report")
	f.StringVar(&o.files.html, "html", "", "write a page with charts to this file")
	f.StringVar(&o.title, "title", "", "name of the run, to tell it from others")
	return cmd
}

// run makes the comparison, prints it and writes the files. What was measured until an error is printed and written too.
func (o *compareOptions) run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := o.finish(ctx, stderr); err != nil {
		return err
	}
	if err := o.files.create(); err != nil { // before an hour of measuring, not after it
		return err
	}
	defer o.files.discard()
	servers, err := startBackends(ctx, o.backends, "take --servers go")
	if err != nil {
		return err
	}
	bar := newBar(stderr)
	o.Backends, o.Progress = servers, bar.show
	rep, err := compare.Run(ctx, o.Options)
	bar.end()
	stopped := servers.Stop()
	if rep == nil {
		return err
	}
	o.describe(rep)
	if ctx.Err() != nil {
		rep.Ended = "interrupted"
		err = errors.New("compare: interrupted, what there is until then is printed")
	}
	return usage.Failed(cmp.Or(errors.Join(rep.WriteText(stdout), o.files.write(rep), stopped), err))
}

// finish turns flags into what compare wants, but for the backends, which are started last.
func (o *compareOptions) finish(ctx context.Context, stderr io.Writer) error {
	kit, err := balancers.NewKit(ctx, o.programs)
	if err != nil {
		return err
	}
	asked, err := balancers.Select(o.through)
	if err != nil {
		return fmt.Errorf("--through: %w", err)
	}
	o.Kit, o.ServerName, o.Run, o.Watch = kit, farm.BackendsName, bench.Run, bench.Watch
	if len(o.Scenarios) == 1 && o.Scenarios[0] == "all" {
		o.Scenarios = compare.Scenarios()
	}
	for _, k := range o.kinds {
		o.Kinds = append(o.Kinds, bench.Kind(k))
	}
	for _, s := range o.sources {
		o.Sources = append(o.Sources, bench.Sources(s))
	}
	if o.backends.N < 1 || o.backends.N > 64 {
		return fmt.Errorf("--backends %d: not between 1 and 64", o.backends.N)
	}
	if o.Threads < 1 || o.Threads > 256 {
		return fmt.Errorf("--threads %d: not between 1 and 256", o.Threads)
	}
	o.Balancers, o.Absent = kit.Choose(asked)
	if err := o.CheckFlags(); err != nil {
		return err
	}
	for _, a := range o.Absent {
		fmt.Fprintf(stderr, "homing-bench: absent: %s: %s\n", a.Name, a.Why)
	}
	o.backends.Key, o.backends.EarlyData = tlsserver.Key(o.key), true
	if o.backends.Nginx = o.servers == "nginx"; !o.backends.Nginx && o.servers != "go" {
		return fmt.Errorf("--servers %q: neither nginx nor go", o.servers)
	}
	return nil
}

// describe completes a report by what only the command knows.
func (o *compareOptions) describe(r *report.Report) {
	r.Title = o.title
	r.Host.Version = version
	r.Host.Command = commandLine(os.Args)
	r.System, r.Memory = systemName(), memoryBytes()
}

// commandLine writes arguments as a shell reads them.
func commandLine(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = a
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\"'`$&|;<>()*?[]{}!#~\\", r) }) {
			words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
