// Homing-bench is a load harness for TCP balancers and TLS endpoints: it lets thousands of clients reconnect and offer
// to resume, and says what became of their offers, how long it took and what it cost whom. It is a black-box client and
// knows nothing of any balancer.
//
// Exit codes: 0 done; 1 the run ended before its time or without an answer to its question, and what it had seen until
// then was printed; 2 it was asked for something it cannot do, and nothing was started. Commands with codes of their
// own say so in their help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
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
	os.Exit(command(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// command runs one command line and returns its exit code. An error is one line on stderr, whatever it wraps.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitUsage
	if exit, ok := errors.AsType[*exitError](err); ok {
		code = exit.code
	}
	if line := oneLine(err.Error()); line != "" {
		fmt.Fprintf(stderr, "homing-bench: %s\n", line)
	}
	return code
}

// exitError is an error with an exit code other than exitUsage. Without an error in it nothing is printed: the output
// has said it all.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// oneLine joins the lines of a message, so that an error stays one line whatever it wraps.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
