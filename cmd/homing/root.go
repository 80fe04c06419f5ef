package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"homing/cmd/internal/manual"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "homing",
		Short: "A layer-4 TCP load balancer that brings TLS sessions home",
		Long: `homing is a layer-4 TCP load balancer that brings TLS sessions home. It reads the ClientHello and the plaintext
part of the server's answer, decrypts nothing, and sends every resumption to the backend that can accept it.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(platformCommands()...)
	root.AddCommand(newAgentCommand(), newKeygenCommand(), newClusterCommand(), newStatusCommand(), newDrainCommand(), newUndrainCommand(), newReloadCommand(), newUpgradeCommand(), newVersionCommand(), manual.NewCommand(version))
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "homing %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
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

// oneLine joins the lines of a message, so that an error stays one line whatever it wraps.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
