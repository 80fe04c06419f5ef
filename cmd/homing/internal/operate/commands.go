// Package operate is what operators have a running homing do, and ask it: the commands that speak to its admin API, and
// those that only read or print something.
package operate

import "github.com/spf13/cobra"

// Commands is those that work on every system.
func Commands() []*cobra.Command {
	return append([]*cobra.Command{
		keygenCommand(), clusterCommand(), statusCommand(), drainCommand(), undrainCommand(),
	}, orderCommands()...)
}
