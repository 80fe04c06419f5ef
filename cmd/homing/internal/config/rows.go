//go:build linux

package config

import (
	"net/netip"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/value"
	"homing/tlsparse"
)

// Table is every setting that the top of a file can have, bound to c; those of listeners and pools to its defaults. It is
// every flag of `homing run` too, but for those of Flags.
func Table(c *Config) []Group {
	l, p := &c.Listener, &c.Pool
	return []Group{
		{"What goes where", []Row{
			pools("policy", "policy", value.Words(&p.Policy, pool.RoundRobin, pool.LeastConn, pool.ClientHash),
				"how a fresh handshake finds a backend"),
			listeners("tls", "tls", value.Words(&l.TLS, balancer.TLSAuto, balancer.TLSRequire, balancer.TLSOff),
				"auto: what is not TLS is balanced as fresh; require: it is refused; off: nothing is read"),
			pools("ech", "ech", value.OnOff(&p.ECH),
				"on: the backends hold ECH keys, so a verdict on a hello with ECH teaches nothing new"),
			top("loops", "loops", value.Int{P: &c.Loops, Min: 1, Max: 256, Zero: "auto"},
				"threads that move conns; auto: one per CPU").fixed(),
			top("engine", "engine", value.Words(&c.Engine, balancer.EngineAuto, balancer.EngineUring, balancer.EngineEpoll),
				"what the loops stand on; auto: io_uring where the kernel has it (Linux 6.1) and lets it be used, epoll elsewhere").fixed(),
		}},
		{"Timeouts", timeoutRows(&c.Timeouts)},
		{"Limits", append(limitRows(&c.Limits), clientRows(&c.Limits.Clients, l)...)},
		{"What is remembered", memoryRows(c)},
		{"Queue", []Row{
			pools("queue", "queue.conns", value.Int{P: &p.Queue, Min: 0, Max: 1_000_000, Off: pool.NoQueue},
				"conns that may wait while all backends have as many as their max-conns, the oldest served first; further ones "+
					"are reset; 0: none waits"),
			pools("queue-timeout", "queue.timeout", span(&p.QueueTimeout, tick, time.Hour),
				"for a conn to wait there; --connect-timeout does not run meanwhile"),
		}},
		{"Second chances", []Row{
			pools("second-chance", "second_chance.mode", value.Enum[bool]{
				P: &p.SecondChance.Auto, Words: []string{"off", "auto"}, Values: []bool{false, true},
			}, "auto: an offer that a guessed backend refused goes to another, whose full handshake it costs; for backends without "+
				"ticket key names"),
			pools("second-chance-tries", "second_chance.tries",
				value.Int{P: &p.SecondChance.Tries, Min: 1, Max: pool.MaxSecondTries}, "other backends per conn"),
			pools("second-chance-budget", "second_chance.budget",
				value.Ratio{P: &p.SecondChance.Budget, Min: 0.001, Max: pool.MaxSecondTries},
				"second chances per new conn, on average; bounds those after a hang-up too, which are always on"),
		}},
		{"Clients' addresses", []Row{
			listeners("accept-proxy", "accept_proxy", clients(&l.AcceptProxy),
				"proxies in this network, or of unix:, begin each conn with a PROXY header, which says whose it is; repeatable; "+
					"not given: nobody does").like("192.0.2.0/24"),
			pools("proxy-protocol", "proxy_protocol", value.Words(&p.ProxyHeader, pool.ProxyOff, pool.ProxyV1, pool.ProxyV2),
				"tell the backends whose a conn is, by a PROXY header of this version"),
			pools("source", "sources", value.Several[netip.Addr]{P: &p.Sources, Parse: parseSource, Kind: "IP"},
				"an address of this machine to connect to backends from; repeatable: each has ports of its own").like("192.0.2.2"),
			pools("transparent", "transparent", value.OnOff(&p.Transparent),
				"on: connect to backends from the client's own address; see homing transparent-rules for what the network needs"),
		}},
		{"Checks", checkRows(p)},
		{"Probes", []Row{
			pools("probe", "probe.enabled", value.OnOff(&p.Probe.Enabled),
				"on: shake hands with each backend and resume, to learn the names of its ticket keys; with --tls=off there are no "+
					"probes"),
			pools("probe-interval", "probe.interval", span(&p.Probe.Interval, 100*time.Millisecond, day),
				"between two probes of a backend; one that comes back or refuses its own tickets is probed at once"),
			pools("probe-name", "probe.names", value.Several[string]{P: &p.Probe.Names, Parse: value.ParseServerName, Kind: "NAME"},
				"probe with this server name too; repeatable; a hello without a name is always sent").like("www.example.org"),
			pools("probe-names-from-traffic", "probe.names_from_traffic",
				value.Int{P: &p.Probe.FromTraffic, Min: 0, Max: 64, Off: health.NoneFromTraffic},
				"probe with so many of the server names that clients use most"),
		}},
		{"Cluster", clusterRows(c)},
		{"Seeing", append(adminRows(&c.Admin), []Row{
			top("node-name", "node_name", value.Text{P: &c.NodeName, Check: value.CheckNodeName, Kind: "NAME"},
				"what this node is called in status, log, page and by the other nodes; not given: the machine's host name").
				fixed().like("lb-1"),
			top("log", "log.format", value.LogFormats(&c.Log.Format), "how to log, to stderr").fixed(),
			top("log-level", "log.level", value.LogLevels(&c.Log.Level), "log nothing below this"),
			top("log-conns", "log.conns", value.Bool{P: &c.Log.Conns}, "log one line per conn, at level info"),
		}...)},
	}
}

const (
	day  = 24 * time.Hour
	tick = 10 * time.Millisecond // the least time that a loop's timers tell apart

	manyConns = 10_000_000 // more than a machine has memory for
)

func span(p *time.Duration, least, most time.Duration) value.Duration {
	return value.Duration{P: p, Min: least, Max: most}
}

// spanOrZero is a span of which zero, below its least, means something.
func spanOrZero(p *time.Duration, least, most time.Duration) value.Duration {
	return value.Duration{P: p, Min: least, Max: most, Zero: value.ZeroItself}
}

// spanOrOff is a span of which zero is off, and not the balancer's default.
func spanOrOff(p *time.Duration, least, most time.Duration) value.Duration {
	return value.Duration{P: p, Min: least, Max: most, Zero: value.ZeroItself, Off: balancer.Off}
}

func timeoutRows(t *Timeouts) []Row {
	return []Row{
		top("hello-timeout", "timeouts.hello", span(&t.Hello, tick, time.Hour), "from accept to a complete ClientHello"),
		top("connect-timeout", "timeouts.connect", span(&t.Connect, tick, time.Hour),
			"for all tries together to connect to a backend; one try gets at most a third"),
		top("hold-timeout", "timeouts.hold", span(&t.Hold, tick, time.Minute),
			"how long a server's first bytes may wait for the verdict on an offer"),
		top("handshake-timeout", "timeouts.handshake", spanOrOff(&t.Handshake, tick, day),
			"for a TLS handshake, from the hello's sending to a backend to the client's last message; 0: only the idle timeout counts"),
		top("idle-timeout", "timeouts.idle", span(&t.Idle, tick, 30*day), "without a byte in either direction"),
		top("half-closed-timeout", "timeouts.half_closed", span(&t.HalfClosed, tick, 30*day),
			"without a byte once one side has finished sending"),
		top("drain-delay", "timeouts.drain_delay", spanOrZero(&t.DrainDelay, time.Millisecond, time.Hour),
			"after SIGTERM go on taking conns for so long, while /readyz answers 503 and the other nodes know: clients are led "+
				"elsewhere meanwhile; 0: not at all"),
		top("drain-timeout", "timeouts.drain", spanOrZero(&t.Drain, time.Millisecond, 30*day),
			"for open conns to end after SIGTERM, and that delay; 0: cut them at once"),
		top("upgrade-timeout", "timeouts.upgrade", span(&t.Upgrade, 100*time.Millisecond, time.Hour),
			"for a new process to be ready to take over, after SIGUSR2; it is killed then, and nothing has changed"),
		top("keepalive", "timeouts.keepalive", spanOrOff(&t.KeepAlive, time.Second, day),
			"idle time before TCP keepalive probes, on both sides; 0: none"),
		top("user-timeout", "timeouts.user", spanOrOff(&t.User, time.Second, day),
			"unacknowledged data ends the conn (TCP_USER_TIMEOUT), on both sides; 0: the kernel's own patience"),
	}
}

func limitRows(l *Limits) []Row {
	return []Row{
		top("max-conns", "limits.max_conns", value.Int{P: &l.MaxConns, Min: 1, Max: manyConns, Zero: "auto"},
			"conns open at once; each takes two open files; auto: as many as their limit allows"),
		top("max-pre-hello", "limits.pre_hello", value.Int{P: &l.PreHello, Min: 1, Max: manyConns, Zero: "auto"},
			"of them, those without a whole ClientHello; when there are more the oldest are reset; auto: half of --max-conns"),
		top("memory-limit", "limits.memory", value.Bytes{P: &l.Memory, Min: 1 << 20, Max: 1 << 44, Zero: "none"},
			"what clients can make this process take, its tables included; near it conns without a hello are shed, then fresh "+
				"handshakes refused").fixed().like("1GiB"),
		top("buffer-memory", "limits.buffer_memory", value.Bytes{P: &l.BufferMemory, Min: 1 << 20, Max: 1 << 40, Zero: "auto"},
			"for partial hellos, held answers and unsent rests; above it the newest conns without a hello are shed; auto: "+
				"256MiB, less with --memory-limit").fixed(),
		top("hello-limit", "limits.hello", value.Bytes{P: &l.Hello, Min: 512, Max: tlsparse.MaxHelloLimit},
			"of a ClientHello that is read whole; a longer one goes where the server name in its first bytes says, as fresh; "+
				"without one there to the default pool, or it is refused with --tls=require"),
		top("hold-limit", "limits.hold", value.Bytes{P: &l.Hold, Min: 512, Max: 64 << 10},
			"of a server's first bytes that may wait for the verdict on an offer"),
	}
}

func clientRows(s *balancer.ClientLimits, l *ListenerSettings) []Row {
	return []Row{
		top("client-conns", "limits.client_conns", value.Int{P: &s.MaxConns, Min: 1, Max: balancer.MaxSourceConns, Zero: "none"},
			"open at once from one client, see --client-prefix4; further ones are reset").like("200"),
		top("client-rate", "limits.client_rate", value.Ratio{P: &s.Rate, Min: 0.01, Max: balancer.MaxSourceRate, Zero: "none"},
			"new conns a second from one client; further ones are reset").like("50"),
		top("client-burst", "limits.client_burst", value.Int{P: &s.Burst, Min: 1, Max: 1_000_000, Zero: "auto"},
			"of them, that may come at once; auto: those of one second"),
		top("client-prefix4", "limits.client_prefix4", value.Int{P: &s.Prefix4, Min: balancer.MinPrefix4, Max: 32},
			"bits of an IPv4 address that make one client"),
		top("client-prefix6", "limits.client_prefix6", value.Int{P: &s.Prefix6, Min: balancer.MinPrefix6, Max: 128},
			"bits of an IPv6 address that make one client"),
		listeners("listener-conns", "listener_conns", value.Int{P: &l.MaxConns, Min: 1, Max: manyConns, Zero: "none"},
			"open at once at one listener; further ones wait in the kernel's queue").like("10000"),
		listeners("socket-mode", "socket_mode", mode{&l.Mode},
			"permissions of the file of a unix socket that is listened on: whoever may write to it may connect").like("666"),
		listeners("allow", "allow", clients(&l.Allow),
			"only clients of this network, or of unix:, may come in; repeatable; not given: all").like("198.51.100.0/24"),
		listeners("deny", "deny", clients(&l.Deny),
			"clients of this network, or of unix:, may not, even where --allow has them; repeatable").like("203.0.113.0/24"),
	}
}

func memoryRows(c *Config) []Row {
	t := &c.Tables
	return []Row{
		top("table-entries", "tables.entries", value.Int{P: &t.Entries, Min: 1024, Max: 1_000_000_000},
			"sessions and exact tickets; about 27 bytes each, taken as they come, with --table-dir at start").fixed(),
		top("client-entries", "tables.client_entries", value.Int{P: &t.ClientEntries, Min: 1024, Max: 100_000_000},
			"clients whose last home is remembered; about 27 bytes each, taken likewise").fixed(),
		top("session-ttl", "tables.session_ttl", span(&t.SessionTTL, affinity.MinTTL, 7*day),
			"a TLS 1.2 session ID is remembered, counted from its last acceptance").fixed(),
		top("ticket-ttl", "tables.ticket_ttl", span(&t.TicketTTL, affinity.MinTTL, 7*day),
			"a ticket without a lifetime of its own, and a ticket key without acceptance or issue").fixed(),
		pools("affinity-load-factor", "affinity_load_factor", value.Ratio{P: &c.Pool.LoadFactor, Min: pool.MinLoadFactor, Max: 1000},
			"a home with more conns than 64 + this times the weighted mean is passed over"),
		top("state-dir", "state_dir", value.Path(&c.StateDir, "DIR"),
			"write what is learned to this directory, a second behind, and the node's name: a restart and a reboot keep both").
			fixed().like("/var/lib/homing"),
		top("table-dir", "tables.dir", value.Path(&t.Dir, "DIR"),
			"keep the tables in files here, on a tmpfs such as /run/homing: a restart finds them as they were").
			fixed().like("/run/homing"),
	}
}

// checkRows is how backends are looked at, and what follows when one goes down and comes back.
func checkRows(p *PoolSettings) []Row {
	c := &p.Checks
	rows := append([]Row{
		pools("check-interval", "checks.interval", span(&c.Interval, 100*time.Millisecond, time.Hour),
			"between two checks of a backend, give or take a tenth"),
		pools("check-timeout", "checks.timeout", span(&c.Timeout, tick, time.Hour), "for one check"),
		pools("rise", "checks.rise", value.Int{P: &c.Rise, Min: 1, Max: 100}, "successes in a row that bring a backend up"),
		pools("fall", "checks.fall", value.Int{P: &c.Fall, Min: 1, Max: 100},
			"failures in a row, of checks or of conns, that take a backend down"),
		pools("no-checks", "checks.disabled", value.Bool{P: &c.Disabled}, "do not check backends"),
	}, QuestionRows(&c.Question)...)
	return append(rows,
		pools("agent-port", "agent.port", value.Port{P: &p.Agent.Port, Min: 1, Max: 65535, Zero: "none"},
			"at each check ask this port of the backend too how it is, as HAProxy's agent-check does; none: do not").like("9999"),
		pools("agent-send", "agent.send", value.Text{P: &p.Agent.Send, Check: value.CheckPrintable, Kind: "TEXT"},
			"sent first there, for programs that speak for several backends").like("www"),
		pools("slow-start", "slow_start", spanOrZero(&p.SlowStart, time.Second, pool.MaxSlowStart),
			"of a backend that comes up again, or joins: its share of fresh handshakes rises from a tenth to all of its weight "+
				"over this time; resumptions go home at once; never at start; 0: off"),
		pools("on-down", "on_down", value.Words(&p.OnDown, pool.OnDownKeep, pool.OnDownReset),
			"conns open to a backend that is marked down: keep them; or reset them, so that clients come again"),
	)
}

func clusterRows(c *Config) []Row {
	k := &c.Cluster
	rows := append([]Row{
		top("cluster-bind", "cluster.bind", value.AddrPort{P: &k.Bind},
			"be a node of a cluster; gossip here, TCP and UDP, such as 192.0.2.1:7946").fixed().like("192.0.2.1:7946"),
	}, MemberRows(&k.Member)...)
	return append(rows,
		top("node-key-file", "cluster.node_key_file", value.Path(&k.NodeKeyFile, "FILE"),
			"keys that only nodes share; without it nothing learned is shared, and gossip keys are not rotated").
			fixed().like("/etc/homing/node.key"),
		top("replication-bind", "cluster.replication_bind", value.AddrPort{P: &k.ReplicationBind},
			"share what is learned here; none: the address of --cluster-bind, the port above").fixed().like("192.0.2.1:7947"),
		pools("discover-from", "discover_from",
			value.Several[DiscoverSource]{P: &c.Pool.DiscoverFrom, Parse: parseDiscoverSource, Kind: "CIDR|none"},
			"agents may announce backends in this network; repeatable; not given: an agent's own address only").
			like("192.0.2.0/24"),
		pools("discover-weight", "discover_weight", value.Int{P: &c.Pool.DiscoverWeight, Min: 1, Max: pool.MaxWeight},
			"what the backends announced from one address may weigh together, each at least 1; more is cut down"),
	)
}

func adminRows(a *Admin) []Row {
	return []Row{
		top("admin", "admin.address", value.Text{P: &a.Address, Check: value.CheckAdmin, Kind: "ADDR"},
			"serve the admin API, the status page and /metrics here, or at unix:/PATH; none: off").fixed().like("127.0.0.1:9090"),
		top("admin-token-file", "admin.token_file", value.Path(&a.TokenFile, "FILE"),
			"who asks the admin server has to show this token, as homing keygen makes one; wanted beyond loopback").
			fixed().like("/etc/homing/admin.token"),
		top("admin-tls-cert", "admin.tls_cert", value.Path(&a.CertFile, "FILE"),
			"the admin server speaks TLS with this certificate, PEM").fixed().like("/etc/homing/admin.pem"),
		top("admin-tls-key", "admin.tls_key", value.Path(&a.KeyFile, "FILE"), "and this key").fixed().like("/etc/homing/admin.key"),
		top("admin-ready", "admin.ready", value.Words(&a.Ready, ReadyEach, ReadyAny, ReadyAlways),
			"when /readyz says so: each pool that is a listener's default has a backend that is up, any of them has, or always; "+
				"it changes its mind after 2 s"),
		top("admin-client-ca", "admin.client_ca", value.Path(&a.ClientCAFile, "FILE"),
			"a client certificate signed by one of these is as good as the token").fixed().like("/etc/homing/operators.pem"),
	}
}

// The rows of the lists, which no flag can describe but --listen and --backend.

func listenerRows(l *Listener) []Row {
	return []Row{
		top("", "name", value.Text{P: &l.Name, Check: checkName, Kind: "NAME"},
			"in the log and in metrics; not given: the address").like("public"),
		top("", "address", value.Text{P: &l.Address, Check: checkListen, Kind: "ADDR"},
			"192.0.2.1:443, \"[2001:db8::1]:443\", or :443 for IPv4 and IPv6").like(":443"),
		top("", "default", value.Text{P: &l.Default, Check: checkName, Kind: "NAME"},
			"the pool of what no route takes and of what is no readable hello; not given: that is closed and counted").like("www"),
	}
}

func routeRows(r *Route) []Row {
	return []Row{
		top("", "names", value.Several[string]{P: &r.Names, Parse: parseRouteName, Kind: "NAME"},
			"server names: exact ones, then the longest \"*.example.org\", which takes all below it; not given: any, and none").
			like("www.example.org"),
		top("", "alpn", value.Several[string]{P: &r.ALPN, Parse: parseALPN, Kind: "NAME"},
			"only hellos that offer one of these protocols; not given: any").like("h2"),
		top("", "pool", value.Text{P: &r.Pool, Check: checkName, Kind: "NAME"}, "where they go").like("www"),
	}
}

func poolRows(p *Pool) []Row {
	return []Row{
		top("", "name", value.Text{P: &p.Name, Check: checkName, Kind: "NAME"},
			"in routes, in the log and in metrics; the same on every node").like("www"),
	}
}

func backendRows(b *pool.Spec) []Row {
	return append([]Row{
		top("", "address", value.Text{P: &b.Addr, Check: checkBackend, Kind: "ADDR"},
			"an address or a name, with its port; a name stands for all its addresses").like("192.0.2.11:443"),
	}, shareRows(b)...)
}

// shareRows is what a backend can have beside its address, behind commas too.
func shareRows(b *pool.Spec) []Row {
	return []Row{
		top("weight", "weight", value.Int{P: &b.Weight, Min: 1, Max: pool.MaxWeight},
			"share of fresh handshakes relative to the others"),
		top("max-conns", "max_conns", value.Int{P: &b.MaxConns, Min: 1, Max: manyConns},
			"conns open at once; not given: no bound").like("5000"),
	}
}

func backendsValue(all *[]pool.Spec) value.Several[pool.Spec] {
	return value.Several[pool.Spec]{P: all, Parse: parseBackend, Print: printBackend, Kind: "ADDR[,weight=N][,max-conns=N]"}
}
