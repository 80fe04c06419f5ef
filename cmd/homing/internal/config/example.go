//go:build linux

package config

import (
	"homing/balancer"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/value"
)

const exampleHead = `# The configuration of homing: every key with its meaning and its default, by: homing config example
# Check it with homing config check FILE, use it with homing run --config FILE, and SIGHUP reads it again.
# Durations have a unit (500ms, 30s, 5m, 10h); bytes may have one (16384, 16KiB, 256MiB).
# YAML wants quotes around what begins with a star or a bracket: "*.example.org", "[2001:db8::1]:443".
`

// Example is a file that shows and explains every key. It is a valid one.
func Example() []byte {
	p := newPrinter()
	p.notes = true
	p.out.WriteString(exampleHead)
	p.top(exampleConfig())
	return p.out.Bytes()
}

// exampleConfig is what the example says: a site, its API that speaks HTTP/2 alone, and a mail server. It starts as it
// is, for the packages install it: a pool whose only backend is a name that nobody knows would not let it.
func exampleConfig() *Config {
	c := Default()
	api := c.Pool
	api.Policy = pool.LeastConn
	api.Checks.Interval, api.Checks.Kind = c.Pool.Checks.Interval/2, health.CheckHTTPS
	c.Pools = []Pool{
		{Name: "www", PoolSettings: c.Pool, Backends: []pool.Spec{
			{Addr: "192.0.2.11:443", Weight: 2, MaxConns: 5000}, {Addr: "192.0.2.12:443", Weight: 1},
		}},
		{Name: "api", PoolSettings: api, Backends: []pool.Spec{
			{Addr: "api.internal.example.org:8443", Weight: 1}, {Addr: "192.0.2.21:8443", Weight: 1},
		}},
		{Name: "mail", PoolSettings: c.Pool, Backends: []pool.Spec{{Addr: "[2001:db8::25]:465", Weight: 1}}},
	}
	c.Listeners = []Listener{
		{
			Name: "public", Address: ":443", Default: "www",
			ListenerSettings: ListenerSettings{TLS: balancer.TLSRequire, Mode: balancer.DefaultMode},
			Routes: []Route{
				{Names: []string{"api.example.org"}, ALPN: []string{"h2"}, Pool: "api"},
				{Names: []string{"www.example.org", "*.example.net"}, Pool: "www"},
			},
		},
		{Name: ":465", Address: ":465", Default: "mail", ListenerSettings: c.Listener},
	}
	return c
}

// exampleText is the example of a row as YAML.
func (r *Row) exampleText() string {
	if _, several := r.Value.(value.List); several {
		return "[" + scalar(r.Example) + "]"
	}
	return scalar(r.Example)
}
