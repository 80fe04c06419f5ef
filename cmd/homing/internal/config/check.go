//go:build linux

package config

import (
	"fmt"
	"slices"
	"strings"

	"homing/balancer"
)

// check finds what no single setting can see. What may only follow from another problem is left out.
func (r *reader) check(c *Config) {
	for _, wrong := range c.contradictions() {
		if section, _, _ := strings.Cut(wrong.key, "."); !r.failed[section] && !r.odd[section] {
			r.say(r.at(wrong.key), "%s", InKeys(wrong.text))
		}
	}
	if len(c.Pools) == 0 && !r.failed["pools"] && !r.odd[""] {
		r.say(r.at("pools"), "there is no pool: say where to send, such as pools: [{name: www, backends: [192.0.2.7:443]}]")
	}
	if len(c.Listeners) == 0 && !r.failed["listeners"] && !r.odd[""] {
		r.say(r.at("listeners"), "there is no listener: say where to accept, such as listeners: [{address: :443, default: www}]")
	}
	for i := range c.Pools {
		r.checkPool(c, i)
	}
	for i := range c.Listeners {
		r.checkListener(c, i)
	}
}

func (r *reader) checkPool(c *Config, i int) {
	p, path := &c.Pools[i], fmt.Sprintf("pools[%d]", i)
	if r.missing(path, "name") {
		r.say(r.at(path), "the pool has no name: give it one, such as name: www")
	}
	for j := range c.Pools[:i] {
		if p.Name != "" && c.Pools[j].Name == p.Name {
			r.say(r.at(path+".name"), "the pool of line %d has the name %q too: choose another", r.at(fmt.Sprintf("pools[%d].name", j)).line, p.Name)
		}
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
		r.say(r.at(path+".checks.ca_file"), "ca_file needs server_name beside it: a certificate is good for a name")
	}
	if top := &c.Pool; p.Transparent && len(p.Sources) > 0 && (!top.Transparent || len(top.Sources) == 0) {
		r.say(r.at(path), "the pool is transparent, so its sources go unused: leave out one of them")
	}
	if len(p.Backends) == 0 && !r.odd[path] && !r.failed[path+".backends"] && !c.Discovers(p) && !r.failed["cluster"] {
		r.say(r.at(path), "the pool has no backend: give it one, such as backends: [192.0.2.7:443]")
	}
	for k := range p.Backends {
		at := fmt.Sprintf("%s.backends[%d]", path, k)
		if text := p.unlikeUnix(&p.Backends[k]); text != "" {
			r.say(r.at(at+".address"), "%s", InKeys(text))
		}
		if p.Backends[k].Addr == "" {
			if !r.failed[path+".backends"] {
				r.say(r.at(at), "the backend has no address: say where it is, such as address: 192.0.2.7:443")
			}
			continue
		}
		for j := range p.Backends[:k] {
			if sameBackend(p.Backends[j].Addr, p.Backends[k].Addr) {
				r.say(r.at(at+".address"), "the backend of line %d is the same: leave one out, and use weight for a bigger share",
					r.at(fmt.Sprintf("%s.backends[%d].address", path, j)).line)
				break
			}
		}
	}
}

func (r *reader) checkListener(c *Config, i int) {
	l, path := &c.Listeners[i], fmt.Sprintf("listeners[%d]", i)
	if r.missing(path, "address") {
		r.say(r.at(path), "the listener has no address: say where to accept, such as address: :443")
	}
	r.checkAgainst(c.Listeners[:i], l, path)
	if l.Default != "" {
		r.checkPoolName(c, path+".default", l.Default)
	}
	if len(l.Routes) == 0 && r.missing(path, "default") && !r.failed[path+".routes"] {
		r.say(r.at(path), "the listener takes nothing: give it a default pool, such as default: %s, or routes", anyPool(c))
	}
	if l.TLS == balancer.TLSOff && len(l.Routes) > 0 {
		r.say(r.at(path+".routes"), "with tls: off no hello is read, so no route is ever taken: leave out tls: off, or the routes")
		return
	}
	r.checkRoutes(c, l, path)
}

// checkAgainst finds an earlier listener with the same name or address.
func (r *reader) checkAgainst(earlier []Listener, l *Listener, path string) {
	for j, other := range earlier {
		line := r.at(fmt.Sprintf("listeners[%d].address", j)).line
		switch {
		case l.Address == other.Address && overlap(l.Address, other.Address):
			r.say(r.at(path+".address"), "the listener of line %d has that address too: leave one out", line)
			return
		case overlap(l.Address, other.Address):
			r.say(r.at(path+".address"), "this and the listener of line %d, at %s, take the same conns: leave one out, or name each address of this machine", line, other.Address)
			return
		case l.Name == "" || l.Name != other.Name:
		case l.Name == l.Address: // with port 0
			r.say(r.at(path+".address"), "the listener of line %d has that address too, and the system chooses both ports: give each a name", line)
			return
		default:
			r.say(r.at(path+".name"), "the listener of line %d has the name %q too: choose another", line, l.Name)
			return
		}
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
func (r *reader) checkPoolName(c *Config, path, name string) {
	var names []string
	for i := range c.Pools {
		names = append(names, c.Pools[i].Name)
	}
	// A pool whose name is missing or wrong may be the one.
	if slices.Contains(names, name) || slices.Contains(names, "") || len(names) == 0 {
		return
	}
	if near := nearest(name, names); near != "" {
		r.say(r.at(path), "there is no pool %q: write %s", name, near)
		return
	}
	r.say(r.at(path), "there is no pool %q: add it to pools, or write %s", name, strings.Join(names, " or "))
}

// checkRoutes finds routes to nowhere, and those that an earlier one leaves nothing.
func (r *reader) checkRoutes(c *Config, l *Listener, path string) {
	type taken struct{ name, protocol string } // "" for any
	by := make(map[taken]int)
	for i, route := range l.Routes {
		at := fmt.Sprintf("%s.routes[%d]", path, i)
		switch {
		case route.Pool != "":
			r.checkPoolName(c, at+".pool", route.Pool)
		case r.missing(at, "pool"):
			r.say(r.at(at), "the route has no pool: say where it leads, such as pool: %s", anyPool(c))
		}
		if r.odd[at] || r.failed[at+".names"] || r.failed[at+".alpn"] {
			continue // what it takes is not known
		}
		for n, name := range orAny(route.Names) {
			for a, protocol := range orAny(route.ALPN) {
				key := taken{name, protocol}
				before, gone := by[key]
				if !gone {
					by[key] = i
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
					r.say(r.at(where), "%s is given twice: leave one out", wordRoute(name, protocol))
					continue
				}
				r.say(r.at(where), "%s is taken by the route of line %d already, so this is never used: leave one out",
					wordRoute(name, protocol), r.at(fmt.Sprintf("%s.routes[%d]", path, before)).line)
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
	switch {
	case name == "" && protocol == "":
		return "any name"
	case protocol == "":
		return name
	case name == "":
		return "any name with " + protocol
	}
	return name + " with " + protocol
}

// Remarks is what is allowed and yet odd, a line each.
func (c *Config) Remarks() []string {
	var remarks []string
	for i := range c.Pools {
		name := c.Pools[i].Name
		if !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Default == name || l.leadsTo(name) }) {
			remarks = append(remarks, fmt.Sprintf("no listener leads to pool %s: no conn will come there", name))
		}
	}
	return remarks
}

func (l *Listener) leadsTo(name string) bool {
	return slices.ContainsFunc(l.Routes, func(route Route) bool { return route.Pool == name })
}
