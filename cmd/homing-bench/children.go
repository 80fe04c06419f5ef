package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel ask a program to end when this process dies, however that comes about, and keeps the
// terminal's Ctrl-C from it: programs under measurement end when the measurement has.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
