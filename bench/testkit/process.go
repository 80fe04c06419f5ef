//go:build linux

package testkit

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"homing/bench/proc"
)

// FreeAddr is a TCP address on loopback that nobody has.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return FreeAddrs(tb, 1)[0]
}

// FreeAddrs is several of them, all at once, so that none is drawn twice.
func FreeAddrs(tb testing.TB, n int) []string {
	tb.Helper()
	addrs, err := proc.FreeAddrs(tb.Context(), n)
	if err != nil {
		tb.Fatal(err)
	}
	return addrs
}

// Start starts a program and returns when it accepts on the address, "" for at once. It is stopped when the test ends, and
// what it has said stands in the log of a test that fails.
func Start(tb testing.TB, addr, name string, args ...string) *proc.Process {
	tb.Helper()
	command := proc.Command{Path: name, Args: args}
	if addr != "" {
		command.Ready = []string{addr}
	}
	p, err := proc.Start(context.WithoutCancel(tb.Context()), command)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.Stop()
		if tb.Failed() {
			tb.Logf("%s %s said:\n%s", name, strings.Join(args, " "), p.Output())
		}
	})
	return p
}

// Run runs a program to its end, which has to be a good one.
func Run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// Need skips a test where a program is missing.
func Need(tb testing.TB, programs ...string) {
	tb.Helper()
	for _, program := range programs {
		if _, err := proc.Find(program); err != nil {
			tb.Skipf("%s is not installed", program)
		}
	}
}
