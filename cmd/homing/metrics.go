//go:build linux

package main

import (
	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/admin"
	"homing/cmd/internal/usage"
)

func newMetricsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print every metric: name, type, labels, meaning",
		Args:  usage.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return admin.WriteTable(cmd.OutOrStdout()) },
	}
}
