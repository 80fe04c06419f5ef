package main

import (
	"strings"

	"github.com/spf13/cobra"

	"homing/cmd/internal/manual"
	"homing/cmd/internal/usage"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "homing",
		Short: "A layer-4 TCP load balancer that brings TLS sessions home",
		Long: `homing is a layer-4 TCP load balancer that brings TLS sessions home. It reads the ClientHello and the plaintext
part of the server's answer, decrypts nothing, and sends every resumption to the backend that can accept it.`,
		Annotations:   map[string]string{manual.SeeAlso: "**homing.yaml**(5)"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(usage.FlagError)
	usage.SetVersion(root, version)
	root.AddCommand(platformCommands()...)
	root.AddCommand(newAgentCommand(), newKeygenCommand(), newClusterCommand(), newStatusCommand(), newDrainCommand(), newUndrainCommand(), newReloadCommand(), newUpgradeCommand(), usage.NewVersionCommand(version), manual.NewCommand(version, platformPages()...))
	return root
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error { return usage.NoArgs(cmd, args) }

// oneLine joins the lines of a message, so that an error stays one line whatever it wraps.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
