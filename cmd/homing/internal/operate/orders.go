package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/api"
	"homing/cmd/internal/usage"
)

const (
	// reloadTimeout bounds a reload: names are resolved, and loops follow.
	reloadTimeout = time.Minute

	// upgradeTimeout bounds the wait for the answer to an upgrade: the node's own --upgrade-timeout, an hour at most,
	// and what comes after that.
	upgradeTimeout = time.Hour + time.Minute
)

// orderCommands have a node do something that takes a while, and print what came of it.
func orderCommands() []*cobra.Command {
	return []*cobra.Command{
		orderCommand(reloadTimeout, &cobra.Command{
			Use:   "reload",
			Short: "Have a node read its configuration again, all of it or nothing",
			Long: `Has a running node read its configuration file and its keys again, as SIGHUP does. No conn is dropped. On an error nothing
has changed, and the command says what is wrong.`,
		}),
		orderCommand(upgradeTimeout, &cobra.Command{
			Use:   "upgrade",
			Short: "Have a node replace itself by the program that is at its path now, without a conn refused",
			Long: `Has a running node start its program again, from the same path with the same arguments, and hand everything over to it, as
SIGUSR2 does. The old process lets its conns end within --drain-timeout. When the new one does not come up nothing has
changed, and the command says why.`,
		}),
	}
}

func orderCommand(timeout time.Duration, cmd *cobra.Command) *cobra.Command {
	var node adminClient
	node.bind(cmd.Flags())
	cmd.Args = usage.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		var done api.Done
		if err := node.post(ctx, "/v1/"+cmd.Name(), api.Empty{}, &done); err != nil {
			return err
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), done.Done)
		return err
	}
	return cmd
}
