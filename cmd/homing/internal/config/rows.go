//go:build linux

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"homing/balancer"
	"homing/balancer/health"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/value"
)

// Table is every setting that the top of a file can have, bound to c; those of listeners and pools to its defaults. It is
// every flag of `homing run` too, but for those of Flags.
func Table(c *Config) []Group {
	return []Group{
		{"What goes where", []Row{
			{Flag: "policy", Key: "policy", Where: InPools, Value: Policies(&c.Pool.Policy), Doc: "how a fresh handshake finds a backend"},
			{Flag: "tls", Key: "tls", Where: InListeners, Value: TLSModes(&c.Listener.TLS), Doc: "auto: what is not TLS is balanced as fresh; require: it is refused; off: nothing is read"},
			{Flag: "ech", Key: "ech", Where: InPools, Value: value.OnOff(&c.Pool.ECH), Doc: "on: the backends hold ECH keys, so a verdict on a hello with ECH teaches nothing new"},
			{Flag: "loops", Key: "loops", Fixed: true, Value: value.Auto{Int: value.Int{P: &c.Loops, Min: 1, Max: 256}}, Doc: "threads that move conns; auto: one per CPU"},
			{Flag: "engine", Key: "engine", Fixed: true, Value: Engines(&c.Engine), Doc: "what the loops stand on; auto: io_uring where the kernel has it (Linux 6.1) and lets it be used, epoll elsewhere"},
		}},
		{"Timeouts", timeoutRows(&c.Timeouts)},
		{"Limits", append(limitRows(&c.Limits), clientRows(&c.Limits.Clients, &c.Listener)...)},
		{"What is remembered", []Row{
			{Flag: "table-entries", Key: "tables.entries", Fixed: true, Value: value.Int{P: &c.Tables.Entries, Min: 1024, Max: 1_000_000_000}, Doc: "sessions and exact tickets; about 27 bytes each, taken at start"},
			{Flag: "client-entries", Key: "tables.client_entries", Fixed: true, Value: value.Int{P: &c.Tables.ClientEntries, Min: 1024, Max: 100_000_000}, Doc: "clients whose last home is remembered; about 27 bytes each, taken at start"},
			{Flag: "session-ttl", Key: "tables.session_ttl", Fixed: true, Value: span(&c.Tables.SessionTTL, time.Second, 7*day), Doc: "a TLS 1.2 session ID is remembered, counted from its last acceptance"},
			{Flag: "ticket-ttl", Key: "tables.ticket_ttl", Fixed: true, Value: span(&c.Tables.TicketTTL, time.Second, 7*day), Doc: "a ticket without a lifetime of its own, and a ticket key without acceptance or issue"},
			{Flag: "affinity-load-factor", Key: "affinity_load_factor", Where: InPools, Value: value.Ratio{P: &c.Pool.LoadFactor, Min: 1, Max: 1000}, Doc: "a home with more conns than 64 + this times the weighted mean is passed over"},
			{Flag: "state-dir", Key: "state_dir", Fixed: true, Value: value.Text{P: &c.StateDir, Check: value.CheckPath, Kind: "DIR"}, Doc: "write what is learned to this directory, a second behind, and the node's name: a restart and a reboot keep both", Example: "/var/lib/homing"},
			{Flag: "table-dir", Key: "tables.dir", Fixed: true, Value: value.Text{P: &c.Tables.Dir, Check: value.CheckPath, Kind: "DIR"}, Doc: "keep the tables in files here, on a tmpfs such as /run/homing: a restart finds them as they were", Example: "/run/homing"},
		}},
		{"Queue", queueRows(&c.Pool)},
		{"Second chances", []Row{
			{Flag: "second-chance", Key: "second_chance.mode", Where: InPools, Value: offAuto(&c.Pool.SecondChance.Auto), Doc: "auto: an offer that a guessed backend refused goes to another, whose full handshake it costs; for backends without ticket key names"},
			{Flag: "second-chance-tries", Key: "second_chance.tries", Where: InPools, Value: value.Int{P: &c.Pool.SecondChance.Tries, Min: 1, Max: 8}, Doc: "other backends per conn"},
			{Flag: "second-chance-budget", Key: "second_chance.budget", Where: InPools, Value: value.Ratio{P: &c.Pool.SecondChance.Budget, Min: 0.001, Max: 8}, Doc: "second chances per new conn, on average; bounds those after a hang-up too, which are always on"},
		}},
		{"Clients' addresses", addressRows(&c.Listener, &c.Pool)},
		{"Checks", slices.Concat(checkRows(&c.Pool.Checks), QuestionRows(&c.Pool.Checks.Question), agentRows(&c.Pool.Agent), changeRows(&c.Pool))},
		{"Probes", probeRows(&c.Pool.Probe)},
		{"Cluster", clusterRows(c)},
		{"Seeing", append(adminRows(&c.Admin), []Row{
			{Flag: "node-name", Key: "node_name", Fixed: true, Value: value.Text{P: &c.NodeName, Check: value.CheckNodeName, Kind: "NAME"}, Doc: "what this node is called in status, log, page and by the other nodes; not given: the machine's host name", Example: "lb-1"},
			{Flag: "log", Key: "log.format", Fixed: true, Value: value.LogFormats(&c.Log.Format), Doc: "how to log, to stderr"},
			{Flag: "log-level", Key: "log.level", Value: value.LogLevels(&c.Log.Level), Doc: "log nothing below this"},
			{Flag: "log-conns", Key: "log.conns", Value: value.Bool{P: &c.Log.Conns}, Doc: "log one line per conn, at level info"},
		}...)},
	}
}

// InKeys words a text that names settings as --tls=require for a file.
func InKeys(text string) string {
	keys := map[string]string{"listen": "listener", "backend": "backend"}
	for _, row := range rowsOf(Table(Default()), Top, InListeners, InPools) {
		keys[row.Flag] = row.Key
	}
	return settingName.ReplaceAllStringFunc(text, func(name string) string {
		match := settingName.FindStringSubmatch(name)
		key := keys[match[1]]
		switch {
		case key == "":
			return name
		case match[2] != "":
			return key + ": "
		}
		return key
	})
}

const day = 24 * time.Hour

func span(p *time.Duration, least, most time.Duration) value.Duration {
	return value.Duration{P: p, Min: least, Max: most}
}

func spanOrZero(p *time.Duration, least, most time.Duration, zeroIs string) value.Duration {
	return value.Duration{P: p, Min: least, Max: most, ZeroIs: zeroIs}
}

func offAuto(p *bool) value.Enum[bool] {
	return value.Enum[bool]{P: p, Choices: []value.Choice[bool]{{Word: "off", Is: false}, {Word: "auto", Is: true}}}
}

// TLSModes is a mode by its word.
func TLSModes(p *balancer.TLSMode) value.Enum[balancer.TLSMode] {
	return value.Enum[balancer.TLSMode]{P: p, Choices: []value.Choice[balancer.TLSMode]{
		value.Named(balancer.TLSAuto), value.Named(balancer.TLSRequire), value.Named(balancer.TLSOff),
	}}
}

// Policies is a policy by its word.
func Policies(p *pool.Policy) value.Enum[pool.Policy] {
	return value.Enum[pool.Policy]{P: p, Choices: []value.Choice[pool.Policy]{
		value.Named(pool.RoundRobin), value.Named(pool.LeastConn), value.Named(pool.ClientHash),
	}}
}

func adminRows(a *Admin) []Row {
	file := func(flag, key string, p *string, doc, example string) Row {
		return Row{Flag: flag, Key: key, Fixed: true, Value: value.Text{P: p, Check: value.CheckPath, Kind: "FILE"}, Doc: doc, Example: example}
	}
	return []Row{
		{Flag: "admin", Key: "admin.address", Fixed: true, Value: value.Text{P: &a.Address, Check: value.CheckAdmin, Kind: "ADDR"}, Doc: "serve the admin API, the status page and /metrics here, or at unix:/PATH; none: off", Example: "127.0.0.1:9090"},
		file("admin-token-file", "admin.token_file", &a.TokenFile, "who asks the admin server has to show this token, as homing keygen makes one; wanted beyond loopback", "/etc/homing/admin.token"),
		file("admin-tls-cert", "admin.tls_cert", &a.CertFile, "the admin server speaks TLS with this certificate, PEM", "/etc/homing/admin.pem"),
		file("admin-tls-key", "admin.tls_key", &a.KeyFile, "and this key", "/etc/homing/admin.key"),
		{
			Flag: "admin-ready", Key: "admin.ready", Value: value.Enum[Ready]{P: &a.Ready, Choices: []value.Choice[Ready]{value.Named(ReadyEach), value.Named(ReadyAny), value.Named(ReadyAlways)}},
			Doc: "when /readyz says so: each pool that is a listener's default has a backend that is up, any of them has, or always; it changes its mind after 2 s",
		},
		file("admin-client-ca", "admin.client_ca", &a.ClientCAFile, "a client certificate signed by one of these is as good as the token", "/etc/homing/operators.pem"),
	}
}

// Engines is an engine by its word.
func Engines(p *balancer.Engine) value.Enum[balancer.Engine] {
	return value.Enum[balancer.Engine]{P: p, Choices: []value.Choice[balancer.Engine]{
		value.Named(balancer.EngineAuto), value.Named(balancer.EngineUring), value.Named(balancer.EngineEpoll),
	}}
}

// ProxyHeaders is a version by its word.
func ProxyHeaders(p *pool.ProxyHeader) value.Enum[pool.ProxyHeader] {
	return value.Enum[pool.ProxyHeader]{P: p, Choices: []value.Choice[pool.ProxyHeader]{
		value.Named(pool.ProxyOff), value.Named(pool.ProxyV1), value.Named(pool.ProxyV2),
	}}
}

func timeoutRows(t *Timeouts) []Row {
	return []Row{
		{Flag: "hello-timeout", Key: "timeouts.hello", Value: span(&t.Hello, 10*time.Millisecond, time.Hour), Doc: "from accept to a complete ClientHello"},
		{Flag: "connect-timeout", Key: "timeouts.connect", Value: span(&t.Connect, 10*time.Millisecond, time.Hour), Doc: "for all tries together to connect to a backend; one try gets at most a third"},
		{Flag: "hold-timeout", Key: "timeouts.hold", Value: span(&t.Hold, 10*time.Millisecond, time.Minute), Doc: "how long a server's first bytes may wait for the verdict on an offer"},
		{Flag: "handshake-timeout", Key: "timeouts.handshake", Value: spanOrZero(&t.Handshake, 10*time.Millisecond, day, "idle-timeout"), Doc: "for a TLS handshake, from the hello's sending to a backend to the client's last message; 0: only the idle timeout counts"},
		{Flag: "idle-timeout", Key: "timeouts.idle", Value: span(&t.Idle, 10*time.Millisecond, 30*day), Doc: "without a byte in either direction"},
		{Flag: "half-closed-timeout", Key: "timeouts.half_closed", Value: span(&t.HalfClosed, 10*time.Millisecond, 30*day), Doc: "without a byte once one side has finished sending"},
		{Flag: "drain-delay", Key: "timeouts.drain_delay", Value: spanOrZero(&t.DrainDelay, time.Millisecond, time.Hour, "none"), Doc: "after SIGTERM go on taking conns for so long, while /readyz answers 503 and the other nodes know: clients are led elsewhere meanwhile; 0: not at all"},
		{Flag: "drain-timeout", Key: "timeouts.drain", Value: spanOrZero(&t.Drain, time.Millisecond, 30*day, "cut at once"), Doc: "for open conns to end after SIGTERM, and that delay; 0: cut them at once"},
		{Flag: "upgrade-timeout", Key: "timeouts.upgrade", Value: span(&t.Upgrade, 100*time.Millisecond, time.Hour), Doc: "for a new process to be ready to take over, after SIGUSR2; it is killed then, and nothing has changed"},
		{Flag: "keepalive", Key: "timeouts.keepalive", Value: spanOrZero(&t.KeepAlive, time.Second, day, "off"), Doc: "idle time before TCP keepalive probes, on both sides; 0: none"},
		{Flag: "user-timeout", Key: "timeouts.user", Value: spanOrZero(&t.User, time.Second, day, "off"), Doc: "unacknowledged data ends the conn (TCP_USER_TIMEOUT), on both sides; 0: the kernel's own patience"},
	}
}

func limitRows(l *Limits) []Row {
	return []Row{
		{Flag: "max-conns", Key: "limits.max_conns", Value: value.Auto{Int: value.Int{P: &l.MaxConns, Min: 1, Max: 10_000_000}}, Doc: "conns open at once; each takes two open files; auto: as many as their limit allows"},
		{Flag: "max-pre-hello", Key: "limits.pre_hello", Value: value.Auto{Int: value.Int{P: &l.PreHello, Min: 1, Max: 10_000_000}}, Doc: "of them, those without a whole ClientHello; when there are more the oldest are reset; auto: half of --max-conns"},
		{Flag: "memory-limit", Key: "limits.memory", Fixed: true, Value: noneBytes(value.Bytes{P: &l.Memory, Min: 1 << 20, Max: 1 << 44}), Doc: "what clients can make this process take, its tables included; near it conns without a hello are shed, then fresh handshakes refused", Example: "1GiB"},
		{Flag: "buffer-memory", Key: "limits.buffer_memory", Fixed: true, Value: autoBytes(value.Bytes{P: &l.BufferMemory, Min: 1 << 20, Max: 1 << 40}), Doc: "for partial hellos, held answers and unsent rests; above it the newest conns without a hello are shed; auto: 256MiB, less with --memory-limit"},
		{Flag: "hello-limit", Key: "limits.hello", Value: value.Bytes{P: &l.Hello, Min: 512, Max: 64 << 10}, Doc: "of a ClientHello that is read whole; a longer one goes where the server name in its first bytes says, as fresh; without one there to the default pool, or it is refused with --tls=require"},
		{Flag: "hold-limit", Key: "limits.hold", Value: value.Bytes{P: &l.Hold, Min: 512, Max: 64 << 10}, Doc: "of a server's first bytes that may wait for the verdict on an offer"},
	}
}

func queueRows(p *PoolSettings) []Row {
	return []Row{
		{Flag: "queue", Key: "queue.conns", Where: InPools, Value: value.Int{P: &p.Queue, Min: 0, Max: 1_000_000}, Doc: "conns that may wait while all backends have as many as their max-conns, the oldest served first; further ones are reset; 0: none waits"},
		{Flag: "queue-timeout", Key: "queue.timeout", Where: InPools, Value: span(&p.QueueTimeout, 10*time.Millisecond, time.Hour), Doc: "for a conn to wait there; --connect-timeout does not run meanwhile"},
	}
}

func clientRows(s *balancer.SourceLimits, l *ListenerSettings) []Row {
	network := func(flag, key string, p *[]netip.Prefix, doc, example string) Row {
		return Row{Flag: flag, Key: key, Where: InListeners, Value: value.Several[netip.Prefix]{P: p, Parse: parseClients, Print: printClients, Kind: "CIDR"}, Doc: doc, Example: example}
	}
	return []Row{
		{Flag: "client-conns", Key: "limits.client_conns", Value: noneInt(value.Int{P: &s.MaxConns, Min: 1, Max: 65535}), Doc: "open at once from one client, see --client-prefix4; further ones are reset", Example: "200"},
		{Flag: "client-rate", Key: "limits.client_rate", Value: noneRatio(value.Ratio{P: &s.Rate, Min: 0.01, Max: 10000}), Doc: "new conns a second from one client; further ones are reset", Example: "50"},
		{Flag: "client-burst", Key: "limits.client_burst", Value: value.Auto{Int: value.Int{P: &s.Burst, Min: 1, Max: 1_000_000}}, Doc: "of them, that may come at once; auto: those of one second"},
		{Flag: "client-prefix4", Key: "limits.client_prefix4", Value: value.Int{P: &s.Prefix4, Min: 8, Max: 32}, Doc: "bits of an IPv4 address that make one client"},
		{Flag: "client-prefix6", Key: "limits.client_prefix6", Value: value.Int{P: &s.Prefix6, Min: 16, Max: 128}, Doc: "bits of an IPv6 address that make one client"},
		{Flag: "listener-conns", Key: "listener_conns", Where: InListeners, Value: noneInt(value.Int{P: &l.MaxConns, Min: 1, Max: 10_000_000}), Doc: "open at once at one listener; further ones wait in the kernel's queue", Example: "10000"},
		{Flag: "socket-mode", Key: "socket_mode", Where: InListeners, Value: modeValue{&l.Mode}, Doc: "permissions of the file of a unix socket that is listened on: whoever may write to it may connect", Example: "666"},
		network("allow", "allow", &l.Allow, "only clients of this network, or of unix:, may come in; repeatable; not given: all", "198.51.100.0/24"),
		network("deny", "deny", &l.Deny, "clients of this network, or of unix:, may not, even where --allow has them; repeatable", "203.0.113.0/24"),
	}
}

func checkRows(c *Checks) []Row {
	return []Row{
		{Flag: "check-interval", Key: "checks.interval", Where: InPools, Value: span(&c.Interval, 100*time.Millisecond, time.Hour), Doc: "between two checks of a backend, give or take a tenth"},
		{Flag: "check-timeout", Key: "checks.timeout", Where: InPools, Value: span(&c.Timeout, 10*time.Millisecond, time.Hour), Doc: "for one check"},
		{Flag: "rise", Key: "checks.rise", Where: InPools, Value: value.Int{P: &c.Rise, Min: 1, Max: 100}, Doc: "successes in a row that bring a backend up"},
		{Flag: "fall", Key: "checks.fall", Where: InPools, Value: value.Int{P: &c.Fall, Min: 1, Max: 100}, Doc: "failures in a row, of checks or of conns, that take a backend down"},
		{Flag: "no-checks", Key: "checks.disabled", Where: InPools, Value: value.Bool{P: &c.Disabled}, Doc: "do not check backends"},
	}
}

func agentRows(a *health.Agent) []Row {
	return []Row{
		{Flag: "agent-port", Key: "agent.port", Where: InPools, Value: portValue{&a.Port, "none"}, Doc: "at each check ask this port of the backend too how it is, as HAProxy's agent-check does; none: do not", Example: "9999"},
		{Flag: "agent-send", Key: "agent.send", Where: InPools, Value: value.Text{P: &a.Send, Check: value.CheckPrintable, Kind: "TEXT"}, Doc: "sent first there, for programs that speak for several backends", Example: "www"},
	}
}

// changeRows is what follows when a backend goes down and comes back.
func changeRows(p *PoolSettings) []Row {
	return []Row{
		{Flag: "slow-start", Key: "slow_start", Where: InPools, Value: spanOrZero(&p.SlowStart, time.Second, pool.MaxSlowStart, "off"), Doc: "of a backend that comes up again, or joins: its share of fresh handshakes rises from a tenth to all of its weight over this time; resumptions go home at once; never at start; 0: off"},
		{Flag: "on-down", Key: "on_down", Where: InPools, Value: onDowns(&p.OnDown), Doc: "conns open to a backend that is marked down: keep them; or reset them, so that clients come again"},
	}
}

func onDowns(p *pool.OnDown) value.Enum[pool.OnDown] {
	return value.Enum[pool.OnDown]{P: p, Choices: []value.Choice[pool.OnDown]{value.Named(pool.OnDownKeep), value.Named(pool.OnDownReset)}}
}

func addressRows(l *ListenerSettings, p *PoolSettings) []Row {
	return []Row{
		{
			Flag: "accept-proxy", Key: "accept_proxy", Where: InListeners, Value: value.Several[netip.Prefix]{P: &l.AcceptProxy, Parse: parseClients, Print: printClients, Kind: "CIDR"},
			Doc: "proxies in this network, or of unix:, begin each conn with a PROXY header, which says whose it is; repeatable; not given: nobody does", Example: "192.0.2.0/24",
		},
		{Flag: "proxy-protocol", Key: "proxy_protocol", Where: InPools, Value: ProxyHeaders(&p.ProxyHeader), Doc: "tell the backends whose a conn is, by a PROXY header of this version"},
		{
			Flag: "source", Key: "sources", Where: InPools, Value: value.Several[netip.Addr]{P: &p.Sources, Parse: parseSource, Print: netip.Addr.String, Kind: "IP"},
			Doc: "an address of this machine to connect to backends from; repeatable: each has ports of its own", Example: "192.0.2.2",
		},
		{Flag: "transparent", Key: "transparent", Where: InPools, Value: value.OnOff(&p.Transparent), Doc: "on: connect to backends from the client's own address; see homing transparent-rules for what the network needs"},
	}
}

func probeRows(p *Probe) []Row {
	return []Row{
		{Flag: "probe", Key: "probe.enabled", Where: InPools, Value: value.OnOff(&p.Enabled), Doc: "on: shake hands with each backend and resume, to learn the names of its ticket keys; with --tls=off there are no probes"},
		{Flag: "probe-interval", Key: "probe.interval", Where: InPools, Value: span(&p.Interval, 100*time.Millisecond, day), Doc: "between two probes of a backend; one that comes back or refuses its own tickets is probed at once"},
		{Flag: "probe-name", Key: "probe.names", Where: InPools, Value: value.Several[string]{P: &p.Names, Parse: value.ParseServerName, Print: value.AsIs, Kind: "NAME"}, Doc: "probe with this server name too; repeatable; a hello without a name is always sent", Example: "www.example.org"},
		{Flag: "probe-names-from-traffic", Key: "probe.names_from_traffic", Where: InPools, Value: value.Int{P: &p.FromTraffic, Min: 0, Max: 64}, Doc: "probe with so many of the server names that clients use most"},
	}
}

func clusterRows(c *Config) []Row {
	rows := []Row{
		{Flag: "cluster-bind", Key: "cluster.bind", Fixed: true, Value: value.AddrPort{P: &c.Cluster.Bind}, Doc: "be a node of a cluster; gossip here, TCP and UDP, such as 192.0.2.1:7946", Example: "192.0.2.1:7946"},
	}
	rows = append(rows, MemberRows(&c.Cluster.Member)...)
	return append(rows,
		Row{Flag: "node-key-file", Key: "cluster.node_key_file", Fixed: true, Value: value.Text{P: &c.Cluster.NodeKeyFile, Check: value.CheckPath, Kind: "FILE"}, Doc: "keys that only nodes share; without it nothing learned is shared, and gossip keys are not rotated", Example: "/etc/homing/node.key"},
		Row{Flag: "replication-bind", Key: "cluster.replication_bind", Fixed: true, Value: value.AddrPort{P: &c.Cluster.ReplicationBind}, Doc: "share what is learned here; none: the address of --cluster-bind, the port above", Example: "192.0.2.1:7947"},
		Row{Flag: "discover-from", Key: "discover_from", Where: InPools, Value: value.Several[DiscoverSource]{P: &c.Pool.DiscoverFrom, Parse: parseDiscoverSource, Print: DiscoverSource.String, Kind: "CIDR|none"}, Doc: "agents may announce backends in this network; repeatable; not given: an agent's own address only", Example: "192.0.2.0/24"},
		Row{Flag: "discover-weight", Key: "discover_weight", Where: InPools, Value: value.Int{P: &c.Pool.DiscoverWeight, Min: 1, Max: pool.MaxWeight}, Doc: "what the backends announced from one address may weigh together, each at least 1; more is cut down"},
	)
}

// backendRows is what a backend can have beside its address.
func backendRows(b *pool.Spec) []Row {
	return []Row{
		{Flag: "weight", Key: "weight", Value: value.Int{P: &b.Weight, Min: 1, Max: pool.MaxWeight}, Doc: "share of fresh handshakes relative to the others"},
		{Flag: "max-conns", Key: "max_conns", Value: boundValue{value.Int{P: &b.MaxConns, Min: 1, Max: 10_000_000}}, Doc: "conns open at once; not given: no bound", Example: "5000"},
	}
}

// boundValue is an Int of which zero is not written.
type boundValue struct{ value.Int }

func (v boundValue) String() string {
	if *v.P == 0 {
		return ""
	}
	return v.Int.String()
}

// parseListen checks an address to accept on. Names are refused: a listener that moves when a name does would be a
// surprise.
func parseListen(s string) (string, error) {
	_, err := balancer.ParseListenAddr(s)
	if strings.HasPrefix(s, netaddr.Prefix) {
		return s, err
	}
	if host, _, split := net.SplitHostPort(s); err != nil && split == nil && host != "" {
		if _, bad := netip.ParseAddr(host); bad != nil {
			return s, fmt.Errorf("%w: give one of this machine, or leave the host out", err)
		}
	}
	return s, err
}

// parseBackend reads ADDR[,weight=N][,max-conns=N]. Whether a name resolves is the pool's to find out.
func parseBackend(s string) (pool.Spec, error) {
	fields := strings.Split(s, ",")
	spec := pool.Spec{Addr: fields[0], Weight: 1}
	if err := checkBackend(spec.Addr); err != nil {
		return spec, err
	}
	for _, field := range fields[1:] {
		key, text, _ := strings.Cut(field, "=")
		known := false
		for _, row := range backendRows(&spec) {
			if row.Flag == key {
				known = true
				if err := row.Value.Set(text); err != nil {
					return spec, fmt.Errorf("%s is %w", key, err)
				}
			}
		}
		if !known {
			return spec, fmt.Errorf("%q is not known: a backend takes weight=N and max-conns=N", field)
		}
	}
	return spec, nil
}

func checkBackend(addr string) error {
	if path, ok := strings.CutPrefix(addr, netaddr.Prefix); ok {
		return netaddr.CheckPath(path)
	}
	if scheme, _, url := strings.Cut(addr, "://"); url {
		return fmt.Errorf("an address has no %s:// and no path: write it such as 192.0.2.7:443, [2001:db8::7]:443 or name:443", scheme)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return errors.New("not an address with a port: write it such as 192.0.2.7:443, [2001:db8::7]:443 or name:443")
	}
	return value.CheckPort(port, 1)
}

func (d DiscoverSource) String() string {
	if d.None {
		return "none"
	}
	return d.Network.String()
}

func parseDiscoverSource(s string) (DiscoverSource, error) {
	if s == "none" {
		return DiscoverSource{None: true}, nil
	}
	network, err := parseNetwork(s)
	if err != nil {
		return DiscoverSource{}, fmt.Errorf("%w, or none", err)
	}
	return DiscoverSource{Network: network}, nil
}

// parseClients reads a network, or unix: for who comes by a unix socket, which is the zero Prefix.
func parseClients(s string) (netip.Prefix, error) {
	if s == netaddr.Prefix {
		return netip.Prefix{}, nil
	}
	network, err := parseNetwork(s)
	if err != nil {
		return network, fmt.Errorf("%w, or unix: for unix sockets", err)
	}
	return network, nil
}

func printClients(p netip.Prefix) string {
	if p == (netip.Prefix{}) {
		return netaddr.Prefix
	}
	return p.String()
}

func parseNetwork(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return prefix, errors.New("not a network: write it such as 192.0.2.0/24 or 2001:db8::/64")
	}
	if whole := prefix.Masked(); whole != prefix {
		return prefix, fmt.Errorf("an address inside %s: write %s for all of them, or %s for one", whole, whole, netip.PrefixFrom(prefix.Addr(), prefix.Addr().BitLen()))
	}
	return prefix, nil
}

// printBackend writes what parseBackend reads.
func printBackend(spec pool.Spec) string {
	parts := []string{spec.Addr}
	for _, row := range backendRows(&spec) {
		if s := row.Value.String(); s != "" {
			parts = append(parts, row.Flag+"="+s)
		}
	}
	return strings.Join(parts, ",")
}
