package usage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of the commands.
const (
	ExitOK    = 0 // done
	ExitFail  = 1 // it failed while running
	ExitUsage = 2 // it was asked for something it cannot do, and nothing was started
)

// Execute runs one command line and returns its exit code. An error is one line on stderr, whatever it wraps.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(FlagError)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if line := OneLine(err.Error()); line != "" {
		fmt.Fprintf(stderr, "%s: %s\n", root.Name(), line)
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return ExitUsage
}

// exitError is an error with an exit code of its own; with every other it is ExitUsage.
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

// Failed is a failure of something that had been started; nil stays nil.
func Failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{ExitFail, err}
}

// Exit is an error with an exit code. Without an error in it nothing is printed: the output has said it all.
func Exit(code int, err error) error { return &exitError{code, err} }

// OneLine joins the lines of a message.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
}
