//go:build linux

package balancer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// protocols is a list as Hello.ALPN has it (RFC 7301, Section 3.1).
func protocols(names ...string) (list []byte) {
	for _, n := range names {
		list = append(append(list, byte(len(n))), n...)
	}
	return list
}

func matcherOf(t testing.TB, routes ...route) *matcher {
	t.Helper()
	m, err := newMatcher(routes)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMatch(t *testing.T) {
	m := matcherOf(t,
		route{names: []string{"*.example.org"}, pool: 0},
		route{names: []string{"www.example.org", "Example.ORG."}, pool: 1},
		route{names: []string{"www.example.org"}, alpn: []string{"h2"}, pool: 2},
		route{names: []string{"*.eu.example.org"}, pool: 3},
		route{names: []string{"*.eu.example.org"}, alpn: []string{"acme-tls/1", "h2"}, pool: 4},
		route{names: []string{"*.eu.example.org"}, pool: 5},
		route{alpn: []string{"acme-tls/1"}, pool: 6},
		route{names: []string{"only.h2.test"}, alpn: []string{"h2"}, pool: 7},
		route{names: []string{"*.h2.test"}, pool: 8},
		route{names: []string{"*.test"}, alpn: []string{"h3"}, pool: 9},
	)
	for _, tt := range []struct {
		name string
		alpn []byte
		want int
		why  string
	}{
		{"www.example.org", nil, 1, "an exact name before a wildcard"},
		{"www.example.org", protocols("http/1.1", "h2"), 2, "with a protocol before without"},
		{"www.example.org", protocols("http/1.1"), 1, "a protocol that is not asked for"},
		{"example.org", nil, 1, "case and the trailing dot do not count"},
		{"a.example.org", nil, 0, "a wildcard"},
		{"a.b.c.example.org", nil, 0, "a wildcard, at any depth"},
		{"a.eu.example.org", nil, 3, "the longer wildcard; of two the first"},
		{"a.b.eu.example.org", protocols("h2"), 4, "the longer wildcard, with its protocol"},
		{"eu.example.org", nil, 0, "a wildcard is not its own name"},
		{"xeu.example.org", nil, 0, "a wildcard begins at a dot"},
		{"wexample.org", nil, noMatch, "a wildcard begins at a dot"},
		{"org", nil, noMatch, "shorter than all"},
		{"other.test", nil, noMatch, "a wildcard whose protocol is not offered"},
		{"other.test", protocols("h3"), 9, "and where it is"},
		{"only.h2.test", protocols("h2"), 7, "exact, with its protocol"},
		{"only.h2.test", protocols("spdy/1"), 8, "an exact name whose protocol is not offered leaves the rest"},
		{"a.h2.test", protocols("h3"), 8, "the longer wildcard before the one with a protocol"},
		{"nowhere.net", protocols("acme-tls/1"), 6, "any name, with a protocol"},
		{"", protocols("acme-tls/1"), 6, "no name, with a protocol"},
		{"", nil, noMatch, "no name"},
		{".", nil, noMatch, "no name at all"},
		{"..", protocols("h3"), noMatch, "nothing between dots"},
		{strings.Repeat("a.", 120) + "example.org", nil, 0, "many labels"},
		{"www.example.org", []byte{200, 'h', '2'}, 1, "a list that is cut"},
	} {
		if got := m.match([]byte(tt.name), tt.alpn); got != tt.want {
			t.Errorf("%s: %q with %q to %d, want %d", tt.why, tt.name, tt.alpn, got, tt.want)
		}
	}
	if got := matcherOf(t, route{pool: 3}).match(nil, nil); got != 3 {
		t.Errorf("a route for all: %d", got)
	}
	if got := matcherOf(t).match([]byte("a.test"), protocols("h2")); got != noMatch {
		t.Errorf("no route at all: %d", got)
	}
}

// naiveMatch is the rule as its text says it: every route is asked.
func naiveMatch(routes []route, name string, offered []string) int {
	best, bestRank := noMatch, [2]int{-1, -1}
	for _, r := range routes {
		rank := [2]int{-1, 0}
		for _, n := range r.names {
			if parent, wild := strings.CutPrefix(n, "*"); wild {
				if strings.HasSuffix(name, parent) && len(name) > len(parent) {
					rank[0] = max(rank[0], len(parent))
				}
			} else if n == name {
				rank[0] = 1 << 20
			}
		}
		if len(r.names) == 0 {
			rank[0] = 0
		}
		for _, p := range r.alpn {
			for _, o := range offered {
				if p == o {
					rank[1] = 1
				}
			}
		}
		if rank[0] < 0 || len(r.alpn) > 0 && rank[1] == 0 {
			continue
		}
		if rank[0] > bestRank[0] || rank[0] == bestRank[0] && rank[1] > bestRank[1] {
			best, bestRank = r.pool, rank
		}
	}
	return best
}

// The matcher says what the rule says, for whatever routes and hellos.
func TestMatchLikeNaive(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	labels := []string{"a", "b", "example", "org"}
	words := []string{"h2", "http/1.1", "x"}
	name := func() string {
		var all []string
		for range 1 + random.IntN(4) {
			all = append(all, labels[random.IntN(len(labels))])
		}
		return strings.Join(all, ".")
	}
	some := func() (all []string) {
		for _, w := range words {
			if random.IntN(3) == 0 {
				all = append(all, w)
			}
		}
		return all
	}
	for range 2000 {
		var routes []route
		for i := range random.IntN(12) {
			r := route{pool: i}
			if random.IntN(2) == 0 {
				r.alpn = some()
			}
			for range random.IntN(3) {
				n := name()
				if random.IntN(2) == 0 {
					n = "*." + n
				}
				r.names = append(r.names, n)
			}
			routes = append(routes, r)
		}
		m := matcherOf(t, routes...)
		for range 20 {
			n, offered := name(), some()
			if random.IntN(8) == 0 {
				n = ""
			}
			if got, want := m.match([]byte(n), protocols(offered...)), naiveMatch(routes, n, offered); got != want {
				t.Fatalf("%q with %q to %d, want %d, of %+v", n, offered, got, want, routes)
			}
		}
	}
}

func TestRouteNames(t *testing.T) {
	for text, want := range map[string]string{
		"www.example.org": "www.example.org", "WWW.Example.Org.": "www.example.org", "*.Example.org": "*.example.org",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "_dns.example": "_dns.example", "localhost": "localhost", "4.example": "4.example",
	} {
		if got, err := CheckRouteName(text); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"": "not a host name", "*": "has no names", ".": "not a host name", "a..b": "not a host name",
		"*.*.org": "a wildcard is", "w*.example.org": "a wildcard is", "a.*": "a wildcard is", "*example.org": "a wildcard is",
		"192.0.2.1": "for an address", "2001:db8::1": "for an address", "[2001:db8::1]": "for an address",
		"www.example.org:443": "has ':'", "a b": "has ' '", "bücher.example": "xn--",
		strings.Repeat("a", 64) + ".org": "not a host name", strings.Repeat("a.", 130): "not a host name",
	} {
		if got, err := CheckRouteName(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want an error with %q", text, got, err, want)
		}
	}
	var many []route
	for i := range maxProtocols + 1 {
		many = append(many, route{alpn: []string{fmt.Sprint("p", i)}})
	}
	for want, routes := range map[string][]route{
		"route 2: \"\" is not the name":  {{}, {alpn: []string{""}}},
		"route 65: \"p64\"":              many,
		"route 1: \"*\"":                 {{names: []string{"*"}}},
		"is not the name of a protocol,": {{alpn: []string{strings.Repeat("x", 256)}}},
	} {
		if _, err := newMatcher(routes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
	last := matcherOf(t, many[:maxProtocols]...)
	last.any[maxProtocols-1].pool = 1
	if got := last.match(nil, protocols(fmt.Sprint("p", maxProtocols-1))); got != 1 {
		t.Errorf("the last protocol that there may be: %d", got)
	}
}

// manyRoutes is a listener of a large site, and names of which each meets another part of the matcher.
func manyRoutes(t testing.TB) (*matcher, map[string][]byte) {
	var routes []route
	for i := range 1000 {
		routes = append(routes, route{names: []string{fmt.Sprintf("www%d.example.org", i), fmt.Sprintf("*.site%d.example.com", i)}, pool: i})
	}
	routes = append(routes, route{names: []string{"api.example.org"}, alpn: []string{"h2"}, pool: 1000})
	return matcherOf(t, routes...), map[string][]byte{
		"exact": []byte("www500.example.org"), "wildcard": []byte("a.b.c.site500.example.com"), "unknown": []byte("www.example.net"),
		"hostile": []byte(strings.Repeat("a.", 126) + "org"),
	}
}

func TestMatchAllocations(t *testing.T) {
	m, names := manyRoutes(t)
	list := protocols("h2", "http/1.1")
	for what, name := range names {
		if n := testing.AllocsPerRun(100, func() { m.match(name, list) }); n != 0 {
			t.Errorf("%s: %v heap objects", what, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	m, names := manyRoutes(b)
	list := protocols("h2", "http/1.1")
	for _, what := range []string{"exact", "wildcard", "unknown", "hostile"} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.match(names[what], list)
			}
		})
	}
	b.Run("hello full of protocols", func(b *testing.B) {
		full := []byte(strings.Repeat("\x01x", 8<<10))
		b.ReportAllocs()
		for b.Loop() {
			m.match(names["exact"], full)
		}
	})
}
