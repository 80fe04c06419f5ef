package operate

import (
	"fmt"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/config"
	"homing/cmd/internal/usage"
)

// ConfigCommand is `homing config`.
func ConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, explain and print the configuration file of homing run",
		Args:  usage.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(configCheckCommand(), configExampleCommand(), configPrintCommand())
	return cmd
}

func configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say all that is wrong with a file, each with its line and what to write instead",
		Long: `Says all that is wrong with a configuration file, each problem with its line and what to write instead. Nothing is opened
but the file, or - for standard input: no name is resolved, no key read, no address listened on.

Exit codes: 0 nothing is wrong; 1 something is; 2 the file cannot be read.`,
		Args: usage.OneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, text, err := config.Read(args[0])
			if err != nil {
				return err
			}
			c, err := config.Parse(name, text, nil)
			if err != nil {
				return usage.Failed(config.Explain(cmd.ErrOrStderr(), err))
			}
			for _, remark := range c.Remarks() {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, remark); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: %s\n", name, c.Summary())
			return err
		},
	}
}

func configExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print a file that explains every key, with its default",
		Args:  usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Example())
			return err
		},
	}
}

func configPrintCommand() *cobra.Command {
	flags := config.NewFlags()
	cmd := &cobra.Command{
		Use:   "print [--config FILE] [flags]",
		Short: "Print what homing run would make of a file and flags, as a file",
		Args:  usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.Load()
			if err != nil {
				return config.Explain(cmd.ErrOrStderr(), err)
			}
			_, err = cmd.OutOrStdout().Write(config.Print(c))
			return err
		},
	}
	config.BindCommand(cmd, flags.Table(), config.NewFlags().Table(), printNotes)
	return cmd
}

const printNotes = `
The file says all that holds, defaults too, and reads back as the same: so flags are turned into a file. Keys and other
secrets stand in files of their own, which are not opened.
Exit codes: 0 printed; 2 nothing was, stderr says why.
`
