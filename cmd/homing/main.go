// Homing brings TLS sessions home: a layer-4 TCP load balancer that sends every resumption to the backend that can
// accept it, without decrypting anything.
//
// Exit codes: 0 done, or drained within the time given, or that time was over; 1 it failed while running, or a second signal
// cut conns; 2 it was asked for something it cannot do (a wrong flag, an address in use, no backend), and nothing was started.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
)

// version is stamped by the linker: -ldflags '-X main.version=v1.2.3'.
var version = "unstamped"

// Exit codes, see the package comment.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

func main() {
	queue := newLogQueue(stderr{})
	log.SetOutput(queue) // for what libraries say
	code := command(os.Args[1:], os.Stdout, queue)
	queue.close(flushTime)
	os.Exit(code)
}

// command runs one command line and returns its exit code. An error is one line on stderr, whatever it wraps.
func command(args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "homing: %s\n", oneLine(err.Error()))
	if _, ok := errors.AsType[*runError](err); ok {
		return exitFail
	}
	return exitUsage
}

// runError is a failure of something that had been started; every other error means that nothing was.
type runError struct{ err error }

func (e *runError) Error() string { return e.err.Error() }
func (e *runError) Unwrap() error { return e.err }
