package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// terminalLines is the height of the terminal that w is, if it is one.
func terminalLines(w io.Writer) (lines int, ok bool) {
	file, isFile := w.(*os.File)
	if !isFile {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(size.Row), true
}
