package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"homing/cmd/homing/internal/observe"
)

// root is the top of the repository, seen from this package's tests.
const root = "../.."

// TestMain makes this binary be `homing` too, for the scripts, and the program beside it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"homing": main, observer: func() { os.Exit(observe.Main(context.Background(), version, os.Args[1:])) }})
}

// The command that people find is the one that they get.
func TestObserveIsOneCommand(t *testing.T) {
	if got, want := newObserveCommand(), observe.NewCommand(); got.Use != want.Use || got.Short != want.Short {
		t.Errorf("%q, %q; of %s: %q, %q", got.Use, got.Short, observer, want.Use, want.Short)
	}
}

// Without the program one line says where it belongs.
func TestObserverIsMissing(t *testing.T) {
	t.Setenv("PATH", "")
	cmd := newObserveCommand()
	cmd.SetArgs(nil)
	if err := cmd.Execute(); err == nil || !strings.HasSuffix(err.Error(), observer+": put it there, from the archive or package of this version") {
		t.Errorf("%v", err)
	}
}
