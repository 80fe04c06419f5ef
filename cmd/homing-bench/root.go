package main

import (
	"github.com/spf13/cobra"

	"homing/cmd/internal/manual"
	"homing/cmd/internal/usage"
)

// Groups of commands in the help.
const (
	groupRun  = "run"
	groupTool = "tool"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "homing-bench",
		Short: "Measure what becomes of TLS sessions behind a balancer, and what that costs",
		Long: `homing-bench lets thousands of clients, each with a session and an address of its own, connect to any TCP balancer or
TLS endpoint, and says how many of their offers to resume were accepted, how long handshakes and answers took, counted
from when they should have begun, and what it cost clients, balancer and backends.`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	usage.SetVersion(root, version)
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Scenarios:"}, &cobra.Group{ID: groupTool, Title: "Tools:"})
	root.AddCommand(platformCommands()...)
	root.AddCommand(newDiagnoseCommand())
	root.AddCommand(usage.NewVersionCommand(version), manual.NewCommand(version))
	return root
}
