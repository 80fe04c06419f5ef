package main

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// platformCommands is the commands that put load on something, and what they stand on, which is made for Linux.
func platformCommands() []*cobra.Command {
	all := newScenarioCommands()
	return append(all, newCompareCommand(), newReportCommand(), newServeCommand(), newBackendCommand(), newDemoCommand())
}

// drawsOver says that a terminal here knows the words for going back in a line.
const drawsOver = true

// columnsOf is the width of a terminal, 0 where it does not tell.
func columnsOf(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
