package operate

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"homing/balancer/pool"
	"homing/cluster"
	"homing/cmd/internal/usage"
)

const drainNotes = `BACKEND is its address and port, such as 192.0.2.7:443. Every node does it to its own backend of that address, and its
answer is printed. Whoever says something else later, another command or the agent beside the backend, is followed.

A node that joins, or starts again, later is told by those that are there, for 30 days; of several orders the last counts.
When all nodes are down at once the order is lost: give it again then.`

func (c *clusterClient) drainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain BACKEND",
		Short: "Send a backend no more fresh handshakes, at every node",
		Long: `Drains a backend at every node: no more fresh handshakes, and its own resumptions for as long as --for says; with --hard no
new conns at all. Conns that are open stay. homing drain does the same through a node's own key, and follows it.

` + drainNotes,
		Args: usage.OneArg("BACKEND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan := pool.DrainPlan{Mode: pool.DrainSoft, For: c.drainFor}
			if c.hard {
				plan.Mode = pool.DrainHard
			}
			return c.drain(cmd.Context(), cmd.OutOrStdout(), args[0], plan)
		},
	}
	c.bindNodeKey(cmd.Flags())
	bindDrain(cmd.Flags(), &c.hard, &c.drainFor)
	return cmd
}

func (c *clusterClient) undrainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "undrain BACKEND",
		Short: "End the draining of a backend, at every node",
		Long:  "Ends the draining of a backend at every node.\n\n" + drainNotes,
		Args:  usage.OneArg("BACKEND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.drain(cmd.Context(), cmd.OutOrStdout(), args[0], pool.DrainPlan{})
		},
	}
	c.bindNodeKey(cmd.Flags())
	return cmd
}

// drain has all nodes drain a backend, and prints their answers.
func (c *clusterClient) drain(ctx context.Context, w io.Writer, backend string, plan pool.DrainPlan) error {
	addr, err := parseBackendAddr(backend)
	if err != nil {
		return err
	}
	nodeKey, err := c.nodeKey("drain backends at others")
	if err != nil {
		return err
	}
	answers, err := c.order(ctx, nodeKey, &cluster.Order{Op: cluster.OpDrain, Backend: addr, Plan: plan})
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tDRAINING\tANSWER")
	for _, one := range answers {
		if one.Error != "" {
			fmt.Fprintf(table, "%s\t?\t%s\n", cmp.Or(one.Name, one.Node), usage.OneLine(one.Error))
			continue
		}
		fmt.Fprintf(table, "%s\t%s\tdone\n", cmp.Or(one.Name, one.Node), plan.Mode)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return notAll(answers)
}

func parseBackendAddr(s string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(s)
	if err == nil && addr.Addr().Zone() != "" {
		return addr, fmt.Errorf("backend %q: an address with a zone is of one node alone: run homing drain there", s)
	}
	if err != nil || addr.Port() == 0 {
		return addr, fmt.Errorf("backend %q: not an IP address with a port: write it such as 192.0.2.7:443, as "+
			"homing_backend_up has it", s)
	}
	return addr, nil
}
