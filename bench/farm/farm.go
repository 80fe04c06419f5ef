// Package farm starts real servers on loopback: nginx, a TLS server in Go, and whatever a Recipe is for. Each runs in the
// foreground in a directory of its own, on a free port, with its own session cache and ticket keys, and is gone, worker
// processes included, after Stop. A Server is one of them; Backends are several that a load harness stops and starts by
// name, also from another process (Handler, Remote).
package farm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"homing/bench/proc"
	"homing/bench/tlsserver"
)

// Host names in the certificates: of single servers, and of Backends, which have all names below it too.
const (
	ServerName   = "homing.test"
	BackendsName = "bench.homing.test"
)

// Certificate is a self-signed certificate with its key, both in PEM.
type Certificate = tlsserver.Certificate

// NewRSA makes a certificate with an RSA key of 2,048 bits, the size most sites still serve.
func NewRSA() (*Certificate, error) { return newCertificate(tlsserver.RSA, ServerName) }

// NewECDSA makes a certificate with a P-256 key.
func NewECDSA() (*Certificate, error) { return newCertificate(tlsserver.ECDSA, ServerName) }

func newCertificate(key tlsserver.Key, names ...string) (*Certificate, error) {
	c, err := tlsserver.New(key, append(names, "localhost", "127.0.0.1")...)
	if err != nil {
		return nil, fmt.Errorf("farm: %w", err)
	}
	return c, nil
}

// Roots returns a pool that trusts the given certificates.
func Roots(certs ...*Certificate) *x509.CertPool { return tlsserver.Roots(certs...) }

// MissingError says that a program the farm needs is not installed.
type MissingError struct {
	Program string
	Package string // Debian package that holds it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed: run apt-get install %s", e.Program, e.Package)
}

// Find returns the path of a program, or a *MissingError.
func Find(program, debianPackage string) (string, error) {
	if path, err := proc.Find(program); err == nil {
		return path, nil
	}
	return "", &MissingError{Program: program, Package: debianPackage}
}

// FreeAddr returns an address on 127.0.0.1 that nothing listens on. Another process may take it
// before it is used; with ports drawn at random that has not been seen.
func FreeAddr(ctx context.Context) (string, error) {
	addrs, err := proc.FreeAddrs(ctx, 1)
	if err != nil {
		return "", fmt.Errorf("farm: %w", err)
	}
	return addrs[0], nil
}

// Process is one server in the foreground, and what it wrote to stdout and stderr.
type Process = proc.Process

// StopAll stops every server of the list.
func StopAll[T interface{ Stop() error }](list []T) error {
	var errs []error
	for _, s := range list {
		errs = append(errs, s.Stop())
	}
	return errors.Join(errs...)
}

// StartAll starts n servers at once. On an error none is left running.
func StartAll[T interface{ Stop() error }](n int, start func(i int) (T, error)) ([]T, error) {
	list, errs := make([]T, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { list[i], errs[i] = start(i) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		return list, nil
	}
	for i, s := range list {
		if errs[i] == nil {
			err = errors.Join(err, s.Stop())
		}
	}
	return nil, err
}
