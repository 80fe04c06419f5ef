package main

import (
	"time"

	"github.com/spf13/cobra"

	"homing/cmd/internal/usage"
)

// upgradeTimeout bounds the wait for the answer to an upgrade: the node's own --upgrade-timeout, an hour at most, and what
// comes after that.
const upgradeTimeout = time.Hour + time.Minute

func newUpgradeCommand() *cobra.Command {
	c := &adminClient{}
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Have a node replace itself by the program that is at its path now, without a conn refused",
		Long: `Has a running node start its program again, from the same path with the same arguments, and hand everything over to it, as
SIGUSR2 does. The old process lets its conns end within --drain-timeout. When the new one does not come up nothing has
changed, and the command says why.`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.order(cmd.Context(), cmd.OutOrStdout(), "/v1/upgrade", upgradeTimeout)
		},
	}
	c.bind(cmd.Flags())
	return cmd
}
