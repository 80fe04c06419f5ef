//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"homing/bench"
	"homing/cmd/internal/usage"
)

// scenarioFlags are the flags of one scenario. Those of the plan are in it; the rest is made part of it by finish.
type scenarioFlags struct {
	plan     bench.Plan
	mix      string
	shape    string
	requests int
	think    time.Duration
	response int64
	lifetime time.Duration
	readRate int64
	interval time.Duration
	ca       string
	control  string
	backends []string // that --control names
	watch    []string
	disturb  []string
	down, up string
	kill     []int
	json     string
	quiet    bool
}

func (f *scenarioFlags) register(flags *pflag.FlagSet) {
	p := &f.plan
	flags.SortFlags = false
	flags.StringVar(&f.mix, "mix", mixOf(p.Groups), "kinds of clients and their shares: full12, full13, id, ticket, psk, 0rtt")
	flags.StringVar(&f.shape, "shape", "", "shape of the hellos: plain, browser, records:N, segments:N, gap:DURATION, joined by +")
	flags.IntVar(&p.Clients, "clients", p.Clients, "simulated clients, each with a session of its own")
	flags.Float64Var(&p.Rate, "rate", p.Rate, "conns that begin per second, over all clients; 0: each as soon as its last one has ended")
	flags.DurationVar(&f.interval, "interval", 0, "mean time between the conns of a client, instead of --rate")
	flags.DurationVar(&p.WarmUp, "warm-up", p.WarmUp, "time before anything is recorded")
	flags.DurationVar(&p.Duration, "duration", p.Duration, "time that is recorded")
	flags.DurationVar(&p.Timeout, "timeout", p.Timeout, "most that one conn may take")
	flags.IntVar(&f.requests, "requests", 1, "requests per conn; -1: none, the handshake alone")
	flags.DurationVar(&f.think, "think", 0, "pause between an answer and the next request on the same conn")
	flags.Var(&sizeValue{&f.response}, "response", "size of an answer, as a range of /data; 0: what / answers")
	flags.DurationVar(&f.lifetime, "lifetime", 0, "age at which a client drops its session; 0: what the server allows")
	flags.Var(&sizeValue{&f.readRate}, "read-rate", "most that a client reads per second; 0: all that comes")
	flags.StringSliceVar(&p.Names, "name", nil,
		"server names to send and to find in the certificate, dealt out to the clients (default the target's host)")
	flags.StringVar(&f.ca, "ca", "", "file with the certificates to trust, in PEM (default the system's)")
	flags.Var((*stringValue)(&p.Verify), "verify", "check certificates: once (each chain), always, off (default once)")
	flags.BoolVar(&p.ReuseKeyShare, "reuse-key-share", false, "send the same key shares again and again, to spare the clients' CPU")
	flags.Var((*stringValue)(&p.Sources), "sources",
		"addresses of the clients: own, roam (a new one for each conn), shared (as behind a NAT), kernel (default own on loopback)")
	flags.DurationVar(&p.Delay, "delay", 0, "time that every byte takes from client to target, and as much back")
	flags.IntVar(&p.Loops, "loops", 0, "threads that carry the clients (default one per CPU)")
	flags.Uint64Var(&p.Seed, "seed", 0, "order of the clients, to have the same again (default drawn)")
	if p.Scenario == bench.Rate {
		flags.Float64SliceVar(&p.Steps, "steps", nil, "rates to try, rising (default from --rate in steps of a tenth)")
	}
	flags.StringVar(&f.control, "control", "", "control address of homing-bench serve: gives targets, names, certificates and processes")
	flags.StringArrayVar(&f.watch, "watch", nil,
		"processes whose CPU and memory to show: ROLE:NAME=PID[,PID...], where ROLE is backend or balancer; may be repeated")
	if p.Scenario == bench.Churn || p.Scenario == bench.Failover {
		flags.StringArrayVar(&f.disturb, "disturb", nil, "what happens when, as in 5s=down:backend1 or 8s=up:backend1; may be repeated")
		flags.StringVar(&f.down, "down-command", "", "shell command that takes down what $WHO names (default: --control does it)")
		flags.StringVar(&f.up, "up-command", "", "shell command that brings it up again")
		flags.IntSliceVar(&f.kill, "kill", nil, "process to kill when a third of --duration has passed")
	}
	flags.StringVar(&f.json, "json", "", "write the whole result to this file; - for stdout, and no text then")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
}

// mixOf writes the kinds of groups as ParseMix reads them; several groups of one kind have their own words.
func mixOf(groups []bench.GroupPlan) string {
	var words []string
	for _, g := range groups {
		word := string(g.Kind)
		if slices.Contains(words, word) {
			return ""
		}
		words = append(words, word)
	}
	return strings.Join(words, ",")
}

// groups makes the plan's groups. What a flag says holds for all of them.
func (f *scenarioFlags) groups(flags *pflag.FlagSet) error {
	p := &f.plan
	if flags.Changed("mix") {
		groups, err := bench.ParseMix(f.mix)
		if err != nil {
			return fmt.Errorf("--mix: %w", err)
		}
		for i := range groups { // what the scenario is about stays
			groups[i].Hold, groups[i].Response = p.Groups[0].Hold, p.Groups[0].Response
		}
		p.Groups = groups
	}
	if f.shape != "" {
		shape, err := bench.ParseShape(f.shape)
		if err != nil {
			return fmt.Errorf("--shape: %w", err)
		}
		p.Groups = onePerKind(p.Groups)
		for i := range p.Groups {
			p.Groups[i].Shape = shape
		}
	}
	for i := range p.Groups {
		g := &p.Groups[i]
		for name, set := range map[string]func(){
			"requests":  func() { g.Requests = f.requests },
			"think":     func() { g.Think = f.think },
			"response":  func() { g.Response = f.response },
			"lifetime":  func() { g.Lifetime = f.lifetime },
			"read-rate": func() { g.ReadRate = f.readRate },
		} {
			if flags.Changed(name) {
				set()
			}
		}
	}
	for _, w := range f.watch {
		watched, err := parseWatch(w)
		if err != nil {
			return fmt.Errorf("--watch %q: %w", w, err)
		}
		p.Watch = append(p.Watch, watched)
	}
	return nil
}

// onePerKind drops the groups whose kind is there already: they differ in their shapes, which are about to be the same.
func onePerKind(groups []bench.GroupPlan) []bench.GroupPlan {
	var list []bench.GroupPlan
	seen := make(map[bench.Kind]bool)
	for _, g := range groups {
		if !seen[g.Kind] {
			seen[g.Kind] = true
			g.Name = ""
			list = append(list, g)
		}
	}
	return list
}

func parseWatch(s string) (bench.Watched, error) {
	role, rest, _ := strings.Cut(s, ":")
	name, pids, ok := strings.Cut(rest, "=")
	w := bench.Watched{Role: role, Name: name}
	if !ok || name == "" || role != "backend" && role != "balancer" {
		return w, errors.New("write it as backend:NAME=PID or balancer:NAME=PID")
	}
	for part := range strings.SplitSeq(pids, ",") {
		pid, err := strconv.Atoi(part)
		if err != nil || pid < 1 {
			return w, fmt.Errorf("%q is no process ID", part)
		}
		w.PIDs = append(w.PIDs, pid)
	}
	return w, nil
}

// disturbances makes the plan's.
func (f *scenarioFlags) disturbances() error {
	p := &f.plan
	for _, s := range f.disturb {
		d, err := parseDisturbance(s)
		if err != nil {
			return fmt.Errorf("--disturb %q: %w", s, err)
		}
		p.Disturb = append(p.Disturb, d)
	}
	if f.down != "" || f.up != "" {
		p.Control = shellControl{f.down, f.up}
	}
	if len(f.kill) > 0 {
		for _, pid := range f.kill {
			if pid < 2 {
				return fmt.Errorf("--kill %d: not the ID of a process to kill", pid)
			}
			p.Disturb = append(p.Disturb, bench.Disturbance{At: p.Duration / 3, Down: true, Who: "process " + strconv.Itoa(pid)})
		}
		p.Control = killer{p.Control}
	}
	switch {
	case len(p.Disturb) > 0:
	case p.Scenario == bench.Churn && len(f.backends) > 1:
		p.Disturb = inTurn(f.backends, p.Duration)
	case p.Scenario == bench.Churn:
		return errors.New("churn needs to know what goes and comes: give --control with two backends or more, or --disturb")
	case p.Scenario == bench.Failover:
		return errors.New("failover needs to know which node dies: give --kill PID, or --disturb")
	}
	if len(p.Disturb) > 0 && p.Control == nil {
		return errors.New("--disturb needs somebody to carry it out: give --control, or --down-command and --up-command")
	}
	return nil
}

func parseDisturbance(s string) (bench.Disturbance, error) {
	var d bench.Disturbance
	at, what, _ := strings.Cut(s, "=")
	word, who, _ := strings.Cut(what, ":")
	var err error
	if d.At, err = time.ParseDuration(at); err != nil || d.At < 0 || who == "" || word != "down" && word != "up" {
		return d, errors.New("write it as TIME=down:WHO or TIME=up:WHO, as in 5s=down:backend1")
	}
	d.Down, d.Who = word == "down", who
	return d, nil
}

// inTurn has each backend down for half of its part of the time.
func inTurn(names []string, duration time.Duration) []bench.Disturbance {
	var list []bench.Disturbance
	part := duration / time.Duration(len(names))
	for i, name := range names {
		from := time.Duration(i)*part + part/4
		list = append(list, bench.Disturbance{At: from, Down: true, Who: name}, bench.Disturbance{At: from + part/2, Who: name})
	}
	return list
}

// shellControl runs the user's commands.
type shellControl struct{ down, up string }

func (c shellControl) Down(ctx context.Context, who string) error { return shell(ctx, c.down, who) }
func (c shellControl) Up(ctx context.Context, who string) error   { return shell(ctx, c.up, who) }

func shell(ctx context.Context, command, who string) error {
	if command == "" {
		return errors.New("no command was given for it")
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", command) // the user's own command line
	cmd.Env = append(os.Environ(), "WHO="+who)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, usage.OneLine(strings.TrimSpace(string(out))))
	}
	return nil
}

// killer kills processes by "process PID", and leaves other names to another Control.
type killer struct{ other bench.Control }

func (k killer) Down(ctx context.Context, who string) error {
	number, ok := strings.CutPrefix(who, "process ")
	if !ok {
		if k.other == nil {
			return errors.New("nobody is there to carry it out")
		}
		return k.other.Down(ctx, who)
	}
	pid, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return p.Kill()
}

func (k killer) Up(ctx context.Context, who string) error {
	if k.other == nil {
		return errors.New("nobody is there to carry it out")
	}
	return k.other.Up(ctx, who)
}
