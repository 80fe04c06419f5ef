//go:build linux

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// TestNotHere: what is there on Linux alone says so elsewhere, whatever stands behind it.
func TestNotHere(t *testing.T) {
	names := func(all []*cobra.Command) map[string]bool {
		names := map[string]bool{}
		for _, one := range all {
			names[one.Name()] = true
		}
		return names
	}
	if diff := cmp.Diff(names(platformCommands()), names(notHere("windows"))); diff != "" {
		t.Errorf("(-Linux +others):\n%s", diff)
	}
	root := &cobra.Command{Use: "homing-bench", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(notHere("windows")...)
	root.SetArgs([]string{"resume", "--rate", "600"})
	if err := root.Execute(); err == nil || err.Error() != "resume is for Linux; on Windows there is diagnose: see homing-bench diagnose -h" {
		t.Errorf("%v", err)
	}
}
