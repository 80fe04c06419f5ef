package operate

import (
	"fmt"

	"github.com/spf13/cobra"

	"homing/cluster"
	"homing/cmd/internal/usage"
)

func keygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen",
		Short: "Print a new key, for --gossip-key-file or --node-key-file",
		Long: `Prints a new random key, one line. Two secrets make a cluster, each a file of its own, mode 0600:

  homing keygen > gossip.key   nodes and agents have it: who may gossip
  homing keygen > node.key     only nodes have it: who may share what is learned, and rotate the gossip keys`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), cluster.FormatKey(cluster.NewKey()))
			return err
		},
	}
}
