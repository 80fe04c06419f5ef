package main

import (
	"io"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/admin"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/logref"
	"homing/cmd/homing/internal/operate"
	"homing/cmd/homing/internal/service"
	"homing/cmd/homing/internal/transparent"
	"homing/cmd/internal/manual"
	"homing/cmd/internal/usage"
)

// platformCommands is the commands around the data plane, which is made for Linux.
func platformCommands() []*cobra.Command {
	return []*cobra.Command{
		service.NewCommand(version), operate.ConfigCommand(),
		printCommand("metrics", "Print every metric: name, type, labels, meaning", admin.WriteTable),
		printCommand("log-fields", "Print every field of the log: name, kind, meaning", logref.Write),
		transparent.NewCommand(),
	}
}

// printCommand prints a reference.
func printCommand(name, short string, write func(io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return write(cmd.OutOrStdout()) },
	}
}

// platformPages is the manual's pages that are no command's.
func platformPages() []*manual.Page {
	return []*manual.Page{{
		Name: "homing.yaml", Section: 5, Short: "the configuration of homing run",
		Body: "# DESCRIPTION\n\nListeners accept conns, routes choose a pool by server name and protocol, and a pool " +
			"has backends.\n" +
			"What stands at the top holds for all listeners and pools that do not say otherwise.\n" +
			"**homing config check** *FILE* says all that is wrong with a file; SIGHUP, or **homing reload**, reads " +
			"it again.\n\n" +
			"# KEYS\n\nEvery key, with its meaning and its default:\n\n```\n" + string(config.Example()) + "```\n\n" +
			"# FILES\n\n/etc/homing/homing.yaml\n: what the service reads\n\n# SEE ALSO\n\n**homing-run**(1), " +
			"**homing-config-check**(1)\n",
	}}
}
