//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homing/bench/farm"
	"homing/bench/tlsserver"
	"homing/cmd/internal/usage"
)

func newServeCommand() *cobra.Command {
	var o farm.Options
	var nginx int
	var listen, control, ca, key string
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupTool,
		Short:   "Start TLS backends with private session caches and keys, to put a balancer before",
		Long: `Starts backends that name themselves in every answer (X-Backend) and share neither session cache nor ticket keys:
small TLS servers in Go, or with --nginx real nginx. They serve / and ranges of /data, and run until Ctrl-C.

The control address gives "homing-bench resume --control ADDR" and the other scenarios all they need to know: addresses,
certificate, processes, and how to stop a backend and start it again.`,
		Example: `  homing-bench serve --backends 3 --ca ca.pem
  homing-bench serve --nginx 3 --early-data`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("nginx") {
				if cmd.Flags().Changed("backends") {
					return errors.New("--backends and --nginx: give one of them")
				}
				o.Nginx, o.N = true, nginx
			}
			if o.N < 1 || o.N > 100 {
				return fmt.Errorf("%d backends: give 1 to 100", o.N)
			}
			if !o.Nginx && o.EarlyData {
				return errors.New("--early-data needs --nginx: crypto/tls has no 0-RTT over TCP")
			}
			o.Key = tlsserver.Key(key)
			var err error
			if o.Addrs, err = countUp(listen, o.N); err != nil {
				return fmt.Errorf("--listen %q: %w", listen, err)
			}
			return serve(cmd.Context(), o, control, ca, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.IntVar(&o.N, "backends", 3, "TLS servers in Go to start")
	f.IntVar(&nginx, "nginx", 0, "nginx to start instead")
	f.StringVar(&listen, "listen", "127.0.0.1:8441", "address of the first; the others have the ports behind it")
	f.StringVar(&control, "control", "127.0.0.1:8440", "control address, on loopback; empty: none")
	f.StringVar(&key, "key", "rsa", "key of the certificate: rsa (2,048 bits) or ecdsa (P-256)")
	f.StringVar(&ca, "ca", "", "write the certificate that clients have to trust to this file")
	f.BoolVar(&o.NoTickets, "no-tickets", false, "give no tickets: TLS 1.2 resumes by session ID alone")
	f.BoolVar(&o.EarlyData, "early-data", false, "accept 0-RTT (with --nginx)")
	return cmd
}

// countUp returns n addresses with rising ports.
func countUp(first string, n int) ([]string, error) {
	host, port, err := net.SplitHostPort(first)
	if err != nil || host == "" {
		return nil, errors.New("not HOST:PORT")
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 1 || number+n-1 > 65535 {
		return nil, fmt.Errorf("no room for %d ports from %s on", n, port)
	}
	var list []string
	for i := range n {
		list = append(list, net.JoinHostPort(host, strconv.Itoa(number+i)))
	}
	return list, nil
}

// startBackends starts backends of this program or nginx. otherwise says what to do where nginx is not installed.
func startBackends(ctx context.Context, o farm.Options, otherwise string) (_ *farm.Backends, err error) {
	if o.Self, err = os.Executable(); err != nil {
		return nil, err
	}
	servers, err := farm.StartBackends(ctx, o)
	if missing, ok := errors.AsType[*farm.MissingError](err); ok {
		return nil, fmt.Errorf("%w, or %s", missing, otherwise)
	}
	if err != nil {
		return nil, plain(err)
	}
	return servers, nil
}

// serve starts the backends and waits for ctx.
func serve(ctx context.Context, o farm.Options, control, ca string, out io.Writer) (err error) {
	for _, addr := range o.Addrs { // proc would take another program's answer for the backend's
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w: take another --listen", addr, errors.Unwrap(err))
		}
		_ = l.Close() // the backend takes its place
	}
	servers, err := startBackends(ctx, o, "go without --nginx")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.Stop()) }()
	if ca != "" {
		if err := os.WriteFile(ca, []byte(servers.Roots()), 0o644); err != nil { // a certificate, for everybody to read
			return fmt.Errorf("--ca: %w", err)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", servers.Describe())
	for i, addr := range servers.Addrs() {
		fmt.Fprintf(&b, "%s %s pids %s\n", farm.BackendName(i), addr, strings.Trim(fmt.Sprint(servers.PIDs(i)), "[]"))
	}
	fmt.Fprintf(&b, "certificate for %s%s\n", farm.BackendsName, inFile(ca))
	if control != "" {
		stop, err := serveControl(ctx, control, servers)
		if err != nil {
			return err
		}
		defer stop()
		fmt.Fprintf(&b, "control %s\n", control)
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func inFile(path string) string {
	if path == "" {
		return ""
	}
	return " in " + filepath.Clean(path)
}

// serveControl serves the control address until the returned function is called.
func serveControl(ctx context.Context, addr string, servers *farm.Backends) (stop func(), err error) {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--control %q: not HOST:PORT on loopback; who reaches it can stop the backends", addr)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the control address %s: %w: give another --control", addr, errors.Unwrap(err))
	}
	server := &http.Server{Handler: servers.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // until Close
	return func() { _ = server.Close() }, nil
}
