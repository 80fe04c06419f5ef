//go:build linux

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

// wrapper is a program that starts homing, and is still there beside it: a script that does not exec. Its own end is what
// the elder sees, and its PID what the elder knows.
func wrapper(t *testing.T, mode, script string) Command {
	t.Helper()
	self, err := os.Executable()
	testkit.Check(t, err)
	t.Setenv(envMode, mode)
	t.Setenv("HOMING_TEST_BINARY", self)
	path := filepath.Join(t.TempDir(), "homing")
	testkit.Check(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700)) // it is run
	return Command{Path: path, Args: []string{"homing"}, Dir: t.TempDir()}
}

// An heir that fails takes along all that it has started, however it came to its end. What is left would have the
// listening sockets, or the messages that carry them, and once the elder has closed its own clients would connect to
// nobody.
func TestUpgradeEndsWhatAnHeirStarted(t *testing.T) {
	const notExec = `"$HOMING_TEST_BINARY" heir; exit $?`
	for _, tt := range []struct {
		name, mode, script string
		kill               bool // by somebody else; else the upgrade is broken off
		want               string
	}{
		{"broken off", "sticks", notExec, false, "broken off"},
		{"killed", "sticks", notExec, true, "signal: killed"},
		{"parcel not read", "", `sleep 0.2; echo has the sockets >&2; sleep 1000; exit $?`, false, "broken off"},
		{"ends in the background", "sticks", `"$HOMING_TEST_BINARY" heir & while ! grep -q "has the" "$SAID"; do sleep 0.01; done; exit 0`, false, "exit status 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newElder(t)
			t.Setenv("SAID", e.said.Name())
			u := NewUpgrader(Config{Command: wrapper(t, tt.mode, tt.script), Stderr: e.said})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() { failed <- u.Upgrade(ctx, e.steps()) }()
			wait(t, "it has the sockets", func() bool { return strings.Contains(e.output(), "has the sockets") })
			switch {
			case tt.kill:
				testkit.Check(t, syscall.Kill(child(t), syscall.SIGKILL))
			case tt.want == "broken off":
				cancel()
			}
			if err := <-failed; err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			if pid := e.ask(); pid != os.Getpid() {
				t.Errorf("%d answers", pid)
			}
			e.listener.Close()
			wait(t, "nobody listens any more", refused)
		})
	}
}

// An heir behind a script serves as any other: it is the one that is told of, it is in the elder's process group as one
// without a script is, and the end of the script is not its own.
func TestUpgradeThroughWrapper(t *testing.T) {
	for _, script := range []string{`"$HOMING_TEST_BINARY" heir; exit $?`, `exec "$HOMING_TEST_BINARY" heir`} {
		e := newElder(t)
		u := NewUpgrader(Config{Command: wrapper(t, "good", script), Stderr: e.said})
		testkit.Check(t, u.Upgrade(t.Context(), e.steps()))
		heir := <-e.letGo
		if pid := e.ask(); pid != heir {
			t.Errorf("%d answers, the heir is said to be %d", pid, heir)
		}
		wait(t, "it is in the same process group", func() bool {
			group, err := syscall.Getpgid(heir)
			return err == nil && group == syscall.Getpgrp()
		})
		if started := child(t); started != heir {
			testkit.Check(t, syscall.Kill(started, syscall.SIGKILL))
			wait(t, "the script is gone", func() bool { return children(t) == 0 })
			if pid := e.ask(); pid != heir {
				t.Errorf("%d answers, the heir is %d", pid, heir)
			}
		}
		e.life.Close()
		e.life = nil
		wait(t, "the heir ends", refused)
	}
}

// refused says that nobody has the elder's listening socket: a conn that waits in its queue, or finds that full, is not.
func refused() bool {
	conn, err := net.DialTimeout("tcp", os.Getenv("HOMING_TEST_ADDR"), time.Second)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// child is the one process that this one has started and not waited for.
func child(t *testing.T) int {
	t.Helper()
	pids := childPIDs(t)
	if len(pids) != 1 {
		t.Fatalf("children %v, want one", pids)
	}
	pid, err := strconv.Atoi(pids[0])
	testkit.Check(t, err)
	return pid
}

// childPIDs are the processes that this one has and that have not been waited for.
func childPIDs(t *testing.T) (pids []string) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	testkit.Check(t, err)
	for _, task := range tasks {
		if text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%s/children", task.Name())); err == nil { // else the thread has ended
			pids = append(pids, strings.Fields(string(text))...)
		}
	}
	return pids
}
