//go:build !linux

package main

import (
	"runtime"

	"github.com/spf13/cobra"

	"homing/cmd/internal/manual"
)

// platformCommands only say where they are to be had: there is no data plane here, but an agent can announce a backend.
func platformCommands() []*cobra.Command { return notHere(runtime.GOOS) }

// platformPages is empty, as there is nothing to configure by a file.
func platformPages() []*manual.Page { return nil }
