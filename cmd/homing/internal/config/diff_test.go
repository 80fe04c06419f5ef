//go:build linux

package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestDifferences(t *testing.T) {
	const one = `
listeners: [{address: ":443", default: www}, {name: alt, address: ":8443", default: www}]
pools:
  - {name: www, backends: [192.0.2.11:443, 192.0.2.12:443]}
  - {name: api, backends: [192.0.2.13:443]}
`
	before := parse(t, one)
	for _, tt := range []struct{ why, file, want, fixed string }{
		{"nothing", one, "", ""},
		{"another spelling of the same", strings.ReplaceAll(one, "192.0.2.11:443", `{address: "192.0.2.11:443", weight: 1}`), "", ""},
		{"a time", one + "timeouts: {idle: 5m}", "timeouts.idle", ""},
		{"what all pools have", one + "policy: least-conn", "policy, pool www, pool api", ""},
		{"what one pool has", strings.Replace(one, "name: api", "name: api, policy: least-conn", 1), "pool api", ""},
		{
			"backends", strings.Replace(one, "[192.0.2.11:443, 192.0.2.12:443]", "[\"192.0.2.11:443,weight=2\", 192.0.2.14:443]", 1),
			"pool www (backend 192.0.2.11:443 +backend 192.0.2.14:443 -backend 192.0.2.12:443)", "",
		},
		{"a pool comes, another goes", strings.Replace(one, "name: api", "name: img", 1), "+pool img, -pool api", ""},
		{"a listener moves", strings.Replace(one, ":8443", ":9443", 1), "listener alt", ""},
		{"a listener without a name moves", strings.Replace(one, ":443\", default", ":444\", default", 1), "+listener :444, -listener :443", ""},
		{"a route", strings.Replace(one, "name: alt,", "name: alt, routes: [{alpn: h2, pool: api}],", 1), "listener alt", ""},
		{"what cannot change", one + "loops: 3\ntables: {session_ttl: 1h, ticket_ttl: 24h}", "loops, tables.session_ttl", "loops, tables.session_ttl"},
		{"and what can", one + "log: {level: debug, conns: true}", "log.level, log.conns", ""},
	} {
		after := parse(t, tt.file)
		if got := strings.Join(Differences(before, after), ", "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.why, got, tt.want)
		}
		if got := strings.Join(Fixed(before, after), ", "); got != tt.fixed {
			t.Errorf("%s: %q cannot change, want %q", tt.why, got, tt.fixed)
		}
		if (Hash(before) == Hash(after)) != (tt.want == "") {
			t.Errorf("%s: hashes %s and %s", tt.why, Hash(before), Hash(after))
		}
	}
}

func TestRemarks(t *testing.T) {
	c := parse(t, `
listeners: [{address: ":443", routes: [{names: [a.example], pool: routed}], default: www}]
pools: [{name: www, backends: [192.0.2.1:443]}, {name: routed, backends: [192.0.2.1:443]}, {name: spare, backends: [192.0.2.1:443]}]
`)
	if got := strings.Join(c.Remarks(), "; "); got != "no listener leads to pool spare: no conn will come there" {
		t.Errorf("%q", got)
	}
}

func TestRemarksOfChecks(t *testing.T) {
	for checks, want := range map[string]string{
		"{}":                                      "",
		"{kind: https, path: /health}":            "",
		"{disabled: on, path: /health}":           "",
		"{path: /health}":                         "sends no request",
		"{kind: tls, method: HEAD}":               "sends no request",
		"{kind: tls, server_name: a.example}":     "",
		"{server_name: a.example}":                "shakes no hands",
		"{interval: 1s, timeout: 3s}":             "checks.timeout 3s is longer than checks.interval 1s",
		"{kind: tls, expect: [200], timeout: 1m}": "sends no request",
	} {
		c := parse(t, "listeners: [{address: ':443', default: www}]\npools: [{name: www, backends: [192.0.2.1:443], checks: "+checks+"}]\n")
		got := strings.Join(c.Remarks(), "; ")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", checks, got, want)
		}
	}
}

// BenchmarkParse is what it costs to read a large site's file: it grows with its size, not with the square of it.
func BenchmarkParse(b *testing.B) {
	for _, n := range []int{200, 2000, 20000} {
		var text strings.Builder
		text.WriteString("listeners: [{address: ':443', default: p0}]\npools:\n")
		for i := range n {
			if i%4000 == 0 {
				fmt.Fprintf(&text, "  - name: p%d\n    backends:\n", i)
			}
			fmt.Fprintf(&text, "      - 10.%d.%d.%d:443\n", i>>16, i>>8&255, i&255)
		}
		b.Run(fmt.Sprintf("backends=%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Parse("big.yaml", []byte(text.String()), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestSwitches: every switch takes the words of both kinds.
func TestSwitches(t *testing.T) {
	for _, word := range []string{"on", "true"} {
		c := parse(t, "listeners: [{address: ':443', default: www}]\npools: [{name: www, backends: [192.0.2.1:443], transparent: "+word+", ech: "+word+", checks: {disabled: "+word+"}}]\n")
		if p := &c.Pools[0]; !p.Transparent || !p.ECH || !p.Checks.Disabled {
			t.Errorf("%s: %v %v %v", word, p.Transparent, p.ECH, p.Checks.Disabled)
		}
	}
	for _, word := range []string{"off", "false"} {
		c := parse(t, "listeners: [{address: ':443', default: www}]\npools: [{name: www, backends: [192.0.2.1:443], probe: {enabled: "+word+"}, checks: {disabled: "+word+"}}]\n")
		if p := &c.Pools[0]; p.Probe.Enabled || p.Checks.Disabled {
			t.Errorf("%s: %v %v", word, p.Probe.Enabled, p.Checks.Disabled)
		}
	}
}
