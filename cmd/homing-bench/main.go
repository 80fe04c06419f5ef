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
	"io"
	"os"
	"os/signal"
	"syscall"

	"homing/cmd/internal/usage"
)

// version is stamped by the linker: -ldflags '-X main.version=v1.2.3'.
var version = "unstamped"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// command runs one command line and returns its exit code. An error is one line on stderr, whatever it wraps.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return usage.Execute(ctx, newRootCommand(), args, stdout, stderr)
}
