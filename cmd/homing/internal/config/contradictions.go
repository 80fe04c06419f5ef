//go:build linux

package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"homing/balancer"
	"homing/balancer/health"
	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/value"
)

// contradiction is what no single setting can see, by the flag that is at fault. The text names settings as --tls=require.
type contradiction struct{ flag, text string }

// contradictions finds what the settings at the top say against each other.
func (c *Config) contradictions() []contradiction {
	var wrong []contradiction
	add := func(flag, format string, args ...any) {
		wrong = append(wrong, contradiction{flag, fmt.Sprintf(format, args...)})
	}
	said := c.said()
	c.contradictCluster(said, add)
	c.contradictAdmin(said, add)
	if err := c.checkMemory(); err != nil {
		add("memory-limit", "%v", err)
	}
	if noneAmong(c.Pool.DiscoverFrom) {
		add("discover-from", "--discover-from=none contradicts the others: leave it out, or them")
	}
	if c.Cluster.Bind.IsValid() && c.Cluster.NodeKeyFile == "" && c.Cluster.ReplicationBind.IsValid() {
		add("replication-bind", "--replication-bind needs --node-key-file: nodes show by its key that they are nodes")
	}
	c.uselessChecks(said, add)
	if l := &c.Limits.Clients; l.Burst > 0 && l.Rate == 0 {
		add("client-burst", "--client-burst needs --client-rate: say how many conns a second, such as --client-rate=50")
	} else if l.Rate > 0 && float64(l.Burst)/l.Rate > balancer.MaxSourceWait {
		add("client-burst", "--client-burst is more than ten minutes of --client-rate: lower it, or raise that")
	}
	if c.Log.Conns && c.Log.Format == value.LogOff {
		add("log-conns", "--log-conns needs a log: leave out --log=off")
	} else if c.Log.Conns && c.Log.Level > slog.LevelInfo {
		add("log-conns", "--log-conns logs at level info: leave out --log-level=%s", strings.ToLower(c.Log.Level.String()))
	}
	return wrong
}

// said is the flags that the top says other than by default.
func (c *Config) said() map[string]bool {
	said, usual := make(map[string]bool), textsOf(topRows(Default()))
	for _, row := range topRows(c) {
		said[row.Flag] = write(row.Value) != usual[row.Key]
	}
	return said
}

func (c *Config) contradictCluster(said map[string]bool, add func(flag, format string, args ...any)) {
	b := c.Cluster.Bind
	switch {
	case !b.IsValid():
		for _, flag := range []string{
			"cluster-join", "gossip-key-file", "node-key-file", "replication-bind", "discover-from", "cluster-advertise",
		} {
			if said[flag] {
				add(flag, "--%s needs --cluster-bind: say where to gossip, such as --cluster-bind=192.0.2.1:7946", flag)
			}
		}
	case !said["gossip-key-file"] && !c.Cluster.Insecure && !b.Addr().IsLoopback():
		add("cluster-bind", "--cluster-bind=%s without --gossip-key-file: whoever reaches the address could join; "+
			"give a key (homing keygen), or --cluster-insecure", b)
	case b.Addr().IsUnspecified() && !said["cluster-advertise"]:
		add("cluster-bind", "--cluster-bind=%s is no address that others can dial: bind one of this machine's own, "+
			"or say with --cluster-advertise where they reach it", b)
	}
}

func (c *Config) contradictAdmin(said map[string]bool, add func(flag, format string, args ...any)) {
	access := c.Admin.Access()
	if c.Admin.Address == "" {
		secrets := []string{"admin-token-file", "admin-tls-cert", "admin-tls-key", "admin-client-ca"}
		if i := slices.IndexFunc(secrets, func(flag string) bool { return said[flag] }); i >= 0 {
			add(secrets[i], "--%s needs --admin: say where to listen, such as --admin=127.0.0.1:9090", secrets[i])
		}
	} else if wrong, ok := errors.AsType[*api.AccessError](access.Check()); ok {
		add(wrong.Setting, "%s", wrong.Text)
	}
	for i := range c.Listeners {
		if l := &c.Listeners[i]; overlap(c.Admin.Address, l.Address) {
			add("admin", "--admin=%s is where the listener %s accepts: give it another port", c.Admin.Address, l.Address)
			break
		}
	}
}

// uselessChecks finds what is said of checks at the top, and no pool's checks ask for.
func (c *Config) uselessChecks(said map[string]bool, add func(flag, format string, args ...any)) {
	most := c.Pool.Checks.Kind
	for i := range c.Pools {
		most = max(most, c.Pools[i].Checks.Kind)
	}
	unused := func(wants health.Kind, flags ...string) {
		for _, flag := range flags {
			if said[flag] && most < wants {
				add(flag, "--%s goes unused: check by --check=%s, or leave it out", flag, wants)
			}
		}
	}
	unused(health.CheckTLS, "check-server-name", "check-alpn", "check-ca-file")
	unused(health.CheckHTTPS, "check-method", "check-path", "check-expect")
	if c.Pool.Transparent && len(c.Pool.Sources) > 0 {
		add("source", "--source goes unused: leave it out, or --transparent=on")
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
