package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// notHere is the commands that need Linux, for another system: each says so.
func notHere(system string) (all []*cobra.Command) {
	if system == "windows" {
		system = "Windows"
	}
	for _, name := range []string{"run", "config", "metrics", "log-fields", "transparent-rules"} {
		all = append(all, &cobra.Command{
			Use: name, Hidden: true, DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("%s is for Linux; on %s there are agent and observe: see homing -h", name, system)
			},
		})
	}
	return all
}
