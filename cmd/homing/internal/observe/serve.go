package observe

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/observe/judge"
	"homing/cmd/homing/internal/observe/report"
)

// adminAddress reads --admin. Metrics are for this machine alone: addresses of servers are in them.
func adminAddress(s string) (api.Address, error) {
	if s == "" {
		return api.Address{}, nil
	}
	address, err := api.ParseAddress(s)
	if err != nil {
		return address, fmt.Errorf("--admin %s: %w", s, err)
	}
	if address.TLS || !address.Local() {
		return address, fmt.Errorf("--admin %s: is for this machine alone: give a loopback address such as 127.0.0.1:9091, or unix:/PATH", s)
	}
	return address, nil
}

// serve serves metrics at --admin, if that is given, until the function that it returns is called.
func serve(o *options, out *outputs, look func() *judge.Findings) (end func(), err error) {
	if o.admin == "" {
		return func() {}, nil
	}
	address, err := adminAddress(o.admin)
	if err != nil {
		return nil, err
	}
	listener, err := address.Listen()
	if err != nil {
		return nil, fmt.Errorf("--admin: %w", err)
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(report.Collector(func() *judge.Findings { return out.hide(look(), false) })); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	go server.Serve(listener) //nolint:errcheck // it ends by Close
	return func() { server.Close() }, nil
}
