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
	for _, name := range []string{
		"resume", "churn", "rate", "idle", "slow", "fragment", "bulk", "failover", "compare", "report", "serve", "backend", "demo",
	} {
		all = append(all, &cobra.Command{
			Use: name, Hidden: true, DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("%s is for Linux; on %s there is diagnose: see homing-bench diagnose -h", name, system)
			},
		})
	}
	return all
}
