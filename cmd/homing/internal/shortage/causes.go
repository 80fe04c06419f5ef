package shortage

import (
	"fmt"
	"strings"
	"time"

	"homing/balancer"
)

// row is one cause: all there is to say of it, and how it is seen.
type row[T any] struct {
	cause  string
	count  func(v *T) uint64 // grows while the cause is at work, and never goes back
	of     func(v *T) bool   // whether it is this cause that makes it grow; nil: no other can
	lasts  func(v *T) bool   // it is there although nobody has felt it since; nil: only counting shows it
	what   func(v *T, n uint64) string
	remedy string
}

type listenerView struct {
	balancer.ListenerStats
	limits balancer.Limits
}

type poolView struct {
	balancer.PoolStats
	Pool
}

const (
	moreFiles = "raise the limit of open files (LimitNOFILE= in the unit, ulimit -n), or lower --max-conns"
	lessOf    = "see who it is by --log-conns; if they mean well, raise "
)

func poolRows() []row[poolView] {
	return []row[poolView]{
		{
			cause: "queue_full", count: func(p *poolView) uint64 { return p.QueueFull },
			what: resetAt("every backend has as many conns as it may, and as many wait as may, %d",
				func(p *poolView) any { return max(p.Queue, 0) }),
			remedy: "add backends, or raise max-conns of those there are, or --queue",
		},
		{
			cause: "queue_timeout", count: func(p *poolView) uint64 { return p.QueueTimeouts },
			what: resetAt("every backend had as many conns as it may for all of %s",
				func(p *poolView) any { return p.QueueTimeout }),
			remedy: "add backends, or raise max-conns of those there are, or --queue-timeout",
		},
		{
			cause: "no_backend", count: func(p *poolView) uint64 { return p.Unroutable },
			lasts: func(p *poolView) bool { return p.Unable != "" },
			what: func(p *poolView, n uint64) string {
				switch {
				case p.Unable == "":
					return conns(n) + " reset: no backend took them"
				case n == 0:
					return "nobody can be served: " + p.Unable
				}
				return conns(n) + " reset: " + p.Unable
			},
			remedy: "bring the backends back; homing status says why each is down",
		},
		{
			cause: "connect_timeout", count: func(p *poolView) uint64 { return p.ConnectTimeouts },
			what: counts[poolView](
				"connects to backends timed out: these accept more slowly than clients come, or are gone"),
			remedy: "raise the backlog of the backends (listen ... backlog=, net.core.somaxconn), bound them by " +
				"max-conns, or add some",
		},
		{
			cause: "handshake_timeout", count: func(p *poolView) uint64 { return p.HandshakeTimeouts },
			what: reset[poolView]("their TLS handshake was not over in time"),
			remedy: "see by --log-conns whether clients (termination c.) or backends (s.) are silent; if they only " +
				"need longer, raise --handshake-timeout",
		},
		{
			cause: "source", count: func(p *poolView) uint64 { return p.NoPorts },
			of: func(p *poolView) bool { return len(p.Strangers) > 0 },
			what: func(p *poolView, n uint64) string {
				var list []string
				for _, a := range p.Strangers {
					list = append(list, a.String())
				}
				return fmt.Sprintf("%d connects failed: they are to come from %s, and this machine has no such address",
					n, strings.Join(list, " and "))
			},
			remedy: "give --source addresses of this machine (ip addr), or leave it out",
		},
		{
			cause: "ports", count: func(p *poolView) uint64 { return p.NoPorts },
			of:     func(p *poolView) bool { return len(p.Strangers) == 0 },
			what:   counts[poolView]("connects failed: no source port is free for their backend"),
			remedy: "widen net.ipv4.ip_local_port_range, or give more addresses of this machine by --source",
		},
		{
			cause: "connect_descriptors", count: func(p *poolView) uint64 { return p.NoDescriptors },
			what:   reset[poolView]("no file descriptor is free for their backend"),
			remedy: moreFiles,
		},
		{
			cause: "sockets", count: func(p *poolView) uint64 { return p.NoSockets },
			what: reset[poolView]("the kernel gives no socket for their backend, for want of memory or of a right"),
			remedy: "see the machine's memory, net.ipv4.tcp_mem and dmesg; with --transparent, that homing has the " +
				"capability net_admin",
		},
		{
			cause: "buffers",
			count: func(p *poolView) uint64 {
				short := &p.Terminations[balancer.CauseResource]
				return short[balancer.PhaseAnswer] + short[balancer.PhaseData] + short[balancer.PhaseLast]
			},
			what:   reset[poolView]("the memory of buffers is in use"),
			remedy: "raise --buffer-memory, or --memory-limit where that bounds it",
		},
		{
			cause: "itself", count: func(*poolView) uint64 { return 0 },
			lasts: func(p *poolView) bool { return len(p.Itself) > 0 },
			what: func(p *poolView, _ uint64) string {
				return "nothing is sent to " + strings.Join(p.Itself, " and ") +
					": homing itself listens there, and every conn would come back"
			},
			remedy: "give the address and port of the server, or have homing listen on one address alone",
		},
	}
}

func listenerRows() []row[listenerView] {
	held := func(why balancer.Hold) func(*listenerView) uint64 {
		return func(l *listenerView) uint64 { return uint64(l.Held[why] / time.Millisecond) }
	}
	refused := func(by balancer.Refusal) func(*listenerView) uint64 {
		return func(l *listenerView) uint64 { return l.Refused[by] }
	}
	return []row[listenerView]{
		{
			cause: "max_conns", count: held(balancer.HoldConns),
			what:   waitAt("as many conns are open as may, %d", func(l *listenerView) any { return l.limits.MaxConns }),
			remedy: "raise --max-conns, with the limit of open files (LimitNOFILE=), or add a node",
		},
		{
			cause: "listener_conns", count: held(balancer.HoldListener),
			what: waitAt("as many conns are open at this listener as may, %d",
				func(l *listenerView) any { return l.MaxConns }),
			remedy: "raise --listener-conns (listener_conns of the listener), or add a node",
		},
		{
			cause: "memory_full", count: held(balancer.HoldMemory),
			what: func(_ *listenerView, n uint64) string {
				return fmt.Sprintf("clients wait to be let in, for %s so far: the memory for conns is in use",
					waited(n))
			},
			remedy: "raise --memory-limit",
		},
		{
			cause: "memory", count: refused(balancer.RefusedMemory),
			what:   reset[listenerView]("memory is short, and they had nothing to resume"),
			remedy: "raise --memory-limit",
		},
		{
			cause: "descriptors", count: func(l *listenerView) uint64 { return l.NoAccepts },
			what: func(_ *listenerView, n uint64) string {
				return fmt.Sprintf("clients wait to be let in: no file descriptor was free %s", times(n))
			},
			remedy: moreFiles,
		},
		{
			cause: "pre_hello", count: refused(balancer.RefusedPreHello),
			what: resetAt("they had sent no whole hello, and there were more of their kind than may, %d",
				func(l *listenerView) any { return l.limits.MaxPreHello }),
			remedy: lessOf + "--max-pre-hello",
		},
		{
			cause: "source_conns", count: refused(balancer.RefusedClientConns),
			what: resetAt("their client has as many open as it may, %d",
				func(l *listenerView) any { return l.limits.Clients.MaxConns }),
			remedy: lessOf + "--client-conns",
		},
		{
			cause: "source_rate", count: refused(balancer.RefusedClientRate),
			what: resetAt("their client opens more than it may, %v a second",
				func(l *listenerView) any { return l.limits.Clients.Rate }),
			remedy: lessOf + "--client-rate or --client-burst",
		},
	}
}

func nodeRows() []row[View] {
	return []row[View]{
		{
			cause: "shed", count: func(v *View) uint64 { return v.Stats.Shed },
			what: func(_ *View, n uint64) string {
				return conns(n) + " reset with a part of their hello: the memory of buffers is in use"
			},
			remedy: "see by --log-conns whether it is an attack; otherwise raise --buffer-memory",
		},
		{
			cause: "log", count: func(v *View) uint64 { return v.LogLost + v.Stats.RecordsDropped },
			what:   counts[View]("lines of the log are lost: they are read more slowly than they come"),
			remedy: "see what reads the log, or leave out --log-conns",
		},
	}
}

// reset words how many conns were, and why.
func reset[T any](why string) func(*T, uint64) string {
	return func(_ *T, n uint64) string { return conns(n) + " reset: " + why }
}

// resetAt is reset where why tells a bound.
func resetAt[T any](why string, bound func(*T) any) func(*T, uint64) string {
	return func(v *T, n uint64) string { return conns(n) + " reset: " + fmt.Sprintf(why, bound(v)) }
}

// waitAt words for how long clients have waited, and why, with a bound.
func waitAt[T any](why string, bound func(*T) any) func(*T, uint64) string {
	return func(v *T, n uint64) string {
		return fmt.Sprintf("clients wait to be let in, for %s so far: ", waited(n)) + fmt.Sprintf(why, bound(v))
	}
}

// counts words what has been counted.
func counts[T any](what string) func(*T, uint64) string {
	return func(_ *T, n uint64) string { return fmt.Sprintf("%d %s", n, what) }
}

// conns words how many conns something was done to.
func conns(n uint64) string {
	if n == 1 {
		return "1 conn was"
	}
	return fmt.Sprintf("%d conns were", n)
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// waited words milliseconds.
func waited(n uint64) string {
	return (time.Duration(n) * time.Millisecond).Round(100 * time.Millisecond).String()
}
