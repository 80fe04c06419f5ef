//go:build linux

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"homing/balancer"
	"homing/balancer/pool"
)

// parseListen checks an address to accept on. Names are refused: a listener that moves when a name does would be a
// surprise.
func parseListen(s string) (string, error) {
	_, err := balancer.ParseListenAddr(s)
	return s, err
}

// parseBackend reads ADDR[,weight=N][,max-conns=N]. Whether a name resolves is the pool's to find out.
func parseBackend(s string) (pool.Spec, error) {
	fields := strings.Split(s, ",")
	spec := pool.Spec{Addr: fields[0], Weight: 1}
	host, port, err := net.SplitHostPort(spec.Addr)
	if err != nil || host == "" {
		return spec, errors.New("not an address with a port: write it such as 192.0.2.7:443, [2001:db8::7]:443 or name:443")
	}
	if err := checkPort(port, 1); err != nil {
		return spec, err
	}
	for _, field := range fields[1:] {
		key, text, _ := strings.Cut(field, "=")
		var value intValue
		switch key {
		case "weight":
			value = intValue{&spec.Weight, 1, 1000}
		case "max-conns":
			value = intValue{&spec.MaxConns, 1, 10_000_000}
		default:
			return spec, fmt.Errorf("%q is not known: a backend takes weight=N and max-conns=N", field)
		}
		if err := value.Set(text); err != nil {
			return spec, fmt.Errorf("%s is %w", key, err)
		}
	}
	return spec, nil
}

// parseServerName reads a host name as TLS sends it (RFC 6066, section 3): in lower case, without the last dot.
func parseServerName(text string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return "", errors.New("an IP address is no server name: give a host name, such as www.example.org")
	}
	if name == "" || len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", errors.New("not a host name: give one such as www.example.org")
	}
	return name, nil
}

// validate refuses what no single flag can see.
func (o *options) validate() error {
	if len(o.listens) == 0 {
		return errors.New("--listen is missing: say where to accept, such as --listen :443")
	}
	if err := o.node.validate(); err != nil {
		return err
	}
	if len(o.backends) == 0 && !o.node.discovers() {
		return errors.New("--backend is missing: say where to send, such as --backend 192.0.2.7:443")
	}
	for i, addr := range o.listens {
		if slices.Contains(o.listens[:i], addr) && !strings.HasSuffix(addr, ":0") {
			return fmt.Errorf("--listen %q is given twice: leave one out", addr)
		}
	}
	for i, spec := range o.backends {
		if slices.ContainsFunc(o.backends[:i], func(other pool.Spec) bool { return other.Addr == spec.Addr }) {
			return fmt.Errorf("--backend %q is given twice: leave one out, and use weight=N for a bigger share", spec.Addr)
		}
	}
	if o.logConns && o.log == logOff {
		return errors.New("--log-conns needs a log: leave out --log off")
	}
	if o.logConns && o.logLevel > slog.LevelInfo {
		return fmt.Errorf("--log-conns logs at level info: leave out --log-level %s", strings.ToLower(o.logLevel.String()))
	}
	return nil
}
