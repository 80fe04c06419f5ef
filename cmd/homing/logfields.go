//go:build linux

package main

import (
	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/logref"
	"homing/cmd/internal/usage"
)

func newLogFieldsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "log-fields",
		Short: "Print every field of the log: name, kind, meaning",
		Args:  usage.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return logref.Write(cmd.OutOrStdout()) },
	}
}
