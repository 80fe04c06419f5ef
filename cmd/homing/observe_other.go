//go:build !unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"homing/cmd/internal/usage"
)

// become runs the program at path and ends as it does.
func become(path string, args []string) error {
	signal.Ignore(os.Interrupt) // the console tells all its processes: the program says what it has seen until then
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return usage.Exit(ended.ExitCode(), nil)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be run: %w", path, err)
	}
	return nil
}
