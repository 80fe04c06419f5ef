//go:build linux

package service

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// forgetStart gives back what only the start has needed: the heap's free pages, and the mapped pages of the program
// itself. Of these the kernel maps sixteen for each that is touched, and the start touches nearly all of them. What is
// used from now on is mapped again, as at any first use, from the page cache. It never fails: what is kept is kept.
func forgetStart() {
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil || traced() {
		return
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for from, to := range readOnly(maps, program) {
		// An error leaves the pages mapped.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
	}
}

// readOnly are the mappings of a file, from and to an address, that nobody can have written to, of those in maps (see
// proc(5)).
func readOnly(maps []byte, file string) func(yield func(from, to uintptr) bool) {
	return func(yield func(from, to uintptr) bool) {
		for line := range bytes.Lines(maps) {
			var from, to uintptr
			var mode string
			if _, err := fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &mode); err != nil {
				continue
			}
			if (mode == "r-xp" || mode == "r--p") && bytes.HasSuffix(line, []byte(" "+file+"\n")) && !yield(from, to) {
				return
			}
		}
	}
}

// traced says that a debugger has the process: its breakpoints are written into the program's pages.
func traced() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err != nil || !bytes.Contains(status, []byte("\nTracerPid:\t0\n"))
}
