package farm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// HAProxy is one running HAProxy in TCP mode, round robin, one thread: what homing is compared with.
type HAProxy struct {
	addr string
	dir  string
	proc *Process
}

// StartHAProxy starts HAProxy on a free port in front of the given backends. When HAProxy is not
// installed the error is a *MissingError.
func StartHAProxy(ctx context.Context, backends ...string) (*HAProxy, error) {
	path, err := find("haproxy", "haproxy")
	if err != nil {
		return nil, err
	}
	addr, err := FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "homing-haproxy-")
	if err != nil {
		return nil, fmt.Errorf("farm: make directory for haproxy: %w", err)
	}
	h := &HAProxy{addr: addr, dir: dir}
	conf := filepath.Join(dir, "haproxy.cfg")
	err = os.WriteFile(conf, []byte(haproxyConf(addr, backends)), 0o600)
	if err == nil {
		h.proc, err = Start(ctx, addr, path, "-db", "-f", conf)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return h, nil
}

func haproxyConf(addr string, backends []string) string {
	var b strings.Builder
	b.WriteString("global\n\tnbthread 1\n\tmaxconn 4000\n")
	b.WriteString("defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 30s\n\ttimeout server 30s\n")
	fmt.Fprintf(&b, "listen farm\n\tbind %s\n\tbalance roundrobin\n", addr)
	for i, addr := range backends {
		fmt.Fprintf(&b, "\tserver b%d %s\n", i, addr)
	}
	return b.String()
}

// Addr returns the host:port HAProxy listens on.
func (h *HAProxy) Addr() string { return h.addr }

// PID returns the process ID.
func (h *HAProxy) PID() int { return h.proc.PID() }

// Stop ends HAProxy and removes its directory.
func (h *HAProxy) Stop() error {
	h.proc.Stop()
	if err := os.RemoveAll(h.dir); err != nil {
		return fmt.Errorf("farm: remove directory of haproxy: %w", err)
	}
	return nil
}
