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
			what: func(p *poolView, n uint64) string {
				return fmt.Sprintf("%s reset: every backend has as many conns as it may, and as many wait as may, %d",
					conns(n), max(p.Queue, 0))
			},
			remedy: "add backends, or raise max-conns of those there are, or --queue",
		},
		{
			cause: "queue_timeout", count: func(p *poolView) uint64 { return p.QueueTimeouts },
			what: func(p *poolView, n uint64) string {
				return fmt.Sprintf("%s reset: every backend had as many conns as it may for all of %s", conns(n),
					p.QueueTimeout)
			},
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
			what: func(_ *poolView, n uint64) string {
				return fmt.Sprintf("%d connects to backends timed out: these accept more slowly than clients come, "+
					"or are gone", n)
			},
			remedy: "raise the backlog of the backends (listen ... backlog=, net.core.somaxconn), bound them by " +
				"max-conns, or add some",
		},
		{
			cause: "handshake_timeout", count: func(p *poolView) uint64 { return p.HandshakeTimeouts },
			what: func(_ *poolView, n uint64) string {
				return conns(n) + " reset: their TLS handshake was not over in time"
			},
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
			of: func(p *poolView) bool { return len(p.Strangers) == 0 },
			what: func(_ *poolView, n uint64) string {
				return fmt.Sprintf("%d connects failed: no source port is free for their backend", n)
			},
			remedy: "widen net.ipv4.ip_local_port_range, or give more addresses of this machine by --source",
		},
		{
			cause: "connect_descriptors", count: func(p *poolView) uint64 { return p.NoDescriptors },
			what: func(_ *poolView, n uint64) string {
				return conns(n) + " reset: no file descriptor is free for their backend"
			},
			remedy: moreFiles,
		},
		{
			cause: "sockets", count: func(p *poolView) uint64 { return p.NoSockets },
			what: func(_ *poolView, n uint64) string {
				return conns(n) +
					" reset: the kernel gives no socket for their backend, for want of memory or of a right"
			},
			remedy: "see the machine's memory, net.ipv4.tcp_mem and dmesg; with --transparent, that homing has the " +
				"capability net_admin",
		},
		{
			cause: "buffers",
			count: func(p *poolView) uint64 {
				short := &p.Terminations[balancer.CauseResource]
				return short[balancer.PhaseAnswer] + short[balancer.PhaseData] + short[balancer.PhaseLast]
			},
			what: func(_ *poolView, n uint64) string {
				return conns(n) + " reset: the memory of buffers is in use"
			},
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
			what: func(l *listenerView, n uint64) string {
				return fmt.Sprintf("clients wait to be let in, for %s so far: as many conns are open as may, %d",
					waited(n), l.limits.MaxConns)
			},
			remedy: "raise --max-conns, with the limit of open files (LimitNOFILE=), or add a node",
		},
		{
			cause: "listener_conns", count: held(balancer.HoldListener),
			what: func(l *listenerView, n uint64) string {
				return fmt.Sprintf("clients wait to be let in, for %s so far: as many conns are open at this "+
					"listener as may, %d", waited(n), l.MaxConns)
			},
			remedy: "raise --listener-conns (max_conns of the listener), or add a node",
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
			what: func(_ *listenerView, n uint64) string {
				return conns(n) + " reset: memory is short, and they had nothing to resume"
			},
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
			what: func(l *listenerView, n uint64) string {
				return fmt.Sprintf("%s reset: they had sent no whole hello, and there were more of their kind than may, %d",
					conns(n), l.limits.MaxPreHello)
			},
			remedy: lessOf + "--max-pre-hello",
		},
		{
			cause: "source_conns", count: refused(balancer.RefusedSourceConns),
			what: func(l *listenerView, n uint64) string {
				return fmt.Sprintf("%s reset: their client has as many open as it may, %d", conns(n),
					l.limits.Sources.MaxConns)
			},
			remedy: lessOf + "--client-conns",
		},
		{
			cause: "source_rate", count: refused(balancer.RefusedSourceRate),
			what: func(l *listenerView, n uint64) string {
				return fmt.Sprintf("%s reset: their client opens more than it may, %v a second", conns(n),
					l.limits.Sources.Rate)
			},
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
			what: func(_ *View, n uint64) string {
				return fmt.Sprintf("%d lines of the log are lost: they are read more slowly than they come", n)
			},
			remedy: "see what reads the log, or leave out --log-conns",
		},
	}
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
