//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"homing/cmd/homing/internal/admin"
	"homing/cmd/homing/internal/observe"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readmeCommands are the lines behind a $ in the README.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	var commands []string
	for _, m := range regexp.MustCompile(`(?m)^\$ (.+)$`).FindAllStringSubmatch(readme(t), -1) {
		commands = append(commands, m[1])
	}
	if len(commands) < 5 {
		t.Fatalf("only %d commands found in the README", len(commands))
	}
	return commands
}

func TestReadmeLength(t *testing.T) {
	if n := strings.Count(readme(t), "\n"); n >= 300 {
		t.Errorf("README has %d lines, at most 299 are read", n)
	}
}

// allFlags notes the flags of a command and of those below it.
func allFlags(cmd *cobra.Command, into map[string]bool) {
	for _, set := range []*pflag.FlagSet{cmd.LocalFlags(), cmd.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) { into[f.Name] = true })
	}
	for _, below := range cmd.Commands() {
		allFlags(below, into)
	}
}

// commandFlags is the flags of homing, the observer's included.
func commandFlags() map[string]bool {
	flags := map[string]bool{}
	allFlags(newRootCommand(), flags)
	allFlags(observe.NewCommand(), flags)
	return flags
}

// TestReadmeNames finds everything that the README names: make targets, flags, metrics, files, termination letters.
func TestReadmeNames(t *testing.T) {
	text := readme(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)(?:^\\$ |`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
			t.Errorf("README says make %s, the Makefile has no such target", m[1])
		}
	}
	flags := commandFlags()
	// The harness has flags of its own, and a test of them.
	ours := regexp.MustCompile("(?m)^ *homing-bench .*$|[A-Z]+_FLAGS=[^`]*").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile("--([a-z][a-z-]+)").FindAllStringSubmatch(ours, -1) {
		if !flags[m[1]] {
			t.Errorf("README says --%s, there is no such flag", m[1])
		}
	}
	var table bytes.Buffer
	if err := admin.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`homing_[a-z_]+`).FindAllString(text, -1) {
		if !strings.Contains(table.String(), m+" ") {
			t.Errorf("README says %s, there is no such metric", m)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("README links to %s: %v", m[1], err)
		}
	}
}

// TestIntegrationReadme runs every command of the README as printed, but for those that would run this test again
// (make test, make check: their recipe is printed only) and for the addresses of homing run.
func TestIntegrationReadme(t *testing.T) {
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		t.Skip("starts a build: make integration")
	}
	for _, command := range readmeCommands(t) {
		t.Run(command, func(t *testing.T) {
			switch {
			case command == "make test" || command == "make check":
				command = strings.Replace(command, "make", "make -n", 1)
			case strings.HasPrefix(command, "bin/homing run --"):
				// The same flags; the port wants root, the backends' addresses are documentation's, from which nothing may
				// be wanted, and it must end.
				command = regexp.MustCompile(`192\.0\.2\.([0-9]+):443`).ReplaceAllString(command, "127.0.0.$1:1")
				command = strings.Replace(command, " :443 ", " 127.0.0.1:0 ", 1)
				command = strings.Replace(command, "127.0.0.1:9090", "127.0.0.1:0", 1)
				command = "timeout --preserve-status -s TERM 1 " + command
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-c", command)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "HOMING_INTEGRATION=")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
		})
	}
}
