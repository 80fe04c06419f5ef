// Package farm starts real TLS servers and balancers on loopback: nginx as backends, HAProxy
// to compare with. Each runs in the foreground in a directory of its own, on a free port, with
// its own session cache and ticket keys, and is gone, worker processes included, after Stop.
package farm

import (
	"context"
	"fmt"

	"homing/bench/proc"
)

// MissingError says that a program the farm needs is not installed.
type MissingError struct {
	Program string
	Package string // Debian package that holds it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed: run apt-get install %s", e.Program, e.Package)
}

// find returns the path of a program.
func find(program, debianPackage string) (string, error) {
	if path, err := proc.Find(program); err == nil {
		return path, nil
	}
	return "", &MissingError{Program: program, Package: debianPackage}
}

// FindOpenSSL returns the path of the openssl command, or a *MissingError.
func FindOpenSSL() (string, error) { return find("openssl", "openssl") }

// FindCurl returns the path of the curl command, or a *MissingError.
func FindCurl() (string, error) { return find("curl", "curl") }

// FreeAddr returns an address on 127.0.0.1 that nothing listens on. Another process may take it
// before it is used; with ports drawn at random that has not been seen.
func FreeAddr(ctx context.Context) (string, error) {
	addrs, err := proc.FreeAddrs(ctx, 1)
	if err != nil {
		return "", fmt.Errorf("farm: %w", err)
	}
	return addrs[0], nil
}
