package farm

import (
	"context"
	"fmt"
	"time"

	"homing/bench/proc"
)

const (
	// startTimeout bounds the wait for a server's first accepted conn. nginx starts in 20 ms;
	// the rest is for a machine that is busy with other tests.
	startTimeout = 10 * time.Second
)

// Process is one server in the foreground, and what it wrote to stdout and stderr.
type Process = proc.Process

// Start runs a program and returns once something accepts on addr. A program that ends first,
// or does not accept within 10 s, is an error that carries the last line it printed.
func Start(ctx context.Context, addr, path string, args ...string) (*Process, error) {
	return start(ctx, proc.Command{Path: path, Args: args, Ready: []string{addr}})
}

func start(ctx context.Context, c proc.Command) (*Process, error) {
	c.ReadyTimeout = startTimeout
	p, err := proc.Start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("farm: %w", err)
	}
	return p, nil
}

// WaitFor asks cond every 5 ms until it holds or the time is over, and reports whether it held.
func WaitFor(ctx context.Context, timeout time.Duration, cond func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return proc.Until(ctx, func() (bool, error) { return cond(), nil }) == nil
}
