package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/config"
	"homing/cmd/internal/manual"
)

// setHelp has the help of a command list a table of flags, with the defaults it holds now, and notes behind it.
func setHelp(cmd *cobra.Command, defaults []config.Group, notes string) {
	cmd.Annotations = map[string]string{manual.Notes: notes}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s.\n\nUsage:\n  %s\n", cmd.Short, cmd.UseLine())
		config.PrintFlags(w, defaults)
		fmt.Fprint(w, notes)
	})
}
