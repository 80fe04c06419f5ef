// Package farm starts real TLS servers and balancers on loopback: nginx as backends, HAProxy
// to compare with. Each runs in the foreground in a directory of its own, on a free port, with
// its own session cache and ticket keys, and is gone, worker processes included, after Stop.
package farm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
)

// MissingError says that a program the farm needs is not installed.
type MissingError struct {
	Program string
	Package string // Debian package that holds it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed: run apt-get install %s", e.Program, e.Package)
}

// find returns the path of a program. Debian keeps servers in /usr/sbin, which is not on the
// PATH of an ordinary user, so that directory is asked too.
func find(program, debianPackage string) (string, error) {
	for _, name := range []string{program, filepath.Join("/usr/sbin", program)} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", &MissingError{Program: program, Package: debianPackage}
}

// FindOpenSSL returns the path of the openssl command, or a *MissingError.
func FindOpenSSL() (string, error) { return find("openssl", "openssl") }

// FindCurl returns the path of the curl command, or a *MissingError.
func FindCurl() (string, error) { return find("curl", "curl") }

// Ports are drawn below Linux's ephemeral range (32,768 and up, ip(7)): a port from inside it may
// be taken by an outgoing conn while its server is down, and the restart would then fail.
const (
	firstPort = 20000
	lastPort  = 32000
)

// FreeAddr returns an address on 127.0.0.1 that nothing listens on. Another process may take it
// before it is used; with ports drawn at random that has not been seen.
func FreeAddr(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort))
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		return addr, l.Close()
	}
	return "", errors.New("farm: no free port on 127.0.0.1 in 100 draws")
}
