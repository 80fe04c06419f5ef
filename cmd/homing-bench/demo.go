//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"homing/bench/balancers"
	"homing/bench/demo"
	"homing/bench/farm"
	"homing/cmd/internal/usage"
)

func newDemoCommand() *cobra.Command {
	var o demo.Options
	var homing string
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: groupTool,
		Short:   "Show resumptions through round robin, then through homing, on real TLS",
		Long: `Starts three TLS servers with private session caches and ticket keys on loopback, lets clients reconnect to them
through plain TCP round robin and then through homing, and prints how many offers to resume were accepted, what that
cost the servers and how long the handshakes took. It takes less than 30 seconds and leaves nothing behind.`,
		Example: `  homing-bench demo
  homing-bench demo --nginx`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd, o, homing)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.Nginx, "nginx", false, "take three real nginx as backends, and add TLS 1.2 session IDs")
	f.StringVar(&homing, "homing", "", "path of homing (default: beside this program, or in PATH)")
	return cmd
}

func runDemo(cmd *cobra.Command, o demo.Options, homing string) (err error) {
	ctx := cmd.Context()
	if o.Kit, err = balancers.NewKit(ctx, balancers.Paths{Homing: homing}); err != nil {
		return err
	}
	if o.Backends, err = startBackends(ctx, farm.Options{Nginx: o.Nginx}, "go without --nginx"); err != nil {
		return err
	}
	bar := newLiveLine(cmd.ErrOrStderr())
	o.Progress = demoProgress(bar)
	var table strings.Builder
	err = errors.Join(demo.Run(ctx, o, &table), o.Backends.Stop())
	bar.clear()
	switch {
	case ctx.Err() != nil:
		err = errors.New("demo: interrupted")
	case err == nil:
		_, err = fmt.Fprint(cmd.OutOrStdout(), table.String())
	}
	return usage.Failed(err)
}

// demoProgress draws a bar on a terminal, and writes a line for each step elsewhere.
func demoProgress(l *liveLine) func(step string, done, total int) {
	now := ""
	return func(step string, done, total int) {
		if !l.terminal && step != now {
			fmt.Fprintln(l.out, step)
		}
		now = step
		l.show(fmt.Sprintf("%s %s", meter(done, total), step))
	}
}
