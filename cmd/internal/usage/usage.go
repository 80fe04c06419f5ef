// Package usage is what the commands of this module do alike: how they end, what they say of their version, of
// arguments that they do not take, and of flags that they cannot read.
package usage

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// SetVersion has --version print what the version command prints. Cobra's own flag wants a template, and who can run one may
// call any method: the linker would keep all that there are, an eighth of the program.
func SetVersion(root *cobra.Command, version string) {
	wanted := root.Flags().BoolP("version", "v", false, "print the version")
	run := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *wanted {
			return writeVersion(cmd, version)
		}
		return run(cmd, args)
	}
}

func writeVersion(cmd *cobra.Command, version string) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s %s/%s\n", cmd.Root().Name(), version, runtime.Version(), runtime.GOOS,
		runtime.GOARCH)
	return err
}

// NewVersionCommand returns the command that prints the version of the root command's program.
func NewVersionCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return writeVersion(cmd, version) },
	}
}

// NoArgs is cobra.NoArgs with an error that says what to do.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return fmt.Errorf("unknown argument %q: see %s -h", args[0], cmd.CommandPath())
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if near := Nearest(args[0], names); near != "" {
		return fmt.Errorf("unknown command %q: write %s %s, or see %s -h", args[0], cmd.CommandPath(), near,
			cmd.CommandPath())
	}
	return fmt.Errorf("unknown command %q: see %s -h", args[0], cmd.CommandPath())
}

// OneArg refuses all but one argument; name is what the help calls it.
func OneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("give exactly one %s: see %s -h", name, cmd.CommandPath())
		}
		return nil
	}
}

// FlagError words an error of the flag parser as the thing, what is wrong with it, and the remedy.
func FlagError(cmd *cobra.Command, err error) error {
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("--%s needs a value: see %s -h", missing.GetSpecifiedName(), cmd.CommandPath())
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Errorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), invalid.Unwrap())
	}
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := Nearest(unknown.GetSpecifiedName(), names); near != "" {
			return fmt.Errorf("%w: write --%s, or see %s -h", err, near, cmd.CommandPath())
		}
	}
	return fmt.Errorf("%w: see %s -h", err, cmd.CommandPath())
}
