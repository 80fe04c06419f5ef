//go:build !linux

package main

import "github.com/spf13/cobra"

// platformCommands is empty: there is no data plane here, but an agent can announce a backend.
func platformCommands() []*cobra.Command { return nil }
