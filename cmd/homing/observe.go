package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// observer is the program that has the command observe: see cmd/homing/homing-observe for why.
const observer = "homing-observe"

// newObserveCommand is observe, run in the observer's process.
func newObserveCommand() *cobra.Command {
	run := func(args []string) error {
		path, err := observerPath()
		if err != nil {
			return err
		}
		return become(path, args)
	}
	cmd := &cobra.Command{
		Use:                "observe",
		Short:              "Tell what becomes of TLS resumptions in captured or live traffic, and what homing would save",
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return run(args) },
		ValidArgsFunction:  completeObserve,
	}
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		if err := run([]string{"--help"}); err != nil {
			cmd.PrintErrln(err)
		}
	})
	return cmd
}

// observerPath is the observer beside this program, or else in PATH.
func observerPath() (string, error) {
	name := observer
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("observe is a program of its own, and there is no %s: put it there, from the archive or package of this version", beside)
	}
	return path, err
}

// completeObserve asks the observer: its last line says how the shell is to go on.
func completeObserve(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	path, err := observerPath()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	words := append([]string{cobra.ShellCompRequestCmd, "observe"}, args...)
	out, err := exec.Command(path, append(words, toComplete)...).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := len(lines) - 1
	directive, wrong := strconv.Atoi(strings.TrimPrefix(lines[last], ":"))
	if err != nil || wrong != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:last], cobra.ShellCompDirective(directive)
}
