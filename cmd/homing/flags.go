//go:build linux

package main

import (
	"log/slog"
	"time"

	"github.com/spf13/pflag"

	"homing/balancer"
	"homing/balancer/pool"
)

// options is what the flags of `homing run` say. Times of zero and sizes of zero mean what the table says they do.
type options struct {
	listens  []string
	backends []pool.Spec
	policy   pool.Policy
	tls      balancer.TLSMode
	ech      bool
	loops    int // 0: one per CPU

	helloTimeout, connectTimeout, idleTimeout, halfClosedTimeout, holdTimeout, drainTimeout, keepAlive, userTimeout time.Duration

	helloLimit, holdLimit, bufferMemory int64
	maxConns                            int // 0: what the limit of open files allows

	tableEntries, clientEntries int
	sessionTTL, ticketTTL       time.Duration
	loadFactor                  float64

	secondChance balancer.SecondChance

	checkInterval, checkTimeout time.Duration
	rise, fall                  int
	noChecks                    bool

	probe         bool
	probeInterval time.Duration
	probeNames    []string
	probeTraffic  int

	admin    string
	log      logFormat
	logLevel slog.Level
	logConns bool

	tableDir string
	node     nodeOptions
}

func defaultOptions() *options {
	return &options{
		helloTimeout: 10 * time.Second, connectTimeout: 6 * time.Second, idleTimeout: 10 * time.Minute,
		halfClosedTimeout: time.Minute, holdTimeout: time.Second, drainTimeout: 30 * time.Second,
		keepAlive: time.Minute, userTimeout: 30 * time.Second,
		helloLimit: 16 << 10, holdLimit: 16 << 10, bufferMemory: 256 << 20,
		tableEntries: 1_000_000, clientEntries: 250_000, sessionTTL: 10 * time.Hour, ticketTTL: 24 * time.Hour, loadFactor: 1.5,
		secondChance:  balancer.SecondChance{Tries: 1, Budget: 0.05},
		checkInterval: 2 * time.Second, checkTimeout: time.Second, rise: 2, fall: 3,
		node:  nodeOptions{clusterOptions: clusterOptions{label: "homing"}},
		probe: true, probeInterval: time.Minute, probeTraffic: 8,
	}
}

// flagTable is every flag of `homing run`, bound to o.
func flagTable(o *options) []flagGroup {
	const day = 24 * time.Hour
	onOff := []choice[bool]{{"on", true}, {"off", false}}
	offAuto := []choice[bool]{{"off", false}, {"auto", true}}
	span := func(p *time.Duration, least, most time.Duration) pflag.Value {
		return durationValue{p: p, min: least, max: most}
	}
	spanOrZero := func(p *time.Duration, least, most time.Duration, zeroIs string) pflag.Value {
		return durationValue{p: p, min: least, max: most, zeroIs: zeroIs}
	}
	return []flagGroup{
		{"What goes where", []flagRow{
			{"listen", listValue[string]{&o.listens, parseListen, "ADDR"}, "accept here; repeatable: 192.0.2.1:443, [2001:db8::1]:443, or :443 for IPv4 and IPv6"},
			{"backend", listValue[pool.Spec]{&o.backends, parseBackend, "ADDR[,weight=N][,max-conns=N]"}, "send there; repeatable: an address or a name, with its port; weight 1 to 1000"},
			{"policy", policyValue(&o.policy), "how a fresh handshake finds a backend"},
			{"tls", enumValue[balancer.TLSMode]{&o.tls, []choice[balancer.TLSMode]{named(balancer.TLSAuto), named(balancer.TLSRequire), named(balancer.TLSOff)}}, "auto: what is not TLS is balanced as fresh; require: it is refused; off: nothing is read"},
			{"ech", enumValue[bool]{&o.ech, onOff}, "on: the backends hold ECH keys, so a verdict on a hello with ECH teaches nothing new"},
			{"loops", autoValue{intValue{&o.loops, 1, 256}}, "threads that move conns; auto: one per CPU"},
		}},
		{"Timeouts", []flagRow{
			{"hello-timeout", span(&o.helloTimeout, 10*time.Millisecond, time.Hour), "from accept to a complete ClientHello"},
			{"connect-timeout", span(&o.connectTimeout, 10*time.Millisecond, time.Hour), "for all tries together to connect to a backend; one try gets at most a third"},
			{"hold-timeout", span(&o.holdTimeout, 10*time.Millisecond, time.Minute), "how long a server's first bytes may wait for the verdict on an offer"},
			{"idle-timeout", span(&o.idleTimeout, 10*time.Millisecond, 30*day), "without a byte in either direction"},
			{"half-closed-timeout", span(&o.halfClosedTimeout, 10*time.Millisecond, 30*day), "without a byte once one side has finished sending"},
			{"drain-timeout", spanOrZero(&o.drainTimeout, time.Millisecond, 30*day, "cut at once"), "for open conns to end after SIGTERM; 0: cut them at once"},
			{"keepalive", spanOrZero(&o.keepAlive, time.Second, day, "off"), "idle time before TCP keepalive probes, on both sides; 0: none"},
			{"user-timeout", spanOrZero(&o.userTimeout, time.Second, day, "off"), "unacknowledged data ends the conn (TCP_USER_TIMEOUT), on both sides; 0: the kernel's own patience"},
		}},
		{"Limits", []flagRow{
			{"max-conns", autoValue{intValue{&o.maxConns, 1, 10_000_000}}, "conns open at once; each takes two open files; auto: as many as their limit allows"},
			{"buffer-memory", bytesValue{&o.bufferMemory, 1 << 20, 1 << 40}, "for partial hellos, held answers and unsent rests; above it the newest conns without a hello are shed"},
			{"hello-limit", bytesValue{&o.helloLimit, 512, 64 << 10}, "a longer ClientHello is balanced as fresh, or refused with --tls require"},
			{"hold-limit", bytesValue{&o.holdLimit, 512, 64 << 10}, "of a server's first bytes that may wait for the verdict on an offer"},
		}},
		{"What is remembered", []flagRow{
			{"table-entries", intValue{&o.tableEntries, 1024, 1_000_000_000}, "sessions and exact tickets; about 27 bytes each, taken at start"},
			{"client-entries", intValue{&o.clientEntries, 1024, 100_000_000}, "clients whose last home is remembered; about 27 bytes each, taken at start"},
			{"session-ttl", span(&o.sessionTTL, time.Second, 7*day), "a TLS 1.2 session ID is remembered, counted from its last acceptance"},
			{"ticket-ttl", span(&o.ticketTTL, time.Second, 7*day), "a ticket without a lifetime of its own, and a ticket key without acceptance or issue"},
			{"affinity-load-factor", ratioValue{&o.loadFactor, 1, 1000}, "a home with more conns than 64 + this times the weighted mean is passed over"},
			{"state-dir", stringValue{&o.node.stateDir, notEmpty, "DIR"}, "write what is learned to this directory, a second behind, and the node's name: a restart and a reboot keep both"},
			{"table-dir", stringValue{&o.tableDir, notEmpty, "DIR"}, "keep the tables in files here, on a tmpfs such as /run/homing: a restart finds them as they were"},
		}},
		{"Second chances", []flagRow{
			{"second-chance", enumValue[bool]{&o.secondChance.Auto, offAuto}, "auto: an offer that a guessed backend refused goes to another, whose full handshake it costs; for backends without ticket key names"},
			{"second-chance-tries", intValue{&o.secondChance.Tries, 1, 8}, "other backends per conn"},
			{"second-chance-budget", ratioValue{&o.secondChance.Budget, 0.001, 8}, "second chances per new conn, on average; bounds those after a hang-up too, which are always on"},
		}},
		{"Checks", []flagRow{
			{"check-interval", span(&o.checkInterval, 100*time.Millisecond, time.Hour), "between two TCP checks of a backend"},
			{"check-timeout", span(&o.checkTimeout, 10*time.Millisecond, time.Hour), "for one check to connect"},
			{"rise", intValue{&o.rise, 1, 100}, "successes in a row that bring a backend up"},
			{"fall", intValue{&o.fall, 1, 100}, "failures in a row, of checks or of conns, that take a backend down"},
			{"no-checks", boolValue{&o.noChecks}, "do not check backends"},
		}},
		{"Probes", []flagRow{
			{"probe", enumValue[bool]{&o.probe, onOff}, "on: shake hands with each backend and resume, to learn the names of its ticket keys; with --tls off there are no probes"},
			{"probe-interval", span(&o.probeInterval, 100*time.Millisecond, day), "between two probes of a backend; one that comes back or refuses its own tickets is probed at once"},
			{"probe-name", listValue[string]{&o.probeNames, parseServerName, "NAME"}, "probe with this server name too; repeatable; a hello without a name is always sent"},
			{"probe-names-from-traffic", intValue{&o.probeTraffic, 0, 64}, "probe with so many of the server names that clients use most"},
		}},
		{"Cluster", nodeRows(&o.node)},
		{"Seeing", []flagRow{
			{"admin", stringValue{&o.admin, checkAdmin, "ADDR"}, "serve /metrics, /healthz and /readyz here; none: off"},
			{"log", enumValue[logFormat]{&o.log, []choice[logFormat]{{"text", logText}, {"json", logJSON}, {"off", logOff}}}, "how to log, to stderr"},
			{"log-level", enumValue[slog.Level]{&o.logLevel, []choice[slog.Level]{{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError}}}, "log nothing below this"},
			{"log-conns", boolValue{&o.logConns}, "log one line per conn, at level info"},
		}},
	}
}

func policyValue(p *pool.Policy) enumValue[pool.Policy] {
	return enumValue[pool.Policy]{p, []choice[pool.Policy]{
		{"round-robin", pool.RoundRobin}, {"least-conn", pool.LeastConn}, {"client-hash", pool.ClientHash},
	}}
}
