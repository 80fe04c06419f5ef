//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"homing/bench"
	"homing/bench/farm"
	"homing/cmd/internal/usage"
)

// scenarioHelp is what a scenario is for: one line, and what must be known to read its result.
type scenarioHelp struct {
	scenario    bench.Scenario
	short, long string
}

func scenarioHelps() []scenarioHelp {
	return []scenarioHelp{
		{
			bench.Resume, "Clients reconnect and offer to resume, at a steady rate",
			`Each client connects, gets a session, and comes back with it again and again, in random order and at a rate that does
not hang on the target. The result says how many offers were accepted, for each way to resume.`,
		},
		{
			bench.Rate, "Find the highest rate that the target keeps up with",
			`The rate rises by a tenth with each step of --duration. The target has kept up with a step when no conn failed, 98 % were
done when the step ended, and the 99th percentile of the answers, counted from when their conns should have begun, is
below 250 ms. Two steps without that end the climb.`,
		},
		{
			bench.Bulk, "Few conns, large answers: how much gets through, and at what cost",
			`Each client asks for a range of /data (homing-bench serve has it), and again when it has it.`,
		},
		{
			bench.Idle, "Hold many conns that do nothing: what each costs, and whether all live",
			`All clients connect during the warm-up. Then nothing happens for --duration, and then every conn is asked for an answer.
With --control or --watch the result says what the conns cost in memory.`,
		},
		{
			bench.Churn, "Resume, while backends go and come back",
			`One backend after the other is killed and started again (with --control), or whatever --disturb says happens.`,
		},
		{
			bench.Failover, "Resume over several nodes, one of which is killed",
			`The clients are spread over the targets, and go on to the next when they cannot connect. --kill says which process dies
when a third of --duration has passed.`,
		},
		{
			bench.Fragment, "Resume with hellos that are large, or cut over records and segments",
			`Every way to resume, with hellos in one piece, as large as browsers', cut into records, into segments of one byte, and
both. --mix and --shape take others.`,
		},
		{
			bench.Slow, "Clients that send and read slowly, beside clients that do not",
			`The group "prompt" must not suffer from the others.`,
		},
	}
}

func newScenarioCommands() []*cobra.Command {
	var list []*cobra.Command
	for _, h := range scenarioHelps() {
		list = append(list, newScenarioCommand(h))
	}
	return list
}

func newScenarioCommand(h scenarioHelp) *cobra.Command {
	var f scenarioFlags
	cmd := &cobra.Command{
		Use:     string(h.scenario) + " [HOST:PORT...]",
		GroupID: groupRun,
		Short:   h.short,
		Long: h.long + `

Targets are addresses that serve the same; without any, and with --control, those are taken that homing-bench serve has
started. A run is bounded in any case: warm-up, duration and the timeout for the last conns. Ctrl-C ends it early, and
what was seen until then is printed.`,
		Example: examples(h.scenario),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.finish(cmd.Context(), cmd, args); err != nil {
				return err
			}
			return f.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	plan, err := bench.NewPlan(h.scenario)
	if err != nil {
		panic(err) // a scenario without a plan: a mistake in this program
	}
	f.plan = plan
	f.register(cmd.Flags())
	return cmd
}

// examples are command lines of a scenario, with the addresses that homing-bench serve has if nobody says otherwise: at the
// backends themselves, then through a balancer before them.
func examples(s bench.Scenario) string {
	if s == bench.Failover {
		return `  homing-bench serve &
  homing-bench failover --control 127.0.0.1:8440 --kill 4711 127.0.0.1:9443 127.0.0.1:9444`
	}
	return fmt.Sprintf(`  homing-bench serve &
  homing-bench %s --control 127.0.0.1:8440
  homing-bench %[1]s --control 127.0.0.1:8440 127.0.0.1:9443`, s)
}

// finish makes a plan of the flags.
func (f *scenarioFlags) finish(ctx context.Context, cmd *cobra.Command, targets []string) error {
	p := &f.plan
	p.Targets = targets
	if f.control != "" {
		if err := f.askControl(ctx); err != nil {
			return plain(err)
		}
	}
	if len(p.Targets) == 0 {
		return fmt.Errorf("%s needs a target, HOST:PORT: see %s -h", cmd.Name(), cmd.CommandPath())
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		p.Roots = string(pem)
	}
	if f.interval > 0 {
		p.Rate = float64(p.Clients) / f.interval.Seconds()
	}
	if err := f.groups(cmd.Flags()); err != nil {
		return err
	}
	return f.disturbances()
}

// askControl takes what a control address tells for what no flag says.
func (f *scenarioFlags) askControl(ctx context.Context) error {
	p, remote := &f.plan, farm.Remote(f.control)
	info, err := remote.Info(ctx)
	if err != nil {
		return err
	}
	if len(p.Targets) == 0 {
		p.Targets = info.Addrs
	}
	if len(p.Names) == 0 {
		p.Names = []string{info.ServerName}
	}
	if f.ca == "" {
		p.Roots = info.Roots
	}
	p.Control = remote
	for _, w := range info.Watched {
		f.backends = append(f.backends, w.Name)
		if len(w.PIDs) > 0 {
			p.Watch = append(p.Watch, w)
		}
	}
	return nil
}

// run carries the plan out and prints the result.
func (f *scenarioFlags) run(ctx context.Context, stdout io.Writer) error {
	bar := &progress{line: newLiveLine(os.Stderr), quiet: f.quiet}
	res, err := bench.Run(ctx, f.plan, bar.show)
	bar.line.clear()
	if err != nil {
		return plain(err)
	}
	res.Host.Version = version
	// The flags are in the plan; what a certificate looks like says nothing.
	res.Plan.Roots = ""
	if f.json != "" {
		if err := writeJSON(f.json, stdout, res); err != nil {
			return usage.Failed(err)
		}
	}
	if f.json != "-" {
		if err := res.WriteText(stdout); err != nil {
			return usage.Failed(err)
		}
	}
	if res.Ended != "" {
		return usage.Failed(fmt.Errorf("%s ended before its time: %s", f.plan.Scenario, res.Ended))
	}
	return nil
}

// writeJSON writes a value to a file, or to stdout for "-".
func writeJSON(path string, stdout io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	b = append(b, '\n')
	if path == "-" {
		_, err = stdout.Write(b)
	} else {
		err = os.WriteFile(path, b, 0o644) // figures, for everybody to read
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// plain is an error without the name of the package it comes from: the user knows none.
func plain(err error) error {
	s := err.Error()
	for _, prefix := range []string{"bench: ", "farm: "} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return errors.New(rest)
		}
	}
	return err
}
