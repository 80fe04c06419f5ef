//go:build linux

package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"homing/balancer/pool"
)

// Fixed names the settings that differ between two configurations, and that a process keeps as it began with them.
func Fixed(old, next *Config) []string {
	var keys []string
	before := textsOf(rowsOf(Table(old), Top))
	for _, row := range rowsOf(Table(next), Top) {
		if row.Fixed && before[row.Key] != write(row.Value) {
			keys = append(keys, row.Key)
		}
	}
	return keys
}

// Differences says what another configuration changes, in the words of the file: settings at the top by their keys, then
// listeners, then pools with their backends.
func Differences(old, next *Config) []string {
	var changes []string
	before := textsOf(topRows(old))
	for _, row := range topRows(next) {
		if before[row.Key] != write(row.Value) {
			changes = append(changes, row.Key)
		}
	}
	listener, pool := func(l *Listener) string { return l.Name }, func(p *Pool) string { return p.Name }
	changes = append(changes, differ("listener", old.Listeners, next.Listeners, listener, nil)...)
	return append(changes, differ("pool", old.Pools, next.Pools, pool, backendDifferences)...)
}

// differ compares two lists of things with names. Those of one name that are not equal are described by inside, or else
// by their name alone.
func differ[T any](what string, old, next []T, name func(*T) string, inside func(old, next *T) []string) []string {
	var changes []string
	say := func(sign, name string) { changes = append(changes, sign+what+" "+name) }
	find := func(list []T, wanted string) *T {
		if i := slices.IndexFunc(list, func(one T) bool { return name(&one) == wanted }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for i := range next {
		before := find(old, name(&next[i]))
		switch {
		case before == nil:
			say("+", name(&next[i]))
		case !reflect.DeepEqual(*before, next[i]):
			var parts []string
			if inside != nil {
				parts = inside(before, &next[i])
			}
			if len(parts) > 0 {
				parts = []string{"(" + strings.Join(parts, " ") + ")"}
			}
			say("", strings.Join(append([]string{name(&next[i])}, parts...), " "))
		}
	}
	for i := range old {
		if find(next, name(&old[i])) == nil {
			say("-", name(&old[i]))
		}
	}
	return changes
}

func backendDifferences(old, next *Pool) []string {
	return differ("backend", old.Backends, next.Backends, func(b *pool.Spec) string { return plainBackend(b.Addr) }, nil)
}

// WatchedAlike says that two configurations of a pool look at its backends in the same way. What stands in files may have
// changed in them.
func WatchedAlike(a, b *Pool) bool {
	return reflect.DeepEqual(a.Checks, b.Checks) && a.Checks.CAFile == "" &&
		a.Agent == b.Agent && reflect.DeepEqual(a.Probe, b.Probe)
}

// Summary is how much there is, in words.
func (c *Config) Summary() string {
	backends := 0
	for i := range c.Pools {
		backends += len(c.Pools[i].Backends)
	}
	return fmt.Sprintf("%s, %s, %s", count(len(c.Listeners), "listener"), count(len(c.Pools), "pool"), count(backends, "backend"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
