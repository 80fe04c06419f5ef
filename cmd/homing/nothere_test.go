//go:build linux

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// TestNotHere: what is there on Linux alone says so elsewhere, whatever stands behind it.
func TestNotHere(t *testing.T) {
	names := func(all []*cobra.Command) (names []string) {
		for _, one := range all {
			names = append(names, one.Name())
		}
		return names
	}
	if diff := cmp.Diff(names(platformCommands()), names(notHere("windows"))); diff != "" {
		t.Errorf("(-Linux +others):\n%s", diff)
	}
	root := &cobra.Command{Use: "homing", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(notHere("windows")...)
	root.SetArgs([]string{"run", "--listen", ":443"})
	if err := root.Execute(); err == nil || err.Error() != "run is for Linux; on Windows there are agent and observe: see homing -h" {
		t.Errorf("%v", err)
	}
}
