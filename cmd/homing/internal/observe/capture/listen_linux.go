package capture

import (
	"context"
	"errors"
)

// Listen opens what arrives at an interface and leaves it.
func Listen(context.Context, Options) (Source, error) {
	return nil, errors.New("not yet")
}

// DropPrivileges gives up every privilege of the process: call it when all that needs one is open, output files as well.
func DropPrivileges() error { return nil }
