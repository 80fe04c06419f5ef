//go:build !linux

package main

import (
	"os"
	"runtime"

	"github.com/spf13/cobra"
)

// platformCommands only say where they are to be had.
func platformCommands() []*cobra.Command { return notHere(runtime.GOOS) }

// drawsOver says that not every terminal here knows the words for going back in a line.
const drawsOver = false

// columnsOf is not asked for.
func columnsOf(*os.File) int { return 0 }
