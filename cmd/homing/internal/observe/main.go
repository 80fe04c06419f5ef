package observe

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"homing/cmd/internal/manual"
	"homing/cmd/internal/usage"
)

// Main is the program homing-observe, and returns its exit code. Its arguments are those of the command.
func Main(ctx context.Context, version string, args []string) int {
	root := &cobra.Command{Use: "homing"} // in its texts it is the command that people type
	root.AddCommand(NewCommand(), manual.NewCommand(version))
	if len(args) == 0 || args[0] != "man" && args[0] != cobra.ShellCompRequestCmd {
		args = append([]string{"observe"}, args...)
	}
	return usage.Execute(ctx, root, args, os.Stdout, os.Stderr)
}
