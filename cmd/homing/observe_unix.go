//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// become goes on as the program at path. It returns only when that fails.
func become(path string, args []string) error {
	err := syscall.Exec(path, append([]string{path}, args...), os.Environ())
	return fmt.Errorf("%s cannot be run: %w", path, err)
}
