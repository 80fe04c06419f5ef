//go:build linux

package config

import (
	"errors"
	"fmt"
	"io"
)

// Explain writes what is wrong with a file, a block for each problem, and makes an error of how many there are.
// Another error stays as it is.
func Explain(w io.Writer, err error) error {
	wrong, ok := errors.AsType[*Errors](err)
	if !ok {
		return err
	}
	if err := wrong.Write(w); err != nil {
		return err
	}
	n := len(wrong.Problems)
	if n == 1 {
		return fmt.Errorf("%s has 1 error", wrong.File)
	}
	return fmt.Errorf("%s has %d errors", wrong.File, n)
}

// Word names the settings in an error as the user did: by their keys when there is a file.
func (f *Flags) Word(err error) error {
	if err == nil || f.File == "" {
		return err
	}
	return &worded{err, InKeys(err.Error())}
}

// worded is an error in other words.
type worded struct {
	err  error
	text string
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.err }
