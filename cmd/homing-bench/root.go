package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"homing/cmd/internal/manual"
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
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Scenarios:"}, &cobra.Group{ID: groupTool, Title: "Tools:"})
	root.AddCommand(newScenarioCommands()...)
	root.AddCommand(newCompareCommand(), newReportCommand())
	root.AddCommand(newServeCommand(), newBackendCommand(), newDiagnoseCommand(), newVersionCommand(), manual.NewCommand(version))
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "homing-bench %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// noArgs is cobra.NoArgs with an error that says what to do.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	what := "argument"
	if cmd.HasSubCommands() {
		what = "command"
	}
	return fmt.Errorf("unknown %s %q: see %s -h", what, args[0], cmd.CommandPath())
}

// flagError words an error of the flag parser as the thing, what is wrong with it, and the remedy.
func flagError(cmd *cobra.Command, err error) error {
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("--%s needs a value: see %s -h", missing.GetSpecifiedName(), cmd.CommandPath())
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Errorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), invalid.Unwrap())
	}
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	return fmt.Errorf("%w: see %s -h", err, cmd.CommandPath())
}
