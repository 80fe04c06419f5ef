package operate

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"homing/cluster"
	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/member"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// clusterClient talks to the admin server of one node.
type clusterClient struct {
	adminClient
	nodeKeyFile string
	force, hard bool
	drainFor    time.Duration
}

func clusterCommand() *cobra.Command {
	c := &clusterClient{}
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show the members of a cluster, drain backends, and rotate the gossip keys",
		Args:  usage.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.bind(cmd.PersistentFlags())
	members := &cobra.Command{
		Use: "members", Short: "Print every node and agent that a node knows", Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.printMembers(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.AddCommand(members, c.keyCommand(), c.drainCommand(), c.undrainCommand())
	return cmd
}

func (c *clusterClient) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Rotate the gossip keys without downtime",
		Long: `A rotation, during which old and new keys are trusted. KEY is a key itself or, but for add, its name as list prints it.

  homing keygen                      a new key
  homing cluster key add KEY         every node trusts it, and keeps it in its key file
                                     add it to the files of the agents too: they read them again by themselves
  homing cluster key list            who trusts which key
  homing cluster key use KEY         every node encrypts with it; refused while a member does not have it
                                     put it first in the files of the agents
  homing cluster key remove OLD      nobody trusts the old one any more; refused while a member uses it`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.bindNodeKey(cmd.PersistentFlags())
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Print the gossip keys by name, and who uses and trusts them", Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.printKeys(cmd.Context(), cmd.OutOrStdout()) },
	})
	for _, op := range []struct {
		op    cluster.Op
		short string
	}{
		{cluster.OpKeyAdd, "Trust a new key on every node"},
		{cluster.OpKeyUse, "Encrypt with a key that is trusted, on every node"},
		{cluster.OpKeyRemove, "Trust a key no more, on every node"},
	} {
		one := &cobra.Command{
			Use: op.op.String() + " KEY", Short: op.short, Args: usage.OneArg("KEY"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.send(cmd.Context(), cmd.OutOrStdout(), op.op, args[0])
			},
		}
		bindBool(one.Flags(), &c.force, "force", "although members would be cut off")
		cmd.AddCommand(one)
	}
	return cmd
}

func (c *clusterClient) bindNodeKey(flags *pflag.FlagSet) {
	flags.Var(value.Path(&c.nodeKeyFile, "FILE"), "node-key-file", "the key that only nodes have: it seals the command")
}

// send has all nodes change their keys, and says how far it got.
func (c *clusterClient) send(ctx context.Context, w io.Writer, op cluster.Op, key string) error {
	nodeKey, err := c.nodeKey("rotate the keys")
	if err != nil {
		return err
	}
	command := cluster.Order{Op: op, Force: c.force}
	if command.Key, command.Print, err = parseKeyOrName(key, op); err != nil {
		return err
	}
	answers, err := c.order(ctx, nodeKey, &command)
	if err != nil {
		return err
	}
	if err := notAll(answers); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s %s: %d nodes follow\n", op, command.Print, len(answers))
	return err
}

// nodeKey is the key that seals commands.
func (c *clusterClient) nodeKey(purpose string) ([]byte, error) {
	if c.nodeKeyFile == "" {
		return nil, errors.New("--node-key-file is missing: only nodes may " + purpose)
	}
	nodeKeys, err := member.LoadKeys("node-key-file", c.nodeKeyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return nodeKeys[0], nil
}

// order seals a command and gives it to a node, which tells the others. It returns every node's answer.
func (c *clusterClient) order(ctx context.Context, nodeKey []byte,
	command *cluster.Order,
) (answers []api.NodeAnswer, err error) {
	sealed, err := command.Seal(nodeKey, time.Now())
	if err != nil {
		return nil, err
	}
	var out api.CommandAnswers
	err = c.post(ctx, "/v1/cluster/command", api.SealedCommand{Sealed: sealed}, &out)
	return out.Nodes, err
}

// notAll is an error that names the nodes that do not follow a command, or nil.
func notAll(answers []api.NodeAnswer) error {
	var not []string
	for _, one := range answers {
		if one.Error != "" {
			not = append(not, cmp.Or(one.Name, one.Node)+" ("+usage.OneLine(one.Error)+")")
		}
	}
	if len(not) == 0 {
		return nil
	}
	return usage.Failed(fmt.Errorf("%d nodes follow, %d do not: %s", len(answers)-len(not), len(not),
		strings.Join(not, ", ")))
}

// parseKeyOrName reads a key, or its name where that is enough.
func parseKeyOrName(s string, op cluster.Op) ([]byte, cluster.KeyPrint, error) {
	var print cluster.KeyPrint
	if name, err := hex.DecodeString(s); err == nil && len(name) == len(print) && op != cluster.OpKeyAdd {
		return nil, cluster.KeyPrint(name), nil
	}
	key, err := cluster.ParseKey(s)
	if err != nil {
		return nil, print, err
	}
	return key, cluster.PrintOf(key), nil
}

func (c *clusterClient) members(ctx context.Context) ([]api.Member, error) {
	var view api.Cluster
	if err := c.get(ctx, "/v1/cluster", &view); err != nil {
		return nil, err
	}
	if len(view.Members) == 0 {
		return nil, usage.Failed(errors.New("the node is in no cluster: it runs without --cluster-bind"))
	}
	return view.Members, nil
}

func (c *clusterClient) printMembers(ctx context.Context, w io.Writer) error {
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tNAME\tID\tROLE\tSTATE\tADDR\tVERSION\tPOOL\tBACKEND\tWEIGHT")
	for _, m := range members {
		pool, backend, weight := "-", "-", "-"
		if m.Backend != "" {
			pool, backend, weight = m.Pool, m.Backend, fmt.Sprint(m.Weight)
		}
		asked := ""
		if m.Asked {
			asked = "*"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", asked, cmp.Or(m.Name, "-"), m.ID, m.Role,
			m.State, m.Addr, m.Version, pool, backend, weight)
	}
	return table.Flush()
}

// printKeys counts, for each key that anybody has, who uses it and who trusts it.
func (c *clusterClient) printKeys(ctx context.Context, w io.Writer) error {
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	members = slices.DeleteFunc(members, func(m api.Member) bool { return m.State == "vanished" })
	var keys []string
	for _, m := range members {
		for _, key := range m.Keys {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return errors.New("the cluster gossips without a key")
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tUSED BY\tTRUSTED BY\tOF\tNOT BY")
	for _, key := range keys {
		used, trusted := 0, 0
		var not []string
		for _, m := range members {
			switch i := slices.Index(m.Keys, key); {
			case i == 0:
				used++
				trusted++
			case i > 0:
				trusted++
			default:
				not = append(not, m.ID)
			}
		}
		if len(not) > 5 {
			not = append(not[:5], "...")
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\n", key, used, trusted, len(members), strings.Join(not, " "))
	}
	return table.Flush()
}
