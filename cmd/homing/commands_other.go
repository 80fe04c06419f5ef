//go:build !linux

package main

import (
	"github.com/spf13/cobra"

	"homing/cmd/internal/manual"
)

// platformCommands is empty: there is no data plane here, but an agent can announce a backend.
func platformCommands() []*cobra.Command { return nil }

// platformPages is empty, as there is nothing to configure by a file.
func platformPages() []*manual.Page { return nil }
