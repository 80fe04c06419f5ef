package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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

func TestOneLine(t *testing.T) {
	if got, want := OneLine("first\r\nsecond\n\nthird\n"), "first second third"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestExecute: the exit code and the one line of stderr of each kind of end.
func TestExecute(t *testing.T) {
	wrong := errors.New("first\nsecond")
	for _, tt := range []struct {
		why  string
		err  error
		code int
		said string
	}{
		{"done", nil, ExitOK, ""},
		{"nothing was started", wrong, ExitUsage, "program: first second\n"},
		{"it failed while running", Failed(wrong), ExitFail, "program: first second\n"},
		{"wrapped", fmt.Errorf("more: %w", Failed(wrong)), ExitFail, "program: more: first second\n"},
		{"a code of its own", Exit(3, wrong), 3, "program: first second\n"},
		{"all was said", Exit(ExitFail, nil), ExitFail, ""},
	} {
		root := &cobra.Command{Use: "program", RunE: func(*cobra.Command, []string) error { return tt.err }}
		var stderr bytes.Buffer
		if code := Execute(t.Context(), root, nil, io.Discard, &stderr); code != tt.code || stderr.String() != tt.said {
			t.Errorf("%s: code %d, %q; want %d, %q", tt.why, code, &stderr, tt.code, tt.said)
		}
	}
	if Failed(nil) != nil {
		t.Error("a success is a failure")
	}
}
