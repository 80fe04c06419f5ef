package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestMakeSaysFirstWhatIsMissing: who lacks a package learns it before any test runs, not minutes later.
func TestMakeSaysFirstWhatIsMissing(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make is not installed")
	}
	for target, packages := range map[string][]string{"test": {"nginx=nginx"}, "check": {"nginx=nginx", "gcc=gcc", "/usr/include/stdlib.h=libc6-dev"}} {
		cmd := exec.CommandContext(t.Context(), "make", "-n", target)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("make -n %s: %v\n%s", target, err, out)
		}
		before, _, found := strings.Cut(string(out), "go test ")
		if !found {
			t.Errorf("make %s runs no tests:\n%s", target, out)
		}
		for _, p := range packages {
			if !strings.Contains(before, ".ci/packages ") || !strings.Contains(before, " "+p) {
				t.Errorf("make %s runs tests before it looks for %s", target, p)
			}
		}
	}
}
