//go:build !linux

package capture

import (
	"context"
	"errors"
)

// Listen needs Linux: elsewhere it is an error that says so.
func Listen(context.Context, Options) (Source, error) {
	return nil, errors.New("an interface is read on Linux only; elsewhere capture to a file (Windows: pktmon, dumpcap) and read that")
}

// DropPrivileges does nothing here: reading files needs none.
func DropPrivileges() error { return nil }
