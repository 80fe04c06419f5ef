package config

import (
	"fmt"

	"github.com/spf13/cobra"

	"homing/cmd/internal/manual"
)

// BindCommand adds a table of flags to a command. Its help lists them with the defaults that a table holds, and notes behind.
func BindCommand(cmd *cobra.Command, table, defaults []Group, notes string) {
	cmd.Flags().SortFlags = false
	Bind(cmd.Flags(), table)
	cmd.Annotations = map[string]string{manual.Notes: notes}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s.\n\nUsage:\n  %s\n", cmd.Short, cmd.UseLine())
		PrintFlags(w, defaults)
		fmt.Fprint(w, notes)
	})
}
