package main

import "github.com/spf13/cobra"

// platformCommands is the commands around the data plane, which is made for Linux.
func platformCommands() []*cobra.Command {
	return []*cobra.Command{newRunCommand(), newConfigCommand(), newMetricsCommand(), newLogFieldsCommand(), newTransparentCommand(), newDemoCommand()}
}
