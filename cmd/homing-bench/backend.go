//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"homing/bench/farm"
	"homing/cmd/internal/usage"
)

// newBackendCommand is what serve starts for each backend in Go, so that each has a CPU account of its own.
func newBackendCommand() *cobra.Command {
	var listen, name, cert, key string
	var noTickets bool
	cmd := &cobra.Command{
		Use:    "backend",
		Short:  "Be one TLS backend in Go (serve starts these)",
		Hidden: true,
		Args:   usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				return fmt.Errorf("--cert %s: %w", cert, err)
			}
			s := farm.NewGoServer(name, pair, !noTickets)
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
			if err != nil {
				return fmt.Errorf("cannot listen on %s: %w", listen, errors.Unwrap(err))
			}
			context.AfterFunc(ctx, func() { _ = l.Close() })
			err = errors.Join(s.Serve(l), s.Close())
			if ctx.Err() != nil {
				return nil
			}
			return usage.Failed(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8441", "address to listen on")
	f.StringVar(&name, "name", "backend1", "name in the answers")
	f.StringVar(&cert, "cert", "", "file with the certificate, PEM")
	f.StringVar(&key, "key", "", "file with its key, PEM")
	f.BoolVar(&noTickets, "no-tickets", false, "give no tickets")
	return cmd
}
