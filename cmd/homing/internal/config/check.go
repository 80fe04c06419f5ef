//go:build linux

package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"homing/balancer"
	"homing/balancer/health"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// check finds what no single setting can see. What may only follow from another problem is left out.
func (r *reader) check(c *Config) {
	keys := keysOfFlags()
	for _, wrong := range c.contradictions() {
		key := keys[wrong.flag]
		if section, _, _ := strings.Cut(key, "."); !r.failed[section] && !r.odd[section] {
			r.sayAt(key, "%s", InKeys(wrong.text))
		}
	}
	if len(c.Pools) == 0 && !r.failed["pools"] && !r.odd[""] {
		r.sayAt("pools", "there is no pool: say where to send, such as pools: [{name: www, backends: [192.0.2.7:443]}]")
	}
	if len(c.Listeners) == 0 && !r.failed["listeners"] && !r.odd[""] {
		r.sayAt("listeners", "there is no listener: say where to accept, such as listeners: [{address: :443, default: www}]")
	}
	pools := make(map[string]int, len(c.Pools)) // by name, the first that has it
	for i := range c.Pools {
		r.checkPool(c, i, pools)
	}
	for i := range c.Listeners {
		r.checkListener(c, i, pools)
	}
}

func (r *reader) checkPool(c *Config, i int, pools map[string]int) {
	p, path := &c.Pools[i], fmt.Sprintf("pools[%d]", i)
	if r.missing(path, "name") {
		r.sayAt(path, "the pool has no name: give it one, such as name: www")
	}
	if j, taken := pools[p.Name]; !taken {
		pools[p.Name] = i
	} else if p.Name != "" {
		line := r.line("pools[%d].name", j)
		r.sayAt(path+".name", "the pool of line %d has the name %q too: choose another", line, p.Name)
	}
	if from, ok := r.places[path+".discover_from"]; ok && !r.failed[path+".discover_from"] && !r.failed["cluster"] {
		switch {
		case noneAmong(p.DiscoverFrom):
			r.say(from, "none contradicts the others: leave it out, or them")
		case !c.Cluster.Bind.IsValid() && len(p.DiscoverFrom) > 0:
			r.say(from, "discover_from needs cluster.bind: say where to gossip, such as bind: 192.0.2.1:7946 below cluster")
		}
	}
	if p.Checks.CAFile != "" && p.Checks.ServerName == "" && !r.failed[path+".checks"] && !r.failed["checks"] {
		r.sayAt(path+".checks.ca_file", "ca_file needs server_name beside it: a certificate is good for a name")
	}
	if top := &c.Pool; p.Transparent && len(p.Sources) > 0 && (!top.Transparent || len(top.Sources) == 0) {
		r.sayAt(path, "the pool is transparent, so its sources go unused: leave out one of them")
	}
	if len(p.Backends) == 0 && !r.odd[path] && !r.failed[path+".backends"] && !c.Discovers(p) && !r.failed["cluster"] {
		r.sayAt(path, "the pool has no backend: give it one, such as backends: [192.0.2.7:443]")
	}
	before := make(map[string]int, len(p.Backends)) // by address, the first that has it
	for k := range p.Backends {
		at := fmt.Sprintf("%s.backends[%d]", path, k)
		if text := p.unlikeUnix(&p.Backends[k]); text != "" {
			r.sayAt(at+".address", "%s", InKeys(text))
		}
		if p.Backends[k].Addr == "" {
			if !r.failed[path+".backends"] {
				r.sayAt(at, "the backend has no address: say where it is, such as address: 192.0.2.7:443")
			}
			continue
		}
		if l := c.itself(p.Backends[k].Addr); l != nil {
			r.sayAt(at+".address", "the listener %s accepts there: every conn would come back; "+
				"give the address of another server", l.Address)
		}
		addr := plainBackend(p.Backends[k].Addr)
		if j, taken := before[addr]; taken {
			r.sayAt(at+".address", "the backend of line %d is the same: leave one out, and use weight for a bigger share",
				r.line("%s.backends[%d].address", path, j))
		} else {
			before[addr] = k
		}
	}
}

func (r *reader) checkListener(c *Config, i int, pools map[string]int) {
	l, path := &c.Listeners[i], fmt.Sprintf("listeners[%d]", i)
	if r.missing(path, "address") {
		r.sayAt(path, "the listener has no address: say where to accept, such as address: :443")
	}
	r.checkAgainst(c.Listeners[:i], l, path)
	if l.Default != "" {
		r.checkPoolName(pools, path+".default", l.Default)
	}
	if len(l.Routes) == 0 && r.missing(path, "default") && !r.failed[path+".routes"] {
		r.sayAt(path, "the listener takes nothing: give it a default pool, such as default: %s, or routes", anyPool(c))
	}
	if l.TLS == balancer.TLSOff && len(l.Routes) > 0 {
		r.sayAt(path+".routes", "with tls: off no hello is read, so no route is ever taken: leave out tls: off, or the routes")
		return
	}
	r.checkRoutes(c, l, path, pools)
}

// checkAgainst finds an earlier listener with the same name or address.
func (r *reader) checkAgainst(earlier []Listener, l *Listener, path string) {
	for j, other := range earlier {
		key, text := ".address", ""
		switch {
		case overlap(l.Address, other.Address):
			text = "that address too: leave one out"
			if l.Address != other.Address {
				r.sayAt(path+key, "this and the listener of line %d, at %s, take the same conns: "+
					"leave one out, or name each address of this machine", r.line("listeners[%d].address", j), other.Address)
				return
			}
		case l.Name == "" || l.Name != other.Name:
			continue
		case l.Name == l.Address: // with port 0
			text = "that address too, and the system chooses both ports: give each a name"
		default:
			key, text = ".name", fmt.Sprintf("the name %q too: choose another", l.Name)
		}
		r.sayAt(path+key, "the listener of line %d has %s", r.line("listeners[%d].address", j), text)
		return
	}
}

// anyPool is a pool to give as an example.
func anyPool(c *Config) string {
	if len(c.Pools) > 0 && c.Pools[0].Name != "" {
		return c.Pools[0].Name
	}
	return "www"
}

// checkPoolName checks that there is a pool of that name.
func (r *reader) checkPoolName(pools map[string]int, path, name string) {
	_, found := pools[name]
	// A pool whose name is missing or wrong may be the one.
	if _, nameless := pools[""]; found || nameless || len(pools) == 0 {
		return
	}
	names := slices.SortedFunc(maps.Keys(pools), func(a, b string) int { return cmp.Compare(pools[a], pools[b]) })
	if near := usage.Nearest(name, names); near != "" {
		r.sayAt(path, "there is no pool %q: write %s", name, near)
		return
	}
	if len(names) > maxNamed {
		names = append(names[:maxNamed], fmt.Sprintf("another of the %d", len(names)))
	}
	r.sayAt(path, "there is no pool %q: add it to pools, or write %s", name, strings.Join(names, " or "))
}

// maxNamed bounds the names of pools in one line.
const maxNamed = 5

// checkRoutes finds routes to nowhere, and those that an earlier one leaves nothing.
func (r *reader) checkRoutes(c *Config, l *Listener, path string, pools map[string]int) {
	type taken struct{ name, protocol string } // "" for any
	by := make(map[taken]int)
	for i, route := range l.Routes {
		at := fmt.Sprintf("%s.routes[%d]", path, i)
		switch {
		case route.Pool != "":
			r.checkPoolName(pools, at+".pool", route.Pool)
		case r.missing(at, "pool"):
			r.sayAt(at, "the route has no pool: say where it leads, such as pool: %s", anyPool(c))
		}
		if r.odd[at] || r.failed[at+".names"] || r.failed[at+".alpn"] {
			continue // what it takes is not known
		}
		for n, name := range orAny(route.Names) {
			for a, protocol := range orAny(route.ALPN) {
				before, gone := by[taken{name, protocol}]
				if !gone {
					by[taken{name, protocol}] = i
					continue
				}
				where := at
				switch {
				case name != "":
					where = fmt.Sprintf("%s.names[%d]", at, n)
				case protocol != "":
					where = fmt.Sprintf("%s.alpn[%d]", at, a)
				}
				if before == i {
					r.sayAt(where, "%s is given twice: leave one out", wordRoute(name, protocol))
					continue
				}
				r.sayAt(where, "%s is taken by the route of line %d already, so this is never used: leave one out",
					wordRoute(name, protocol), r.line("%s.routes[%d]", path, before))
			}
		}
	}
}

// orAny is the list, or what stands for any where there is none.
func orAny(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

func wordRoute(name, protocol string) string {
	name = cmp.Or(name, "any name")
	if protocol == "" {
		return name
	}
	return name + " with " + protocol
}

// Remarks is what is allowed and yet odd, a line each.
func (c *Config) Remarks() []string {
	led := map[string]bool{}
	for i := range c.Listeners {
		led[c.Listeners[i].Default] = true
		for _, route := range c.Listeners[i].Routes {
			led[route.Pool] = true
		}
	}
	var remarks []string
	for i := range c.Pools {
		p := &c.Pools[i]
		if !led[p.Name] {
			remarks = append(remarks, fmt.Sprintf("no listener leads to pool %s: no conn will come there", p.Name))
		}
		for _, odd := range p.Checks.remarks() {
			remarks = append(remarks, fmt.Sprintf("pool %s: %s", p.Name, odd))
		}
	}
	return remarks
}

// remarks is what checks say that has no effect, or hardly the one that is meant.
func (k *Checks) remarks() (odd []string) {
	if k.Disabled {
		return nil
	}
	standard := DefaultQuestion()
	if k.Kind != health.CheckHTTPS && (k.Path != standard.Path || k.Method != standard.Method || len(k.Expect) > 0) {
		odd = append(odd, fmt.Sprintf("a check by %s sends no request: checks.path, method and expect want kind: https", k.Kind))
	}
	if k.Kind == health.CheckTCP && (k.ServerName != "" || len(k.ALPN) > 0 || k.CAFile != "") {
		odd = append(odd, "a check by tcp shakes no hands: checks.server_name, alpn and ca_file want kind: tls or https")
	}
	if k.Timeout > k.Interval {
		odd = append(odd, fmt.Sprintf("checks.timeout %s is longer than checks.interval %s: "+
			"a backend that does not answer is noticed late",
			value.FormatDuration(k.Timeout), value.FormatDuration(k.Interval)))
	}
	return odd
}
