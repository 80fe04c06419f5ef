//go:build linux

package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/value"
)

// Flags is the command line of `homing run`. Without File it describes one pool, DefaultPool, on all listeners; beside a
// file it says what the top of the file says, and wins.
type Flags struct {
	File string

	listens  []string
	backends []pool.Spec
	scratch  *Config // what each flag is tried on as it is read
	given    map[string][]string
}

// NewFlags is a command line without a flag.
func NewFlags() *Flags {
	return &Flags{scratch: Default(), given: make(map[string][]string)}
}

// Table is every flag of `homing run`.
func (f *Flags) Table() []Group {
	table := Table(f.scratch)
	for _, group := range table {
		for i := range group.Rows {
			row := &group.Rows[i]
			row.Value = &recorded{Value: row.Value, flag: row.Flag, given: f.given}
		}
	}
	table[0].Rows = slices.Concat([]Row{
		{
			Flag: "config", Value: value.Text{P: &f.File, Check: value.CheckPath, Kind: "FILE"},
			Doc: "read listeners, pools and all else from this file, see homing config -h; flags beside it win over its top",
		},
		{
			Flag: "listen", Key: "listeners[].address", Value: value.Several[string]{P: &f.listens, Parse: parseListen, Print: value.AsIs, Kind: "ADDR"},
			Doc: "accept here; repeatable: 192.0.2.1:443, [2001:db8::1]:443, :443 for IPv4 and IPv6, or unix:/run/homing.sock",
		},
		{
			Flag: "backend", Key: "pools[].backends[].address", Value: backendsValue(&f.backends),
			Doc: "send there; repeatable: an address or a name, with its port, or unix:/run/app.sock; weight 1 to 1000",
		},
	}, table[0].Rows)
	return table
}

// recorded is a flag of which all that it is given is kept, to be given to another Config.
type recorded struct {
	value.Value
	flag  string
	given map[string][]string
}

// Set implements value.Value.
func (v *recorded) Set(s string) error {
	if err := v.Value.Set(s); err != nil {
		return err
	}
	if _, list := v.Value.(value.List); !list {
		v.given[v.flag] = nil
	}
	v.given[v.flag] = append(v.given[v.flag], s)
	return nil
}

// IsBoolFlag says that the flag needs no value.
func (v *recorded) IsBoolFlag() bool {
	_, ok := v.Value.(value.Bool)
	return ok
}

// override gives c what the flags say.
func (f *Flags) override(c *Config) error {
	for _, group := range Table(c) {
		for _, row := range group.Rows {
			texts, given := f.given[row.Flag]
			if !given {
				continue
			}
			if list, ok := row.Value.(value.List); ok {
				list.Reset()
			}
			for _, text := range texts {
				if err := row.Value.Set(text); err != nil {
					return fmt.Errorf("--%s %q: %w", row.Flag, text, err)
				}
			}
		}
	}
	return nil
}

// Load makes the configuration that the flags and the file say together. It reads the file each time. An error is one
// line, or *Errors, which are many.
func (f *Flags) Load() (*Config, error) {
	if f.File == "" {
		return f.alone()
	}
	if len(f.listens) > 0 || len(f.backends) > 0 {
		return nil, errors.New("--listen and --backend describe what --config describes too: write them into its listeners and pools")
	}
	name, text, err := Read(f.File)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return Parse(name, text, f.override)
}

// Stdin is the file name that stands for standard input.
const Stdin = "-"

// Read reads a file, or standard input, and gives the name that messages call it by.
func Read(file string) (name string, text []byte, err error) {
	if file == Stdin {
		text, err = io.ReadAll(os.Stdin)
		return "standard input", text, err
	}
	text, err = os.ReadFile(file)
	return file, text, err
}

// alone is the configuration without a file.
func (f *Flags) alone() (*Config, error) {
	c := Default()
	if err := f.override(c); err != nil {
		return nil, err
	}
	c.Pools = []Pool{{Name: DefaultPool, Backends: slices.Clone(f.backends), PoolSettings: c.Pool}}
	for i, addr := range f.listens {
		name := addr
		if slices.Contains(f.listens[:i], addr) { // port 0; else it is refused below
			name = fmt.Sprintf("listener-%d", i+1)
		}
		c.Listeners = append(c.Listeners, Listener{Name: name, Address: addr, Default: DefaultPool, ListenerSettings: c.Listener})
	}
	if len(f.listens) == 0 {
		return nil, errors.New("--listen is missing: say where to accept, such as --listen :443")
	}
	if wrong := c.contradictions(); len(wrong) > 0 {
		return nil, errors.New(InFlags(wrong[0].text))
	}
	if text := c.Pool.Checks.contradiction(); text != "" {
		return nil, errors.New(text)
	}
	if len(f.backends) == 0 && !c.Discovers(&c.Pools[0]) {
		return nil, errors.New("--backend is missing: say where to send, such as --backend 192.0.2.7:443")
	}
	for i, addr := range f.listens {
		for _, other := range f.listens[:i] {
			switch {
			case !overlap(addr, other):
			case addr == other:
				return nil, fmt.Errorf("--listen %q is given twice: leave one out", addr)
			default:
				return nil, fmt.Errorf("--listen %q and --listen %q take the same conns: leave one out", other, addr)
			}
		}
	}
	before := make(map[string]bool, len(f.backends))
	for _, spec := range f.backends {
		if l := c.itself(spec.Addr); l != nil {
			return nil, fmt.Errorf("--backend %q is what --listen %q accepts on: every conn would come back: give the address of another server", spec.Addr, l.Address)
		}
		if text := c.Pools[0].unlikeUnix(&spec); text != "" {
			return nil, fmt.Errorf("--backend %q: %s", spec.Addr, text)
		}
		addr := plainBackend(spec.Addr)
		if before[addr] {
			return nil, fmt.Errorf("--backend %q is given twice: leave one out, and use weight=N for a bigger share", spec.Addr)
		}
		before[addr] = true
	}
	return c, nil
}

// contradiction is what no single setting can see, at the key that is at fault. The text names settings as --tls=require.
type contradiction struct{ key, text string }

// contradictions finds what the settings at the top say against each other.
func (c *Config) contradictions() []contradiction {
	var wrong []contradiction
	add := func(key, format string, args ...any) {
		wrong = append(wrong, contradiction{key, fmt.Sprintf(format, args...)})
	}
	if !c.Cluster.Bind.IsValid() {
		for _, unused := range []struct {
			given     bool
			flag, key string
		}{
			{len(c.Cluster.Join) > 0, "cluster-join", "cluster.join"},
			{c.Cluster.GossipKeyFile != "", "gossip-key-file", "cluster.gossip_key_file"},
			{c.Cluster.NodeKeyFile != "", "node-key-file", "cluster.node_key_file"},
			{c.Cluster.ReplicationBind.IsValid(), "replication-bind", "cluster.replication_bind"},
			{len(c.Pool.DiscoverFrom) > 0, "discover-from", "discover_from"},
			{c.Cluster.Advertise.IsValid(), "cluster-advertise", "cluster.advertise"},
		} {
			if unused.given {
				add(unused.key, "--%s needs --cluster-bind: say where to gossip, such as --cluster-bind=192.0.2.1:7946", unused.flag)
			}
		}
	}
	if b := c.Cluster.Bind; b.IsValid() {
		switch {
		case c.Cluster.GossipKeyFile == "" && !c.Cluster.Insecure && !b.Addr().IsLoopback():
			add("cluster.bind", "--cluster-bind=%s without --gossip-key-file: whoever reaches the address could join; give a key (homing keygen), or --cluster-insecure", b)
		case b.Addr().IsUnspecified() && !c.Cluster.Advertise.IsValid():
			add("cluster.bind", "--cluster-bind=%s is no address that others can dial: bind one of this machine's own, or say with --cluster-advertise where they reach it", b)
		}
	}
	if key, text := c.Admin.contradiction(); key != "" {
		add(key, "%s", text)
	}
	for i := range c.Listeners {
		if l := &c.Listeners[i]; overlap(c.Admin.Address, l.Address) {
			add("admin.address", "--admin=%s is where the listener %s accepts: give it another port", c.Admin.Address, l.Address)
			break
		}
	}
	if err := c.checkMemory(); err != nil {
		add("limits.memory", "%v", err)
	}
	if noneAmong(c.Pool.DiscoverFrom) {
		add("discover_from", "--discover-from=none contradicts the others: leave it out, or them")
	}
	if c.Cluster.Bind.IsValid() && c.Cluster.NodeKeyFile == "" && c.Cluster.ReplicationBind.IsValid() {
		add("cluster.replication_bind", "--replication-bind needs --node-key-file: nodes show by its key that they are nodes")
	}
	c.uselessChecks(add)
	if l := &c.Limits.Clients; l.Burst > 0 && l.Rate == 0 {
		add("limits.client_burst", "--client-burst needs --client-rate: say how many conns a second, such as --client-rate=50")
	} else if l.Rate > 0 && float64(l.Burst)/l.Rate > 600 {
		add("limits.client_burst", "--client-burst is more than ten minutes of --client-rate: lower it, or raise that")
	}
	if c.Log.Conns && c.Log.Format == value.LogOff {
		add("log.conns", "--log-conns needs a log: leave out --log=off")
	} else if c.Log.Conns && c.Log.Level > slog.LevelInfo {
		add("log.conns", "--log-conns logs at level info: leave out --log-level=%s", strings.ToLower(c.Log.Level.String()))
	}
	return wrong
}

// contradiction finds what the settings of the admin server say against each other; an empty key: nothing.
func (a *Admin) contradiction() (key, text string) {
	keyOf := func(flag string) string {
		if flag == "admin" {
			return "admin.address"
		}
		return "admin." + strings.ReplaceAll(strings.TrimPrefix(flag, "admin-"), "-", "_")
	}
	if a.Address == "" {
		for _, file := range []struct{ path, flag string }{
			{a.TokenFile, "admin-token-file"}, {a.CertFile, "admin-tls-cert"}, {a.KeyFile, "admin-tls-key"}, {a.ClientCAFile, "admin-client-ca"},
		} {
			if file.path != "" {
				return keyOf(file.flag), "--" + file.flag + " needs --admin: say where to listen, such as --admin=127.0.0.1:9090"
			}
		}
		return "", ""
	}
	access := a.Access()
	if wrong, ok := errors.AsType[*api.AccessError](access.Check()); ok {
		return keyOf(wrong.Setting), wrong.Text
	}
	return "", ""
}

// uselessChecks finds what is said of checks at the top, and no pool's checks ask for.
func (c *Config) uselessChecks(add func(key, format string, args ...any)) {
	most := c.Pool.Checks.Kind
	for i := range c.Pools {
		most = max(most, c.Pools[i].Checks.Kind)
	}
	usual := Default().Pool.Checks
	for _, unused := range []struct {
		given     bool
		flag, key string
		wants     health.Kind
	}{
		{c.Pool.Checks.ServerName != "", "check-server-name", "checks.server_name", health.CheckTLS},
		{len(c.Pool.Checks.ALPN) > 0, "check-alpn", "checks.alpn", health.CheckTLS},
		{c.Pool.Checks.CAFile != "", "check-ca-file", "checks.ca_file", health.CheckTLS},
		{c.Pool.Checks.Method != usual.Method, "check-method", "checks.method", health.CheckHTTPS},
		{c.Pool.Checks.Path != usual.Path, "check-path", "checks.path", health.CheckHTTPS},
		{len(c.Pool.Checks.Expect) > 0, "check-expect", "checks.expect", health.CheckHTTPS},
	} {
		if unused.given && most < unused.wants {
			add(unused.key, "--%s goes unused: check by --check=%s, or leave it out", unused.flag, unused.wants)
		}
	}
	if c.Pool.Transparent && len(c.Pool.Sources) > 0 {
		add("sources", "--source goes unused: leave it out, or --transparent=on")
	}
}

// noneAmong finds the word none where it does not stand alone.
func noneAmong(from []DiscoverSource) bool {
	return len(from) > 1 && slices.ContainsFunc(from, func(d DiscoverSource) bool { return d.None })
}

// Discovers says that backends may announce themselves in a pool of c.
func (c *Config) Discovers(p *Pool) bool {
	return c.Cluster.Bind.IsValid() && (len(p.DiscoverFrom) == 0 || !p.DiscoverFrom[0].None)
}
