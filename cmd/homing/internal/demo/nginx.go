package demo

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"homing/cmd/homing/internal/farm"
)

// nginxServer is a backend of the demo in a process of its own.
type nginxServer struct{ *farm.Nginx }

func startNginx(ctx context.Context, name string, cert *farm.Certificate) (*nginxServer, error) {
	n, err := farm.StartNginx(ctx, farm.NginxConfig{Name: name, Certificates: []*farm.Certificate{cert}, QuietLog: true})
	if err != nil {
		return nil, err
	}
	return &nginxServer{n}, nil
}

func (n *nginxServer) addr() string { return n.Addr() }

func (n *nginxServer) stop() error { return n.Stop() }

// serverCPU returns the CPU time that nginx has used: the first field of schedstat, in nanoseconds
// (Linux, Documentation/scheduler/sched-stats). nginx has one thread per process, and between two
// measurements it sleeps, so that the figure is complete.
func (n *nginxServer) serverCPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range n.PIDs() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			return 0, fmt.Errorf("demo: read CPU time of nginx: %w", err)
		}
		ns, err := parseSchedstat(string(b))
		if err != nil {
			return 0, err
		}
		sum += ns
	}
	return sum, nil
}

func parseSchedstat(s string) (time.Duration, error) {
	first, _, _ := strings.Cut(s, " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("demo: read schedstat %.40q: %w", s, err)
	}
	return time.Duration(ns), nil
}
