package usage

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// program is a command with a subcommand that has a flag.
func program(args ...string) (*cobra.Command, *bytes.Buffer) {
	root := &cobra.Command{Use: "program", Args: NoArgs, SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error { return nil }}
	root.SetFlagErrorFunc(FlagError)
	sub := &cobra.Command{Use: "count", Args: NoArgs, RunE: func(*cobra.Command, []string) error { return nil }}
	sub.Flags().Int("to", 0, "")
	root.AddCommand(sub, NewVersionCommand("v9"))
	SetVersion(root, "v9")
	out := &bytes.Buffer{}
	root.SetOut(out)
	root.SetArgs(args)
	return root, out
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for args, want := range map[string]string{
		"cuont":          `unknown command "cuont": write program count, or see program -h`,
		"subtract":       `unknown command "subtract": see program -h`,
		"count --ot 1":   `unknown flag: --ot: write --to, or see program count -h`,
		"count all":      `unknown argument "all": see program count -h`,
		"count --to":     `--to needs a value: see program count -h`,
		"count --to ten": `--to "ten": strconv.ParseInt: parsing "ten": invalid syntax`,
		"count --fro 1":  `unknown flag: --fro: see program count -h`,
	} {
		root, _ := program(strings.Fields(args)...)
		if err := root.Execute(); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	for _, args := range []string{"", "count --to 10", "count -h"} {
		root, _ := program(strings.Fields(args)...)
		if err := root.Execute(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, args := range []string{"version", "--version"} {
		root, out := program(args)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if want := "program v9 " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"; out.String() != want {
			t.Errorf("%s: %q, want %q", args, out, want)
		}
	}
}
